"""``callscope billing``: frozen periods and rounding rules, from the command line.

Exit codes: 0 done, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

import typer

from service.commands.databases import DatabaseUrl, on_database, operator
from service.commands.printing import Sheet, console, group, refuse_with
from service.settings import load_settings
from service.storage.database import Database
from service.usage.documents import BilledCall, BilledSums, Document
from service.usage.freezing import (
    DifferencesChangedError,
    Examined,
    Freezer,
    FreezeRefusedError,
    NoSuchFreezeError,
)
from service.usage.period import Period, PeriodError, moment, parse_moment, zone_named
from service.usage.report import seconds
from service.usage.rules import (
    Agreed,
    NoSuchRuleError,
    Rounding,
    RoundingError,
    RuleChange,
    RuleChangedError,
    UnknownTenantError,
    agree,
    demand_known,
    read_changes,
    read_rules,
    rules_version,
    withdraw,
)
from service.usage.serializer import calls_as_csv
from telemetry.clock import SystemClock
from telemetry.terminal import printable

T = TypeVar("T")
app = group("Frozen periods and rounding rules.")
_UTC = ZoneInfo("UTC")
_SUMS = ("tenant", "calls", "answered calls", "seconds", "rounded seconds")
_NO_CALLS = "No calls."
_REFUSALS: dict[type[Exception], str] = {
    NoSuchFreezeError: "Nothing was frozen under this number.",
    NoSuchRuleError: "No rule of the tenant begins at this moment.",
    RuleChangedError: "Another rule begins at this moment: use --replace.",
    DifferencesChangedError: "The differences are others than those of this version: look at them again.",
}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
FreezeId = Annotated[int, typer.Argument(help="The number of the freeze.", min=1)]
TenantOrAny = Annotated[str, typer.Argument(help="A tenant's id, or * for those that have no rule of their own.")]
Tz = Annotated[str, typer.Option(help="IANA time zone of dates.")]


@app.command("freeze")
def freeze(
    start: Annotated[str, typer.Option("--from", help="The first date or moment.")],
    end: Annotated[str, typer.Option("--to", help="The first that no longer belongs.")],
    tz: Tz = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    accept_gap: Annotated[bool, typer.Option(help="Also if it leaves a gap after the last frozen period.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Close a period that is over: its calls and sums are kept under a seal."""

    async def work(database: Database) -> tuple[Document, bool]:
        period = Period.parse(start, end, tz)
        freezer = _freezer(database)
        document = await freezer.freeze(period, actor=operator(), tenant_id=tenant, accept_gap=accept_gap)
        async with aclosing(freezer.calls(document.facts.document_id)) as found:
            return document, await anext(found, None) is None

    document, empty = _on_database(database_url, work, tenant="--tenant")
    typer.echo(f"Freeze {document.facts.document_id}: {_period(document)}, seal {document.checksum}")
    if empty:
        typer.echo(_NO_CALLS)


@app.command("freezes")
def freezes(database_url: DatabaseUrl = None) -> None:
    """List the frozen periods, the latest first."""
    heads = ("freeze", "tenant", "period", "frozen", "by", "intact", "adjustments")
    rows = [
        (
            str(one.document.facts.document_id),
            one.document.facts.tenant_id or "all",
            _period(one.document),
            _shown(one.document.facts.made_ms),
            one.document.facts.made_by,
            "yes" if one.intact else "NO",
            ", ".join(map(str, one.adjustments)),
        )
        for one in _on_database(database_url, lambda database: _freezer(database).freezes())
    ]
    _print(heads, rows)


