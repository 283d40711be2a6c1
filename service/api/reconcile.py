"""The comparison of the ledgers over HTTP."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from service.api.live import TenantCheck, tenant_filtered
from service.api.usage import invalid_parameter
from service.http.openapi import Responses, Tag, declared_invalid, success
from service.http.parameters import TenantFilter
from service.http.problems import ProblemError, writable
from service.http.responses import METRICS_HEADERS, MetricsScope, admin_router, metrics_headers
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck
from service.reconciliation import figures
from service.reconciliation.call_findings import Finding, FoundCall
from service.reconciliation.figures import Figure, ReconcileQuery, Scope, total
from service.reconciliation.ledgers import Column, Ledger, LedgerDifference, State
from service.reconciliation.reconciliation import Reconciled, Reconciliation
from service.usage.period import Period, PeriodError, moment

MAX_TENANTS = 500
"""Tenants whose rows are shown, those with differences first."""
MAX_DIFFERENCES = 1_000
"""Differences that are listed; all are counted."""
_DIGITS = 6
# Of minutes: a call's time is known to the millisecond.
_UTC = ZoneInfo("UTC")
_Name = TypeVar("_Name", bound=str)


class Margin(FrozenSchema):
    """The range a figure can stand for, where its ledger cannot know better."""

    least: float
    most: float | None = Field(description="`null`: any number more may be on its way.")


class LedgerRow(FrozenSchema):
    """One ledger's figures of one tenant."""

    figures: dict[str, int | float] = Field(description="By name; minutes are fractions, the rest counts.")
    margins: dict[str, Margin] = Field(description="Of those that can stand for another number.")


class LedgerState(FrozenSchema):
    """A ledger's part in the comparison."""

    state: State
    detail: str | None = Field(description="Why it is in this state.")
    age_seconds: float | None = Field(description="How old what it says is.")


class Disagreement(FrozenSchema):
    """A figure on which two ledgers cannot both be right."""

    tenant_id: str | None = Field(description="`null`: all tenants together.")
    field: str = Field(description="The figure, or the invariant that does not hold.")
    values: dict[Ledger, float] = Field(description="What each of the two says.")
    margins: dict[Ledger, Margin]


class DisagreedCall(FrozenSchema):
    """A call on which this process and its records do not agree."""

    call_id: str
    tenant_id: str
    finding: Finding
    process: str | None = Field(description="Its state as this process has it; `null` if it does not know the call.")
    records: str | None = Field(description="Its state in the records; `null` if there is no row.")


class ReconciledLedgers(FrozenSchema):
    """All ledgers side by side."""

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
        "store": {"state": "not_configured", "detail": "REDIS_URL names no store.", "age_seconds": None},
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
"""The example in the OpenAPI document."""


def reconciled(found: Reconciled) -> ReconciledLedgers:
    """Return the response that a comparison makes."""
    tenants = _tenants(found)
    shown = tenants[:MAX_TENANTS]
    return ReconciledLedgers(
        as_of=_utc(found.as_of_ms),
        scope=found.query.scope,
        **{"from": _utc(found.query.start_ms)},
        to=_utc(found.query.end_ms),
        tenant_id=found.query.tenant_id,
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
    """Return every tenant a ledger knows, those that differ first."""
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


def _difference(found: LedgerDifference) -> Disagreement:
    pairs = list(zip(found.ledgers, found.figures, strict=True))
    return Disagreement(
        tenant_id=None if found.tenant_id is None else writable(found.tenant_id),
        field=found.field,
        values={ledger: _number(figure.value) for ledger, figure in pairs},
        margins=_margins(pairs),
    )


def _margins(pairs: Iterable[tuple[_Name, Figure]]) -> dict[_Name, Margin]:
    return {name: _margin(figure) for name, figure in pairs if figure.low != figure.high}


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


PATH = "/api/v1/metrics/reconcile"
_RESPONSES: Responses = {
    200: success(ReconciledLedgers, "The ledgers, and where they do not agree.", EXAMPLE, METRICS_HEADERS),
    **tenant_filtered(PATH),
    422: declared_invalid(f"{PATH}?from=yesterday", "query.from", "must be a date, or a date and time, in ISO 8601"),
}
_From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=40,
        description="The first moment of a window over all processes. Without it: this process, since it started.",
        examples=["2026-11-22"],
    ),
]
_To = Annotated[
    str | None,
    Query(max_length=40, description="The first moment that no longer belongs; now.", examples=["2026-11-23"]),
]
_Scope = Annotated[
    Scope | None,
    Query(description="`fleet` without a window: all processes since the fleet began to count, its store among them."),
]
_Zone = Annotated[str, Query(max_length=64, description="Whose dates: an IANA time zone.", examples=["Europe/Berlin"])]


def reconcile_router(*, reconciliation: Reconciliation, tenants: TenantCheck, admin: AdminCheck) -> APIRouter:
    """Return the route ``/api/v1/metrics/reconcile``; ``admin`` decides who may use it."""
    router = admin_router(Tag.METRICS, admin)

    @router.get(PATH, summary="Hold the ledgers against each other", operation_id="reconcile", responses=_RESPONSES)
    async def reconcile(
        response: Response,
        start: _From = None,
        to: _To = None,
        tz: _Zone = "UTC",
        tenant_id: TenantFilter = None,
        scope: _Scope = None,
    ) -> ReconciledLedgers:
        """Compare live counters, registry, call records, the fleet's store and, where configured, the metrics backend.

        Without a window: the calls of the process that answers, since it started. With one: the records of all
        processes and the backend. With `scope=fleet`: all since the fleet began to count, and the sums of its store.
        What one ledger cannot know yet is the margin of its figures, and no difference.
        """
        found = await reconciliation.compare(_query(reconciliation, start, to, tz, tenant_id, scope))
        if not any(column.rows for column in found.columns.values()):
            await tenants.demand(tenant_id)
        age = found.columns[Ledger.LIVE].age_seconds or 0.0
        response.headers.update(metrics_headers(age, MetricsScope(found.query.scope.value)))
        return reconciled(found)

    return router


def _query(
    reconciliation: Reconciliation,
    start: str | None,
    end: str | None,
    zone: str,
    tenant: str | None,
    scope: Scope | None,
) -> ReconcileQuery:
    if scope is Scope.FLEET and start is None and end is None:
        query = reconciliation.since_fleet(tenant)
        if query is None:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "There is no fleet: REDIS_URL names no store.")
        return query
    if scope is Scope.PROCESS and (start is not None or end is not None):
        raise invalid_parameter(PeriodError("scope", "must not be process where there is a window: it is of all"))
    if start is None and end is None:
        return reconciliation.since_start(tenant)
    try:
        period = Period.parse(start or "", end or datetime.now(UTC).isoformat(), zone)
    except PeriodError as error:
        raise invalid_parameter(error) from None
    query = reconciliation.window(period.start_ms, period.end_ms, tenant)
    if query.start_ms >= query.end_ms:
        raise invalid_parameter(PeriodError("from", "must be in the past"))
    return query
