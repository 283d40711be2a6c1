"""`callscope usage`: what it prints, and how it refuses."""

import asyncio
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from service.commands.usage import usage
from service.storage.database import Database
from service.storage.migrations import upgrade
from tests.service.usage.ledger import Made, written

app = typer.Typer()
app.command()(usage)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with three calls of two tenants in November 2025."""

    async def fill(url: str) -> None:
        async with Database.from_url(url) as database:
            await upgrade(database.engine)
            calls = [("acme", 61.25), ("acme", 30), ("globex", 10)]
            await written(database, [Made("2025-11-03T23:59:00+01:00", s, tenant) for tenant, s in calls])

    address = f"sqlite:///{tmp_path / 'callscope.db'}"
    asyncio.run(fill(address))
    return address


def _run(url: str, *arguments: str) -> Result:
    period = ("--from", "2025-11-01", "--to", "2025-12-01", "--tz", "Europe/Berlin")
    return CliRunner().invoke(app, [*period, "--database-url", url, *arguments], env={"COLUMNS": "200"})


def test_it_prints_a_table_with_its_sum(url: str) -> None:
    """Each tenant has a row, and the foot adds them up in seconds and minutes."""
    shown = _run(url)
    assert shown.exit_code == 0
    assert "2025-11-01 00:00 to 2025-12-01 00:00 (Europe/Berlin)" in shown.output
    cells = [line.replace("│", " ").split() for line in shown.output.splitlines()]
    assert ["acme", "2", "2", "0", "0", "91.250", "92.000", "1.53", "per_second"] in cells
    assert ["globex", "1", "1", "0", "0", "10.000", "10.000", "0.17", "per_second"] in cells
    assert ["3", "3", "0", "0", "101.250", "102.000", "1.70"] in cells


def test_the_sum_stands_apart_where_rows_are_lines(url: str) -> None:
    """In a terminal too narrow for a table, a blank line parts the sum from the last row as it parts the rows."""
    period = ("--from", "2025-11-01", "--to", "2025-12-01")
    lines = CliRunner().invoke(app, [*period, "--database-url", url], env={"COLUMNS": "40"}).stdout.splitlines()
    assert lines[lines.index("all") - 1] == ""


def test_days_and_outcomes_are_columns(url: str) -> None:
    """Whatever lines are told apart by has a column of its own."""
    shown = _run(url, "--group-by", "day,outcome")
    cells = [line.replace("│", " ").split() for line in shown.output.splitlines()]
    assert ["2025-11-04", "hangup", "hangup", "0", "0", "0", "1", "1.250", "2.000", "0.03", "per_second"] in cells


def test_json_and_csv_are_those_of_the_api(url: str) -> None:
    """Both forms come out whole, for other programs to read."""
    assert json.loads(_run(url, "--format", "json").stdout)["total"]["seconds"] == "101.250"
    lines = _run(url, "--format", "csv", "--tenant", "globex").stdout.splitlines()
    assert "globex,1,1,0,0,10.000,10.000,0.17,per_second" in lines
    assert (lines[0], lines[-1]) == ("from,2025-11-01T00:00:00+01:00", "lines,1")


def test_a_month_without_calls_says_so(url: str) -> None:
    """This month, which is what is asked for unless one says otherwise, there were none."""
    shown = CliRunner().invoke(app, ["--database-url", url])
    assert shown.exit_code == 0
    assert "No calls." in shown.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--from", "yesterday"], "--from"),
        (["--tz", "Mars"], "--tz"),
        (["--group-by", "colour"], "--group-by"),
        (["--tenant", "acmee"], "--tenant"),
        (["--from", "0001-01-01"], "--from"),
    ],
)
def test_a_wrong_option_is_named(url: str, arguments: list[str], named: str) -> None:
    """The command line's mistake is pointed at, with exit code 2."""
    shown = _run(url, *arguments)
    assert shown.exit_code == 2
    assert named in shown.output


def test_a_database_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Without a database, or without its tables, there is a reason and exit code 1."""
    for url in (f"sqlite:///{tmp_path / 'no' / 'folder.db'}", f"sqlite:///{tmp_path / 'empty.db'}", "mysql://x"):
        shown = _run(url)
        assert shown.exit_code == 1
        assert "DATABASE_URL" in shown.output