@app.command("show")
def show(freeze_id: FreezeId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Compare a frozen period with what the records say now, call by call.

    Exit code 1 if its seal is broken.
    """
    examined = _on_database(database_url, lambda database: _freezer(database).examine(freeze_id))
    if as_json:
        typer.echo(json.dumps(asdict(examined), indent=2))
    else:
        _print_examined(examined)
    if not (examined.intact and all(one.intact for one in examined.adjustments)):
        raise typer.Exit(1)


@app.command("settle")
def settle(
    freeze_id: FreezeId,
    version: Annotated[str, typer.Option(help="The version that `show` printed: what was seen is what is settled.")],
    database_url: DatabaseUrl = None,
) -> None:
    """Accept what differs from a frozen period, as an adjustment with a number of its own."""
    adjustment = _on_database(
        database_url,
        lambda database: _freezer(database).settle(freeze_id, actor=operator(), accepts=lambda found: found == version),
    )
    typer.echo(f"Adjustment {adjustment.document.facts.document_id} of freeze {freeze_id}:")
    _print_sums(adjustment.lines)


@app.command("calls")
def calls(freeze_id: FreezeId, database_url: DatabaseUrl = None) -> None:
    """Export the calls of a frozen period as they are billed, as CSV."""

    async def work(database: Database) -> None:
        freezer = _freezer(database)
        document = await freezer.document(freeze_id)
        head = {"freeze_id": freeze_id, "period": _period(document), "checksum": document.checksum}
        async for piece in calls_as_csv(freezer.calls(freeze_id), head):
            typer.echo(piece, nl=False)

    _on_database(database_url, work)


@app.command("roundings")
def roundings(
    tenant: Annotated[str | None, typer.Argument(help="Of this tenant alone.")] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Show the rules in force, and who changed them when."""

    async def work(database: Database) -> tuple[list[Agreed], list[RuleChange]]:
        async with database.reading() as session:
            rules = await read_rules(session)
            named = sorted(rules.of_tenant) if tenant is None else [tenant]
            agreed = [one for name in named for one in rules.of_tenant.get(name, [])]
            changes = await read_changes(session, tenant)
            if tenant is not None and not changes:
                await demand_known(session, tenant)
            return agreed, changes

    agreed, changes = _on_database(database_url, work)
    _print(
        ("tenant", "from", "rounding", "set", "by"),
        [
            (one.tenant_id, _shown(one.valid_from_ms), str(one.rounding), _shown(one.set_ms), one.set_by)
            for one in agreed
        ],
    )
    _print(
        ("change", "when", "by", "tenant", "from", "before", "after"),
        [
            (
                str(change.change_id),
                _shown(change.at_ms),
                change.actor,
                change.tenant_id,
                _shown(change.valid_from_ms),
                *("none" if side is None else str(side) for side in (change.before, change.after)),
            )
            for change in changes
        ],
    )


@app.command("agree")
def agree_on(
    tenant: TenantOrAny,
    rounding: Annotated[str, typer.Argument(help="per_second, per_started_minute, or INITIAL/STEP in seconds.")],
    valid_from: Annotated[str, typer.Option(help="For calls that start on this date or at this moment, or later.")],
    by_start: Annotated[bool, typer.Option(help="A call counts whole where it started.")] = False,
    replace: Annotated[bool, typer.Option(help="Also if another rule begins at the same moment.")] = False,
    tz: Tz = "UTC",
    database_url: DatabaseUrl = None,
) -> None:
    """Let a rounding rule hold from a moment on."""

    async def work(database: Database) -> None:
        agreed = Agreed(
            tenant, parse_moment("valid_from", valid_from, zone_named(tz)), Rounding.parse(rounding, by_start=by_start)
        )
        based_on = await _version(database, tenant) if replace else None
        await agree(database, agreed, actor=operator(), now_ms=SystemClock().now().unix_ms, based_on=based_on)

    _on_database(database_url, work)
    typer.echo(f"{tenant}: {rounding} from {valid_from}")


@app.command("withdraw")
def withdraw_rule(
    tenant: TenantOrAny,
    valid_from: Annotated[str, typer.Option(help="The moment the rule begins.")],
    tz: Tz = "UTC",
    database_url: DatabaseUrl = None,
) -> None:
    """Remove a rule, so that the one before goes on."""

    async def work(database: Database) -> None:
        at_ms, now_ms = parse_moment("valid_from", valid_from, zone_named(tz)), SystemClock().now().unix_ms
        version = await _version(database, tenant)
        if not version:  # no rule of the tenant was ever changed: a mistyped name, or one without rules
            async with database.reading() as session:
                await demand_known(session, tenant)
        await withdraw(database, tenant, at_ms, actor=operator(), now_ms=now_ms, based_on=version)

    _on_database(database_url, work)
    typer.echo(f"{tenant}: the rule from {valid_from} is withdrawn")


def _freezer(database: Database) -> Freezer:
    return Freezer(database, SystemClock(), key=load_settings().seal_key)


async def _version(database: Database, tenant: str) -> int:
    async with database.reading() as session:
        return await rules_version(session, tenant)


def _on_database(database_url: str | None, work: Callable[[Database], Awaitable[T]], *, tenant: str = "TENANT") -> T:
    """Do the work on the database; a refusal ends the command. ``tenant`` is the parameter that names one."""
    try:
        return on_database(database_url, work)
    except PeriodError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.field.replace('_', '-')}") from None
    except RoundingError as error:
        raise typer.BadParameter(str(error), param_hint="ROUNDING") from None
    except UnknownTenantError as error:
        raise typer.BadParameter(printable(str(error)), param_hint=tenant) from None
    except tuple(_REFUSALS) as error:
        refuse_with(_REFUSALS[type(error)])
    except FreezeRefusedError as error:
        refuse_with(str(error))


def _print_examined(examined: Examined) -> None:
    typer.echo(
        f"Freeze {examined.document.facts.document_id}: {_period(examined.document)},"
        f" {'intact' if examined.intact else 'NOT INTACT'}"
    )
    _print_sums(examined.lines)
    for adjustment in examined.adjustments:
        facts = adjustment.document.facts
        state = "intact" if adjustment.intact else "NOT INTACT"
        typer.echo(f"Adjustment {facts.document_id}, {_shown(facts.made_ms)} by {facts.made_by}, {state}")
        _print_sums(adjustment.lines)
    if not examined.corrections:
        typer.echo("Nothing differs from what is billed.")
        return
    typer.echo(f"Not settled: {examined.changed_calls} calls differ, version {examined.version}")
    _print_sums([one.difference for one in examined.corrections])
    heads = ("call", "billed to", "billed seconds", "billed rounded", "now of", "now seconds", "now rounded")
    rows = [
        (call.call_id, *(cell for side in (call.billed, call.now) for cell in _side(side))) for call in examined.calls
    ]
    _print(heads, rows)


def _side(side: BilledCall | None) -> tuple[str, str, str]:
    """Return a call's tenant, seconds and rounded seconds; dashes where it is not billed, or is gone."""
    if side is None:
        return "-", "", ""
    return side.tenant_id, str(seconds(side.duration_ms)), str(seconds(side.rounded_ms))


def _print_sums(lines: Iterable[BilledSums]) -> None:
    rows = [
        (
            line.tenant_id,
            str(line.calls),
            str(line.answered_calls),
            str(seconds(line.duration_ms)),
            str(seconds(line.rounded_ms)),
        )
        for line in lines
    ]
    if rows:
        _print(_SUMS, rows)
    else:
        typer.echo(_NO_CALLS)


def _period(document: Document) -> str:
    facts = document.facts
    zone = ZoneInfo(facts.time_zone)
    start, end = (moment(at_ms, zone) for at_ms in (facts.from_ms, facts.to_ms))
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({zone.key})"


def _shown(at_ms: int) -> str:
    return f"{moment(at_ms, _UTC):%Y-%m-%d %H:%M:%S}Z"


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    numbers = frozenset(head for head in heads if head.endswith(("calls", "seconds", "rounded")))
    console().print(Sheet(heads, [[printable(cell) for cell in row] for row in rows], numbers))
