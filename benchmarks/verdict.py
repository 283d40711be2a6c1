"""How a benchmark says what it found: the figure, the bound it is held to, and whether that is met.

Under ``CALLSCOPE_BENCHMARK_ROWS`` each line goes to that file too, as JSON; :mod:`benchmarks.suite` puts them together.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROWS: Final = "CALLSCOPE_BENCHMARK_ROWS"
"""The variable that names the file."""


def at_most(what: str, figure: float, bound: float, unit: str = "", *, held: str = "") -> None:
    """Print a figure that should not exceed the bound; where it does, ``held`` says what holds it there."""
    _print(what, figure, f"at most {bound:g}{unit}", unit, met=figure <= bound, held=held)


def at_least(what: str, figure: float, bound: float, unit: str = "", *, held: str = "") -> None:
    """Print a figure that should reach the bound; where it does not, ``held`` says what holds it there."""
    _print(what, figure, f"at least {bound:g}{unit}", unit, met=figure >= bound, held=held)


def figure(what: str, value: float, unit: str = "") -> None:
    """Print a figure that is held to nothing."""
    print(f"  {what:<64} {value:>12,.3f}{unit}", flush=True)
    _keep({"what": what, "figure": value, "unit": unit})


def point(plot: str, series: str, at: float, value: float) -> None:
    """Keep one point of a plot; nothing is printed."""
    _keep({"plot": plot, "series": series, "at": at, "value": value})


def _print(what: str, value: float, bound: str, unit: str, *, met: bool, held: str) -> None:
    print(f"  {what:<64} {value:>12,.3f}{unit:<4} {bound:<20} {'met' if met else 'MISSED'}", flush=True)
    _keep({"what": what, "figure": value, "unit": unit, "bound": bound, "met": met, "held": held})


def _keep(row: Mapping[str, object]) -> None:
    file = os.environ.get(ROWS)
    if file:
        with Path(file).open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")
