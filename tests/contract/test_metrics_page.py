"""The documentation of metrics is generated, and current."""

from pathlib import Path

import pytest

from telemetry.semconv import documentation
from telemetry.semconv.catalogue import INSTRUMENTS
from tests.collector.names import prometheus_names

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_catalogue_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes an instrument or an attribute runs ``python -m telemetry.semconv.documentation``."""
    monkeypatch.chdir(ROOT)
    assert documentation.main(["--check"]) == 0, "run: python -m telemetry.semconv.documentation"


def test_a_page_that_is_old_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check fails where the page is missing or says something else, and passes once it was written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    assert documentation.main(["--check"]) == 1
    assert documentation.main([]) == 0
    assert documentation.main(["--check"]) == 0
    (tmp_path / "docs/metrics.md").write_text("old")
    assert documentation.main(["--check"]) == 1


def test_the_names_in_prometheus_are_those_the_rules_use() -> None:
    """The page and the alert rules translate names alike."""
    for instrument in INSTRUMENTS:
        name = documentation.prometheus_name(instrument)
        assert all(series.startswith(name) for series in prometheus_names(instrument))
