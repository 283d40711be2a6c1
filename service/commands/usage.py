"""``callscope usage``: how long calls ran, from the command line.

Exit codes: 0 done, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import asyncio
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from service.commands.usage_table import UsageTable
from service.database import DATABASE_ERRORS, Database, DatabaseUrlError, failure_reason
from service.settings import SettingsError, load_settings
from service.usage.period import Grouping, Period, PeriodError
from service.usage.report import UsageReader
from service.usage.writing import Asked, as_csv, as_json


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
