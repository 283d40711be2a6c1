"""The comparison of the ledgers for people: one line a figure, one column a ledger."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

from service.api.reconciled_ledgers import LedgerRow, Margin, ReconciledLedgers
from service.reconciliation.column import Ledger, State
from service.reconciliation.figures import Field
from service.reconciliation.window import Scope

DIFFERS = "≠"
"""Marks a figure on which ledgers differ, where there are no colours too."""

EVERYBODY = "all tenants"
"""The title of the sums."""


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
            if state.state is not State.COMPARED or age:
                yield f"{ledger}: {_words(state.state)}{age}{detail}"

    def _tables(self) -> Iterator[RenderableType]:
        yield self._table(EVERYBODY, self.found.total, None)
        differing = {difference.tenant_id for difference in self.found.differences}
        shown = [tenant for tenant in self.found.tenants if self.every or tenant in differing]
        for tenant in shown:
            yield self._table(tenant, self.found.tenants[tenant], tenant)
        if self.every and self.found.tenants_left_out:
            yield f"and {self.found.tenants_left_out} tenants more"

    def _table(self, title: str, rows: Mapping[Ledger, LedgerRow], tenant: str | None) -> Table:
        table = Table(title=title, title_justify="left")
        table.add_column("")
        for ledger in rows:
            table.add_column(ledger, justify="right")
        for field in Field:
            cells = [_cell(row, field) for row in rows.values()]
            if self._differs(tenant, field):
                table.add_row(f"{_words(field)} {DIFFERS}", *cells, style="bold red")
            elif any(cell not in ("", "0") for cell in cells):
                table.add_row(_words(field), *cells)
        return table

    def _differs(self, tenant: str | None, field: Field) -> bool:
        return any(d.field == field and tenant in (None, d.tenant_id) for d in self.found.differences)

    def _other_differences(self) -> Iterator[str]:
        """Invariants that do not hold, which are no line of a table."""
        for difference in self.found.differences:
            if difference.field not in set(Field):
                said = ", ".join(f"{ledger} {value:g}" for ledger, value in difference.values.items())
                yield f"{difference.tenant_id or EVERYBODY}: {difference.field} does not hold: {said}"
        if self.found.differences_left_out:
            yield f"and {self.found.differences_left_out} differences more"

    def _calls(self) -> Iterator[RenderableType]:
        if not self.found.calls:
            return
        table = Table("call", "tenant", "finding", "process", "records", title="calls behind", title_justify="left")
        for call in self.found.calls:
            told = (call.finding, call.process or "unknown", call.records or "none")
            table.add_row(call.call_id, call.tenant_id, *map(_words, told))
        yield table
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
    """The margin as the eye needs it: none where it would round to nothing."""
    least, most = _number(margin.least), "…" if margin.most is None else _number(margin.most)
    return "" if least == most else f"({least} to {most})"
