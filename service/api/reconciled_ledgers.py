"""The comparison of the ledgers as an answer."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from service.reconciliation import figures
from service.reconciliation.column import Column, Ledger, State
from service.reconciliation.comparing import Difference
from service.reconciliation.figures import Figure, total
from service.reconciliation.naming import Finding, FoundCall
from service.reconciliation.reconciliation import Reconciled
from service.reconciliation.window import Scope
from service.text import writable
from service.usage.local_time import moment

MAX_TENANTS = 500
"""Tenants whose rows are shown, those with differences first."""

MAX_DIFFERENCES = 1_000
"""Differences that are listed; all are counted."""

_DIGITS = 6
# Of minutes: a call's time is known to the millisecond.

_UTC = ZoneInfo("UTC")

_Name = TypeVar("_Name", bound=str)


class Margin(BaseModel):
    """What a figure can stand for, where its ledger cannot know better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: float
    most: float | None = Field(description="`null`: any number more may be on its way.")


class LedgerRow(BaseModel):
    """What one ledger says of one tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    figures: dict[str, int | float] = Field(description="By name; minutes are fractions, the rest counts.")
    margins: dict[str, Margin] = Field(description="Of those that can stand for another number.")


class LedgerState(BaseModel):
    """How far a ledger takes part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    detail: str | None = Field(description="Why it is in this state.")
    age_seconds: float | None = Field(description="How old what it says is.")


class Disagreement(BaseModel):
    """A figure on which two ledgers cannot both be right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant_id: str | None = Field(description="`null`: all tenants together.")
    field: str = Field(description="The figure, or the invariant that does not hold.")
    values: dict[Ledger, float] = Field(description="What each of the two says.")
    margins: dict[Ledger, Margin]


class DisagreedCall(BaseModel):
    """A call on which this process and its records do not agree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str
    tenant_id: str
    finding: Finding
    process: str | None = Field(description="Its state as this process has it; `null` if it does not know the call.")
    records: str | None = Field(description="Its state in the records; `null` if there is no row.")


class ReconciledLedgers(BaseModel):
    """All ledgers side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: datetime
    scope: Scope = Field(
        description="`process`: the calls of this process since it started; `fleet`: all, in a window."
    )
    from_: datetime = Field(alias="from")
    to: datetime
    tenant_id: str | None
    consistent: bool = Field(description="Whether nothing that could be compared differs.")
    complete: bool = Field(description="Whether every ledger that is configured could be compared with another.")
    ledgers: dict[Ledger, LedgerState]
    total: dict[Ledger, LedgerRow]
    tenants: dict[str, dict[Ledger, LedgerRow]]
    tenants_left_out: int
    differences: tuple[Disagreement, ...]
    differences_left_out: int
    calls: tuple[DisagreedCall, ...] = Field(
        description="The calls behind the differences, as far as they can be named."
    )
    calls_left_out: int


def _example_row(ended: int) -> dict[str, Any]:
    return {"figures": {"received": 45, "accepted": 42, "started": 41, "ended": ended, "minutes": 92.25}, "margins": {}}


_EXAMPLE_COMPARED = {"state": "compared", "detail": None, "age_seconds": None}
_EXAMPLE_ROWS = {"live": _example_row(40), "records": _example_row(39)}
EXAMPLE: dict[str, Any] = {
    "as_of": "2026-11-22T20:00:00Z",
    "scope": "process",
    "from": "2026-11-22T08:00:00Z",
    "to": "2026-11-22T20:00:00Z",
    "tenant_id": None,
    "consistent": False,
    "complete": True,
    "ledgers": {
        "live": {"state": "compared", "detail": None, "age_seconds": 0.0},
        "registry": _EXAMPLE_COMPARED,
        "records": _EXAMPLE_COMPARED,
        "prometheus": {
            "state": "not_configured",
            "detail": "PROMETHEUS_URL names no backend.",
            "age_seconds": None,
        },
    },
    "total": _EXAMPLE_ROWS,
    "tenants": {"acme": _EXAMPLE_ROWS},
    "tenants_left_out": 0,
    "differences": [{"tenant_id": "acme", "field": "ended", "values": {"live": 40, "records": 39}, "margins": {}}],
    "differences_left_out": 0,
    "calls": [
        {"call_id": "rtc_1", "tenant_id": "acme", "finding": "other_state", "process": "ended", "records": "started"}
    ],
    "calls_left_out": 0,
}
"""What the OpenAPI document shows."""


def reconciled(found: Reconciled) -> ReconciledLedgers:
    """The answer that a comparison makes."""
    tenants = _tenants(found)
    shown = tenants[:MAX_TENANTS]
    return ReconciledLedgers(
        as_of=_utc(found.as_of_ms),
        scope=found.asked.scope,
        **{"from": _utc(found.asked.start_ms)},
        to=_utc(found.asked.end_ms),
        tenant_id=found.asked.tenant_id,
        consistent=found.consistent,
        complete=found.complete,
        ledgers={ledger: _state(column) for ledger, column in found.columns.items()},
        total={ledger: _row(total(column.rows)) for ledger, column in found.columns.items() if column.rows},
        tenants={writable(tenant): _of_tenant(tenant, found.columns) for tenant in shown},
        tenants_left_out=len(tenants) - len(shown),
        differences=tuple(map(_difference, found.differences[:MAX_DIFFERENCES])),
        differences_left_out=max(0, len(found.differences) - MAX_DIFFERENCES),
        calls=tuple(map(_call, found.calls)),
        calls_left_out=found.calls_left_out,
    )


def _tenants(found: Reconciled) -> list[str]:
    """Every tenant a ledger knows, those that differ first."""
    differing = {difference.tenant_id for difference in found.differences}
    known = {tenant for column in found.columns.values() for tenant in column.rows}
    return sorted(known, key=lambda tenant: (tenant not in differing, tenant))


def _of_tenant(tenant: str, columns: Mapping[Ledger, Column]) -> dict[Ledger, LedgerRow]:
    return {ledger: _row(column.rows[tenant]) for ledger, column in columns.items() if tenant in column.rows}


def _state(column: Column) -> LedgerState:
    age = column.age_seconds
    return LedgerState(state=column.state, detail=column.detail, age_seconds=None if age is None else round(age, 3))


def _row(row: Mapping[figures.Field, Figure]) -> LedgerRow:
    return LedgerRow(
        figures={field: _number(figure.value) for field, figure in row.items()},
        margins=_margins(row.items()),
    )


def _difference(found: Difference) -> Disagreement:
    told = list(zip(found.ledgers, found.figures, strict=True))
    return Disagreement(
        tenant_id=None if found.tenant_id is None else writable(found.tenant_id),
        field=found.field,
        values={ledger: _number(figure.value) for ledger, figure in told},
        margins=_margins(told),
    )


def _margins(told: Iterable[tuple[_Name, Figure]]) -> dict[_Name, Margin]:
    return {name: _margin(figure) for name, figure in told if figure.low != figure.high}


def _margin(figure: Figure) -> Margin:
    most = None if math.isinf(figure.high) else _number(figure.high)
    return Margin(least=_number(figure.low), most=most)


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, _DIGITS)


def _call(found: FoundCall) -> DisagreedCall:
    return DisagreedCall(
        call_id=writable(found.call_id),
        tenant_id=writable(found.tenant_id),
        finding=found.finding,
        process=found.process,
        records=found.records,
    )


def _utc(at_ms: int) -> datetime:
    return moment(at_ms, _UTC)
