"""``callscope usage``: how long calls ran, from the command line.

Exit codes: 0 done, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import asyncio
import sys
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from service.settings import SettingsError, load_settings
from service.storage.database import DATABASE_ERRORS, Database, failure_reason
from service.storage.url import DatabaseUrlError
from service.usage.period import Grouping, Period, PeriodError
from service.usage.query import Sums
from service.usage.report import UsageReader, seconds
from service.usage.writing import Asked, Lines, as_csv, as_json, entry

_NUMBERS = ("calls", "answered_calls", "open_calls", "seconds", "rounded_seconds", "rounded minutes")


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A report in memory; give it a grouping that a person would read to the end."""

    asked: Asked
    table: Table
    total: Sums

    @classmethod
    async def of(cls, lines: Lines, asked: Asked) -> "UsageTable":
        """The table of a report."""
        total = Sums()
        table = Table(show_footer=True)
        names: list[str] = []
        async with aclosing(lines):
            async for line in lines:
                cells = entry(line, asked.grouping) | {"rounding": ", ".join(line.rounding)}
                cells = _with_minutes(cells, line.sums)
                names = names or _columns(table, cells)
                table.add_row(*(str(cells[name] if cells[name] is not None else "") for name in names))
                total.add(line.sums)
        _foot(table, names, total)
        return cls(asked, table, total)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        period = self.asked.period
        yield f"{period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} ({period.zone.key})"
        yield self.table if self.table.columns else "No calls."


def minutes(milliseconds: int) -> Decimal:
    """Milliseconds as minutes with two decimals, rounded half up for the eye; seconds beside it are exact."""
    return (seconds(milliseconds) / 60).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _with_minutes(cells: dict[str, object], sums: Sums) -> dict[str, object]:
    rounding = cells.pop("rounding")
    return cells | {"rounded minutes": minutes(sums.rounded_ms), "rounding": rounding}


def _columns(table: Table, cells: dict[str, object]) -> list[str]:
    for name in cells:
        table.add_column(name.replace("_", " "), justify="right" if name in _NUMBERS else "left")
    return list(cells)


def _foot(table: Table, names: list[str], total: Sums) -> None:
    figures = (
        total.calls,
        total.answered,
        total.still_open,
        seconds(total.duration_ms),
        seconds(total.rounded_ms),
        minutes(total.rounded_ms),
    )
    for name, figure in zip(_NUMBERS, figures, strict=True):
        if name in names:
            table.columns[names.index(name)].footer = str(figure)


class Form(StrEnum):
    """How the report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def usage(
    start: Annotated[str | None, typer.Option("--from", help="A date or moment; the first of this month.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first that no longer belongs; tomorrow.")] = None,
    group_by: Annotated[
        str, typer.Option(help="tenant, day or hour, outcome; several separated by commas.")
    ] = "tenant",
    tz: Annotated[str, typer.Option(help="Whose days and hours: an IANA time zone.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    form: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.TABLE,
    database_url: Annotated[
        str | None, typer.Option("--database-url", help="Instead of DATABASE_URL from the environment or .env.")
    ] = None,
) -> None:
    """Show how long calls ran, exact and as each tenant's rounding counts it."""
    try:
        period = _period(start, end, tz)
        asked = Asked(period, Grouping.parse(group_by, period), tenant)
        url = database_url or load_settings().database_url.get_secret_value()
        asyncio.run(_print(url, asked, form))
    except PeriodError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.field.replace('_', '-')}") from None
    except (DatabaseUrlError, SettingsError) as error:
        _refuse(str(error))
    except DATABASE_ERRORS as error:
        _refuse(f"DATABASE_URL: the database cannot be used: {failure_reason(error)}")


def _period(start: str | None, end: str | None, zone: str) -> Period:
    # A period that is surely right shows whether the zone is.
    today = datetime.now(Period.parse("2026-01-01", "2026-01-02", zone).zone).date()
    tomorrow = today + timedelta(days=1)
    return Period.parse(start or today.replace(day=1).isoformat(), end or tomorrow.isoformat(), zone)


async def _print(url: str, asked: Asked, form: Form) -> None:
    async with Database.from_url(url) as database:
        lines = UsageReader(database).lines(asked.period, asked.grouping, tenant_id=asked.tenant_id)
        if form is Form.TABLE:
            Console().print(await UsageTable.of(lines, asked))
            return
        async for piece in as_json(lines, asked) if form is Form.JSON else as_csv(lines, asked):
            sys.stdout.write(piece.decode())
        sys.stdout.write("" if form is Form.CSV else "\n")


def _refuse(reason: str) -> None:
    typer.echo(reason, err=True)
    raise typer.Exit(1)
