"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from telemetry.semconv.catalogue import LIVE_FIELDS
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def exporting_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets read the environment; nothing of this machine's may be in it."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def run(containing: str) -> dict[str, Any]:
    """Run the one snippet that contains these words; answers the names it has left."""
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (snippet,) = [code for code in snippets if containing in code]
    names: dict[str, Any] = {}
    exec(compile(snippet, str(README), "exec"), names)  # noqa: S102 -- our own README
    return names


def test_the_readmes_call_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """The first example, pasted into an interpreter, counts a call and prints its twelve fields."""
    run("call.ended")
    printed = capsys.readouterr().out
    assert "'accepted_calls': 1" in printed
    assert "'ended_calls': 1" in printed
    assert all(f"'{field}'" in printed for field in LIVE_FIELDS)


def test_the_readmes_app_answers_admins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second example, served, counts a call that is reported to it, and shows it to whoever has the token."""
    monkeypatch.setenv("ADMIN_TOKEN", "secret")
    app = run("mount_admin")["create_app"]()
    with (
        serving(app) as url,
        httpx2.Client(verify=TLS, base_url=url, trust_env=False, timeout=TIMEOUT_SECONDS) as client,
    ):
        assert client.get("/api/v1/metrics/live").status_code == 401
        client.headers["X-Admin-Token"] = "secret"
        app.state.tracker.received("call-1", "acme").accepted()
        live = client.get("/api/v1/metrics/live").json()
        assert (list(live), live["accepted_calls"]) == (list(LIVE_FIELDS), 1)
        assert client.get("/api/v1/metrics/live/acme").json() == live
        assert client.get("/api/v1/metrics/live/nobody").status_code == 404
        assert client.get("/api/v1/metrics/capacity/debug").json()["consistent"] is True
        assert [call["call_id"] for call in client.get("/api/v1/calls").json()["calls"]] == ["call-1"]
        refused = client.get("/api/v1/calls", params={"limitt": 1}).json()
        assert [problem["field"] for problem in refused["errors"]] == ["query.limitt"]


def test_every_file_the_readme_names_exists() -> None:
    """A link to nowhere costs a reader more than none."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text())
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing
