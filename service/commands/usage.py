"""``callscope usage``: call time of a period, from the command line.

Exit codes: 0 done, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderResult

from service.commands.databases import DatabaseUrl, on_database
from service.commands.printing import Sheet, console
from service.storage.database import Database
from service.usage.period import Grouping, Period, PeriodError
from service.usage.report import UsageReader
from service.usage.rules import UnknownTenantError
from service.usage.serializer import (
    MINUTES_ROUNDING,
    Lines,
    UsageHead,
    UsageTotal,
    as_csv,
    as_json,
    columns,
    entry,
)
from telemetry.terminal import printable

_TEXTS = frozenset({"month", "day", "hour", "tenant_id", "outcome", "reason", "rounding"})
# Columns that are no figures.


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A report in memory; give it a grouping that a person would read to the end."""

    head: UsageHead
    sheet: Sheet

    @classmethod
    async def of(cls, lines: Lines, head: UsageHead) -> "UsageTable":
        """Return the table of a report."""
        total = UsageTotal()
        rows: list[list[str]] = []
        names = columns(head.grouping)
        async with aclosing(lines):
            async for line in lines:
                cells = entry(line, head.grouping) | {"rounding": ", ".join(line.rounding)}
                rows.append([printable(str(cells[name] if cells[name] is not None else "")) for name in names])
                total.add(line)
        sums = total.figures()
        numbers = frozenset(_words(name) for name in names if name not in _TEXTS)
        foot = [str(sums.get(name, "")) for name in names]
        return cls(head, Sheet([_words(name) for name in names], rows, numbers, foot))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        period = self.head.period
        yield f"{period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} ({period.zone.key})"
        for number in self.head.freezes:
            yield f"Freeze {number} covers a part of the period: callscope billing show {number}"
        if not self.sheet.rows:
            yield "No calls."
            return
        yield self.sheet
        yield MINUTES_ROUNDING


def _words(name: str) -> str:
    return name.replace("_", " ")


class ReportForm(StrEnum):
    """Forms of the report."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def usage(
    start: Annotated[str | None, typer.Option("--from", help="A date or moment; the first of this month.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first that no longer belongs; tomorrow.")] = None,
    group_by: Annotated[
        str, typer.Option(help="tenant, one of month, day, hour, and outcome; several separated by commas.")
    ] = "tenant",
    tz: Annotated[str, typer.Option(help="Whose days and hours: an IANA time zone.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    form: Annotated[ReportForm, typer.Option("--format", help="How to print it.")] = ReportForm.TABLE,
    database_url: DatabaseUrl = None,
) -> None:
    """Show call time, exact and as each tenant's rounding counts it."""
    try:
        period = _period(start, end, tz)
        head = UsageHead(period, Grouping.parse(group_by, period), tenant)
        on_database(database_url, lambda database: _print(database, head, form))
    except PeriodError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.field.replace('_', '-')}") from None
    except UnknownTenantError as error:
        raise typer.BadParameter(str(error), param_hint="--tenant") from None


def _period(start: str | None, end: str | None, zone: str) -> Period:
    # A period that is surely right shows whether the zone is.
    today = datetime.now(Period.parse("2026-01-01", "2026-01-02", zone).zone).date()
    tomorrow = today + timedelta(days=1)
    return Period.parse(start or today.replace(day=1).isoformat(), end or tomorrow.isoformat(), zone)


async def _print(database: Database, head: UsageHead, form: ReportForm) -> None:
    usage = UsageReader(database)
    head = replace(head, freezes=await usage.covering(head.period, head.tenant_id))
    lines = usage.lines(head.period, head.grouping, tenant_id=head.tenant_id)
    if form is ReportForm.TABLE:
        console().print(await UsageTable.of(lines, head))
        return
    async for piece in as_json(lines, head) if form is ReportForm.JSON else as_csv(lines, head):
        typer.echo(piece, nl=False)
    typer.echo("" if form is ReportForm.CSV else "\n", nl=False)
