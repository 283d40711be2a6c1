"""Runs the benchmarks one after the other and writes what they found to ``docs/performance.md``.

``python -m benchmarks.suite`` takes about ten minutes; with ``--long``, further ones of which each takes minutes by
itself. With names, these alone are run. What each found is kept, so that a page can be put together from several runs
on one machine; each part says when it was measured and how busy the machine was.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks import plot, verdict

BRIEF: Final = (
    "recording_a_call_against_the_plain_sdk",
    "a_call_through_the_gateway_against_a_bare_one",
    "a_thousand_talking_calls",
    "exporting_against_the_plain_sdk",
    "reading_live_against_collecting_everything",
    "http_live_vs_constant",
    "scraping_against_prometheus_client",
    "cost_over_tenants",
    "memory_of_tenants_and_calls",
    "running_calls_memory",
    "size_of_an_export",
    "derived_metrics",
    "fleet_decisions",
    "fleet_numbers",
)
"""Those that together take about ten minutes."""
LONG: Final = (
    "three_thousand_talking_calls",
    "live_page",
    "collector_away",
    "million_call_records",
    "million_records_migrated",
    "fleet_histories",
)
ARGUMENTS: Final[dict[str, Sequence[str]]] = {"three_thousand_talking_calls": ("a_thousand_talking_calls", "3000")}
"""Modules and arguments of those that are not a module of their own."""

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "performance.md"
PICTURE: Final = ROOT / "docs" / "images" / "performance.svg"
KEPT: Final = ROOT / ".benchmarks"
"""The results of each benchmark's last run here, as JSON."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark said."""

    name: str
    rows: Sequence[Row]
    seconds: float
    failed: bool
    date: str
    machine: str
    load: float
    """Processes that wanted to run, over the minute before it ended; two of them are its own at times."""


def run_one(name: str) -> Result:
    """Run a benchmark in a process of its own and keep what it found; what it prints is shown as it comes."""
    module, *arguments = ARGUMENTS.get(name, (name,))
    file = KEPT / f"{name}.jsonl"
    file.unlink(missing_ok=True)
    print(f"\n== {name}", flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, verdict.ROWS: str(file)}, check=False)  # noqa: S603 -- our own
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    seconds, load = time.monotonic() - began, os.getloadavg()[0]
    today = datetime.now(UTC).date().isoformat()
    result = Result(name, rows, seconds, done.returncode != 0, today, machine(), load)
    file.unlink(missing_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(asdict(result)), encoding="utf-8")
    return result


def kept() -> list[Result]:
    """Return the last result of each benchmark that was ever run here, in the order of the page."""
    files = [KEPT / f"{name}.json" for name in (*BRIEF, *LONG)]
    return [Result(**json.loads(file.read_text(encoding="utf-8"))) for file in files if file.exists()]


def machine() -> str:
    """Return what it was measured on, in a sentence."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()},"
        f" {platform.python_implementation()} {platform.python_version()}"
    )


_HOW: Final = (
    "Ratios hold on other machines, absolute times do not, and a busy machine, as the load of each part shows, makes"
    " both worse. `make bench` measures anew, `make bench-all` the long ones too; each benchmark says at its head what"
    " it compares."
)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def page(results: Sequence[Result]) -> str:
    """Return the page: a picture, and a table for each benchmark."""
    machines = " · ".join(dict.fromkeys(result.machine for result in results))
    parts = [
        "# Performance",
        "<!-- Written by `make bench`; edit benchmarks/suite.py instead. -->",
        f"Measured on {machines}. {_HOW}",
        f"![{plot.TITLE}](images/performance.svg)",
    ]
    for result in results:
        parts.append(f"## {result.name.replace('_', ' ').capitalize()}")
        parts.append(f"{result.date}, {result.seconds:.0f} s, load {result.load:.1f} at the end.")
        if result.failed:
            parts.append("It did not run to its end.")
        figures = [row for row in result.rows if "what" in row]
        if figures:
            parts.append("\n".join(["| | figure | held to | |", "|---|--:|---|---|", *map(_line, figures)]))
        # One sentence may hold for several figures.
        parts += dict.fromkeys(row["held"] for row in figures if row.get("met") is False and row.get("held"))
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> str:
    held = "" if "met" not in row else "met" if row["met"] else "**missed**"
    what = str(row["what"]).replace("|", "\\|")
    return f"| {what} | {row['figure']:,.3f}{row['unit']} | {row.get('bound', '')} | {held} |"


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; all of them unless given.")] = None,
    *,
    long: Annotated[bool, typer.Option("--long", help="Run those too that take minutes each.")] = False,
) -> None:
    """Run the benchmarks, and write the page of what these and earlier runs found."""
    unknown = sorted({*(names or ())} - {*BRIEF, *LONG})
    if unknown:
        raise typer.BadParameter(f"there is no benchmark {unknown[0]}; there are {', '.join((*BRIEF, *LONG))}")
    KEPT.mkdir(exist_ok=True)
    results = [run_one(name) for name in names or [*BRIEF, *(LONG if long else ())]]
    print()
    for result in results:
        missed = [row["what"] for row in result.rows if row.get("met") is False]
        verdicts = "FAILED" if result.failed else f"missed: {'; '.join(missed)}" if missed else "all met"
        print(f"{result.name:<50} {result.seconds:>6.0f} s  {verdicts}")
    found = kept()
    PAGE.write_text(page(found), encoding="utf-8")
    PICTURE.write_text(plot.picture([row for result in found for row in result.rows]), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(ROOT)}, {PICTURE.relative_to(ROOT)}")
    raise typer.Exit(int(any(result.failed for result in results)))


if __name__ == "__main__":
    typer.run(main)
