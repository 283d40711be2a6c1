"""`callscope billing`: freezes and roundings from the command line, and its refusals."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from service.commands.billing import app
from service.records.store import CALLS
from service.storage.database import Database
from service.usage.documents import LINES
from tests.service.usage.ledger import Made, written

NOVEMBER = ("--from", "2025-11-01", "--to", "2025-12-01", "--tz", "Europe/Berlin")


@pytest.fixture
def url(sqlite_url: str) -> str:
    """A database with three calls of two tenants in November 2025."""
    calls = [
        Made("2025-11-03T12:00:00+01:00", seconds, tenant) for tenant, seconds in (("acme", 61.25), ("globex", 10))
    ]
    asyncio.run(_with(sqlite_url, lambda database: written(database, calls)))
    return sqlite_url


async def _with(url: str, work: Callable[[Database], Awaitable[None]]) -> None:
    async with Database.from_url(url) as database:
        await work(database)


def _edit(url: str, statement: object) -> None:
    async def work(database: Database) -> None:
        async with database.writing() as session:
            await session.execute(statement)  # type: ignore[call-overload] # any statement

    asyncio.run(_with(url, work))


def _run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--database-url", url], env={"COLUMNS": "250"})


def _cells(shown: Result) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.output.splitlines() if "│" in line]


def test_a_period_is_frozen_shown_and_settled(url: str) -> None:
    """Frozen, listed, changed behind its back, shown call by call, settled at the version that was shown."""
    assert "Freeze 1: 2025-11-01 00:00 to 2025-12-01 00:00 (Europe/Berlin)" in _run(url, "freeze", *NOVEMBER).output
    _edit(url, update(CALLS).where(CALLS.c.call_id == "rtc_1").values(duration_ms=15_000))
    shown = _run(url, "show", "1")
    assert shown.exit_code == 0
    assert ["globex", "0", "0", "5.000", "5.000"] in _cells(shown)
    assert ["rtc_1", "globex", "10.000", "10.000", "globex", "15.000", "15.000"] in _cells(shown)
    version = re.search(r"version ([0-9a-f]{32})", shown.output)
    assert version is not None
    assert _run(url, "settle", "1", "--version", "0" * 32).exit_code == 1
    assert "Adjustment 2 of freeze 1" in _run(url, "settle", "1", "--version", version[1]).output
    assert "Nothing differs" in _run(url, "show", "1").output
    (row,) = [cells for cells in _cells(_run(url, "freezes")) if cells[0] == "1"]
    assert (row[1], row[-2:]) == ("all", ["yes", "2"])
    assert json.loads(_run(url, "show", "1", "--json").stdout)["changed_calls"] == 0


def test_a_period_without_calls_says_so(url: str) -> None:
    """Frozen and shown, it says that it has none; one with calls does not."""
    october = ("--from", "2025-10-01", "--to", "2025-11-01", "--tz", "Europe/Berlin")
    assert _run(url, "freeze", *october).stdout.splitlines()[1:] == ["No calls."]
    shown = _run(url, "show", "1")
    assert (shown.exit_code, _cells(shown), "No calls.\n" in shown.output) == (0, [], True)
    assert "No calls" not in _run(url, "freeze", *NOVEMBER).output + _run(url, "show", "2").output


def test_a_broken_seal_is_said_and_is_an_error(url: str) -> None:
    """A period whose kept lines were edited ends the command with exit code 1."""
    _run(url, "freeze", *NOVEMBER)
    _edit(url, update(LINES).values(calls=7))
    shown = _run(url, "show", "1")
    assert (shown.exit_code, "NOT INTACT" in shown.output) == (1, True)


def test_calls_are_exported_with_their_sum(url: str) -> None:
    """The export counts its lines, so that a cut file is seen."""
    _run(url, "freeze", *NOVEMBER, "--tenant", "acme")
    records = list(csv.reader(io.StringIO(_run(url, "calls", "1").stdout)))
    assert ["rtc_0", "acme", "1", "1", "61.250", "62.000"] in records
    assert records[-1] == ["lines", "1"]


def test_rules_are_agreed_replaced_and_withdrawn(url: str) -> None:
    """What holds and who changed it are shown; another rule for the same moment asks to be replaced."""
    begins = ("--valid-from", "2025-11-01")
    assert _run(url, "agree", "acme", "per_started_minute", *begins).exit_code == 0
    refused = _run(url, "agree", "acme", "6/6", *begins)
    assert (refused.exit_code, "--replace" in refused.output) == (1, True)
    assert _run(url, "agree", "acme", "6/6", *begins, "--replace", "--by-start").exit_code == 0
    shown = _cells(_run(url, "roundings"))
    assert ["acme", "2025-11-01 00:00:00Z", "6/6 by start"] in [cells[:3] for cells in shown]
    assert ["per_started_minute", "6/6 by start"] in [cells[-2:] for cells in shown]
    assert _run(url, "withdraw", "acme", *begins).exit_code == 0
    assert _run(url, "withdraw", "acme", *begins).exit_code == 1
    assert [cells[-1] for cells in _cells(_run(url, "roundings", "acme"))] == [
        "none",
        "6/6 by start",
        "per_started_minute",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["freeze", "--from", "x", "--to", "2025-12-01"], 2, "--from"),
        (["freeze", *NOVEMBER, "--tenant", "acmee"], 2, "acmee"),
        (["freeze", "--from", "2025-11-01", "--to", "2150-01-01"], 2, "--to"),
        (["freeze", "--from", "2149-11-01", "--to", "2149-12-01"], 1, "not over"),
        (["agree", "acmee", "6/6", "--valid-from", "2025-11-01"], 2, "acmee"),
        (["agree", "acme", "7", "--valid-from", "2025-11-01"], 2, "ROUNDING"),
        (["agree", "acme", "6/6", "--valid-from", "soon"], 2, "--valid-from"),
        (["agree", "acme", "6/6", "--valid-from", "2025-11-01", "--tz", "localtime"], 2, "--tz"),
        (["show", "7"], 1, "Nothing was frozen"),
    ],
)
def test_what_is_wrong_is_named(url: str, arguments: list[str], code: int, named: str) -> None:
    """A mistake on the command line is exit code 2 and names the option; a refusal is exit code 1 with its reason."""
    shown = _run(url, *arguments)
    assert shown.exit_code == code
    assert named in shown.output


def test_a_database_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Without a database there is a reason and exit code 1."""
    shown = _run(f"sqlite:///{tmp_path / 'no' / 'folder.db'}", "freezes")
    assert shown.exit_code == 1
    assert "DATABASE_URL" in shown.output
