"""Every benchmark is run by ``make bench`` or ``make bench-all``, and the page they write can be read."""

from pathlib import Path
from typing import Final

import pytest

from benchmarks import a_thousand_talking_calls, cost_over_tenants, fleet_numbers
from benchmarks.plot import picture
from benchmarks.suite import ARGUMENTS, BRIEF, LONG, Result, page

FOLDER: Final = Path(__file__).parents[2] / "benchmarks"
NO_BENCHMARKS: Final = {"suite", "served_gateway"}
"""Modules that are run, by hand or by a benchmark, and measure nothing."""


def test_every_benchmark_is_run() -> None:
    """One that is run by nobody would rot."""
    runnable = {file.stem for file in FOLDER.glob("*.py") if '__name__ == "__main__"' in file.read_text("utf-8")}
    assert {ARGUMENTS.get(name, (name,))[0] for name in (*BRIEF, *LONG)} == runnable - NO_BENCHMARKS


def test_a_missed_bound_shows_on_the_page() -> None:
    """Each figure has a line, with its bound and whether it is met; if it is not, what holds it is said, once."""
    rows = [
        {"what": "an event", "figure": 44.0, "unit": " us", "bound": "at most 45 us", "met": True, "held": "Luck."},
        {"what": "a|b", "figure": 2000.5, "unit": "", "bound": "at most 1", "met": False, "held": "The weather."},
        {"what": "b", "figure": 2.0, "unit": "", "bound": "at most 1", "met": False, "held": "The weather."},
        {"what": "series", "figure": 3.0, "unit": ""},
        {"plot": "calls", "series": "share", "at": 1, "value": 2},
    ]
    text = page([Result("some_thing", rows, 12.0, failed=True, date="2026-11-29", machine="a machine", load=0.5)])
    assert "## Some thing" in text
    assert "Measured on a machine." in text
    assert "| an event | 44.000 us | at most 45 us | met |" in text
    assert "| a\\|b | 2,000.500 | at most 1 | **missed** |" in text
    assert "| series | 3.000 |  |  |" in text
    assert "It did not run to its end." in text
    assert text.count("The weather.") == 1
    assert "Luck." not in text


def test_every_point_is_drawn() -> None:
    """Whatever a benchmark plots has a panel, and a line in it."""
    plots = [module.PLOT for module in (a_thousand_talking_calls, cost_over_tenants, fleet_numbers)]
    rows = [{"plot": plot, "series": f"of {plot}", "at": at, "value": at} for plot in plots for at in (1, 10)]
    drawn = picture(rows)
    assert drawn.count("<polyline") == len(plots)
    assert all(f">of {plot}<" in drawn for plot in plots)
    with pytest.raises(ValueError, match="no panel shows elsewhere"):
        picture([{"plot": "elsewhere", "series": "a", "at": 1, "value": 2}])
