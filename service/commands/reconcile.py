"""``callscope reconcile``: whether the ledgers of a running service agree.

Exit codes: 0 they do, 1 they differ, 2 the command line itself is wrong, 3 not all of them could be asked.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, NoReturn

import httpx2
import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

from service.api.reconcile import LedgerRow, Margin, ReconciledLedgers
from service.http.security import HEADER
from service.reconciliation.figures import Field, Ledger, Scope, State

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


PATH: Final = "/api/v1/metrics/reconcile"
PATIENCE_SECONDS: Final = 120.0
"""How long the answer may take: every record of the window is added up."""


class RefusedError(Exception):
    """There is no answer; the message says why, in a sentence for people."""


class ParameterError(RefusedError):
    """The service does not take what was asked for; ``field`` is the parameter that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def ask(url: str, token: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The comparison as the service answers it.

    Raises:
        RefusedError: if the service cannot be reached, refuses, or is another service.
        ParameterError: if a parameter is wrong.
    """
    base = url.rstrip("/")
    try:
        answer = httpx2.get(base + PATH, params=parameters, headers={HEADER: token}, timeout=PATIENCE_SECONDS)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise RefusedError(f"cannot reach {base}: {str(error) or type(error).__name__}") from None
    told = _json(base, answer)
    if answer.is_success:
        return told
    for problem in told.get("errors", ()):
        raise ParameterError(str(problem["field"]).removeprefix("query."), str(problem["detail"]))
    raise RefusedError(f"{answer.status_code}: {told.get('detail') or answer.reason_phrase}")


def _json(base: str, answer: httpx2.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise RefusedError(f"{answer.status_code}: {base} does not answer as this service does")
    return told


_DEFAULT_URL = "http://127.0.0.1:8000"


class Form(StrEnum):
    """How the comparison is printed."""

    TABLE = "table"
    JSON = "json"


class Exit(IntEnum):
    """What a script learns."""

    AGREE = 0
    DIFFER = 1
    NOT_ASKED = 3


def reconcile(
    *,
    start: Annotated[
        str | None,
        typer.Option("--from", help="A date or moment: all processes from then on. Else one process since its start."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first that no longer belongs; now.")] = None,
    tz: Annotated[str, typer.Option(help="Whose dates: an IANA time zone.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every tenant, not those alone that differ.")] = False,
    form: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.TABLE,
    url: Annotated[str, typer.Option(envvar="CALLSCOPE_URL", help="Where the service answers.")] = _DEFAULT_URL,
    token: Annotated[
        str, typer.Option(envvar=["CALLSCOPE_TOKEN", "ADMIN_TOKEN"], help="An admin token.", show_envvar=True)
    ] = "",
) -> None:
    """Compare live counters, registry, call records and the metrics backend of a running service.

    Exit codes: 0 they agree, 1 they differ, 3 not all of them could be asked.
    """
    asked = {"from": start, "to": end, "tz": tz, "tenant_id": tenant}
    try:
        # Several tokens may be configured while one is rotated out; any of them will do.
        one_token = token.split(",", maxsplit=1)[0].strip()
        answer = ask(url, one_token, {name: text for name, text in asked.items() if text is not None})
        found = ReconciledLedgers.model_validate(answer, extra="ignore")
    except ParameterError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.field.removesuffix('_id')}") from None
    except RefusedError as error:
        _refuse(str(error))
    except ValidationError:
        _refuse(f"{url} does not answer as this service does; is it another version?")
    if form is Form.JSON:
        typer.echo(json.dumps(answer, indent=2))
    else:
        Console().print(ReconcileTable(found, every=every or tenant is not None))
    raise typer.Exit(_exit_code(found))


def _exit_code(found: ReconciledLedgers) -> Exit:
    if not found.consistent:
        return Exit.DIFFER
    return Exit.AGREE if found.complete else Exit.NOT_ASKED


def _refuse(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(Exit.NOT_ASKED)
