"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def _snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_readmes_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example, pasted into an interpreter, counts a call and prints its twelve fields."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    snippets = _snippets()
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), {})  # noqa: S102 -- our own README
    printed = capsys.readouterr().out
    assert "'accepted_calls': 1" in printed
    assert "'ended_calls': 1" in printed


def test_every_file_the_readme_names_exists() -> None:
    """A link to nowhere costs a reader more than none."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text())
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing
