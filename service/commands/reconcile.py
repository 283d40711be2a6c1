"""``callscope reconcile``: whether the ledgers of a running service agree.

Exit codes: 0 they do, 1 they differ, 2 the command line itself is wrong, 3 not all of them could be asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from service.api.reconcile import LedgerRow, Margin, ReconciledLedgers
from service.commands.client import DEFAULT_URL, RefusedError, ServiceClient, Token, Url, refuse
from service.commands.printing import Sheet, console
from service.reconciliation.figures import Field, Scope
from service.reconciliation.ledgers import Ledger, State
from telemetry.terminal import printable

DIFFERS = "≠"
"""Marks a figure on which ledgers differ, where there are no colours too."""
EVERYBODY = "all tenants"
"""The title of the sums."""
NOTHING_COUNTED = "No ledger counts a call."
"""Stands for a table without rows."""


@dataclass(frozen=True, slots=True)
class ReconcileTable:
    """The answer of a service."""

    found: ReconciledLedgers
    every: bool
    """Show tenants that do not differ too."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._head()
        yield from self._states()
        yield from self._tables()
        yield from self._other_differences()
        yield from self._calls()
        yield self._verdict()

    def _head(self) -> str:
        whose = "this process since its start" if self.found.scope is Scope.PROCESS else "all processes"
        return f"{self.found.from_:%Y-%m-%d %H:%M:%S} to {self.found.to:%Y-%m-%d %H:%M:%S} UTC, {whose}"

    def _states(self) -> Iterator[str]:
        for ledger, state in self.found.ledgers.items():
            age = "" if not state.age_seconds else f", {state.age_seconds:.1f} s old"
            detail = f": {state.detail}" if state.detail else ""
            if state.state is not State.COMPARED or age or detail:
                yield f"{ledger}: {_words(state.state)}{age}{detail}"

    def _tables(self) -> Iterator[RenderableType]:
        total = self._table(EVERYBODY, self.found.total, None)
        yield total if total.rows else NOTHING_COUNTED
        differing = {difference.tenant_id for difference in self.found.differences}
        shown = [tenant for tenant in self.found.tenants if self.every or tenant in differing]
        for tenant in shown:
            yield self._table(tenant, self.found.tenants[tenant], tenant)
        if self.every and self.found.tenants_left_out:
            yield f"and {self.found.tenants_left_out} tenants more"

    def _table(self, title: str, ledgers: Mapping[Ledger, LedgerRow], tenant: str | None) -> Sheet:
        rows: list[list[str]] = []
        marked: set[int] = set()
        for field in Field:
            cells = [_cell(row, field) for row in ledgers.values()]
            if self._differs(tenant, field):
                marked.add(len(rows))
                rows.append([f"{_words(field)} {DIFFERS}", *cells])
            elif any(cell not in ("", "0") for cell in cells):
                rows.append([_words(field), *cells])
        heads = ["figure", *(str(ledger) for ledger in ledgers)]
        return Sheet(heads, rows, frozenset(heads[1:]), title=printable(title), marked=frozenset(marked))

    def _differs(self, tenant: str | None, field: Field) -> bool:
        return any(d.field == field and tenant in (None, d.tenant_id) for d in self.found.differences)

    def _other_differences(self) -> Iterator[str]:
        """Return invariants that do not hold, which are no line of a table."""
        for difference in self.found.differences:
            if difference.field not in set(Field):
                said = ", ".join(f"{ledger} {value:g}" for ledger, value in difference.values.items())
                yield f"{difference.tenant_id or EVERYBODY}: {difference.field} does not hold: {said}"
        if self.found.differences_left_out:
            yield f"and {self.found.differences_left_out} differences more"

    def _calls(self) -> Iterator[RenderableType]:
        if not self.found.calls:
            return
        rows = []
        for call in self.found.calls:
            cells = (call.finding, call.process or "unknown", call.records or "none")
            rows.append([printable(call.call_id), printable(call.tenant_id), *map(_words, cells)])
        yield Sheet(("call", "tenant", "finding", "process", "records"), rows, title="calls behind")
        if self.found.calls_left_out:
            yield f"and {self.found.calls_left_out} calls more"

    def _verdict(self) -> str:
        if not self.found.consistent:
            return "The ledgers differ."
        if self.found.complete:
            return "The ledgers agree."
        compared = sum(ledger.state in (State.COMPARED, State.BEHIND) for ledger in self.found.ledgers.values())
        return "What could be compared agrees." if compared > 1 else "There was nothing to compare with."


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(row: LedgerRow, field: Field) -> str:
    if field not in row.figures:
        return ""
    value, margin = row.figures[field], row.margins.get(field)
    return _number(value) if margin is None else f"{_number(value)} {_range(margin)}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.3f}" if value != int(value) else f"{int(value):,}"


def _range(margin: Margin) -> str:
    """Return the margin as the eye needs it: none where it would round to nothing."""
    least, most = _number(margin.least), "…" if margin.most is None else _number(margin.most)
    return "" if least == most else f"({least} to {most})"


PATH: Final = "/api/v1/metrics/reconcile"
TIMEOUT_SECONDS: Final = 120.0
"""Seconds the answer may take: every record of the window is added up."""


class ReconcileFormat(StrEnum):
    """Forms of the comparison."""

    TABLE = "table"
    JSON = "json"


class Exit(IntEnum):
    """Exit codes."""

    AGREE = 0
    DIFFER = 1
    INCOMPLETE = 3


def reconcile(
    *,
    start: Annotated[
        str | None,
        typer.Option("--from", help="A date or moment: all processes from then on. Else one process since its start."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first that no longer belongs; now.")] = None,
    tz: Annotated[str, typer.Option(help="Whose dates: an IANA time zone.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="All processes since the fleet began to count, and its store.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every tenant, not those alone that differ.")] = False,
    form: Annotated[ReconcileFormat, typer.Option("--format", help="How to print it.")] = ReconcileFormat.TABLE,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Compare live counters, registry, call records, the fleet's store and the metrics backend of a running service.

    Exit codes: 0 they agree, 1 they differ, 3 not all of them could be asked.
    """
    if fleet and (start or end):
        raise typer.BadParameter("is of all time; leave out --from and --to", param_hint="--fleet")
    scope = Scope.FLEET.value if fleet else None
    parameters = {"from": start, "to": end, "tz": tz, "tenant_id": tenant, "scope": scope}
    client = ServiceClient(url, token, timeout=TIMEOUT_SECONDS)
    try:
        client.demand_tenant(tenant)
        found = client.read(ReconciledLedgers, PATH, parameters)
    except RefusedError as error:
        refuse(error, code=Exit.INCOMPLETE)
    if form is ReconcileFormat.JSON:
        typer.echo(found.model_dump_json(indent=2, by_alias=True))
    else:
        console().print(ReconcileTable(found, every=every or tenant is not None))
    raise typer.Exit(_exit_code(found))


def _exit_code(found: ReconciledLedgers) -> Exit:
    if not found.consistent:
        return Exit.DIFFER
    return Exit.AGREE if found.complete else Exit.INCOMPLETE
