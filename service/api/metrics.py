"""The live numbers of all tenants and of each, and the registry behind them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.http import tags
from service.http.problems import ProblemError, declared, declared_invalid, writable
from service.http.responses import (
    METRICS_HEADERS,
    Answers,
    MetricsScope,
    admin_router,
    answer,
    json_answer,
    metrics_headers,
)
from service.http.security import AdminCheck
from service.http.timestamps import moment
from service.reconciliation.consistency import Findings, Inconsistency, Reconciler
from service.tenants.repository import DirectoryUnavailableError, TenantDirectory
from telemetry.calls.call import CallSnapshot
from telemetry.calls.lifecycle import CallState
from telemetry.calls.slots import Usage
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.metrics.gauges import Limits
from telemetry.metrics.live_table import LiveMetricsStore, Selection
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import OTHER, RejectionReason, TenantId
from telemetry.semconv.catalogue import LIVE_FIELDS

Rejected = Mapping[TenantId | None, int]
"""Calls that each tenant was refused for want of a slot, and under ``None`` all tenants together."""
_NO_SLOTS = Usage(0, 0, 0)


class Slots(BaseModel):
    """Slots held and left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(description="Calls allowed at once.")
    in_use: int = Field(description="Active and pending calls together.")
    available: int = Field(description="Slots left; 0 also if a lowered limit is exceeded.")
    active: int = Field(description="Calls whose media session runs.")
    pending: int = Field(description="Calls that hold a slot and have not started.")
    peak_in_use_5m: int = Field(description="The most slots held at once in the last five minutes.")
    rejected: int = Field(description="Calls turned away for want of a slot since the process started.")


class RegisteredCall(BaseModel):
    """One call that is not over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str = Field(description="The carrier's id of the call.")
    tenant_id: str
    state: CallState
    age_seconds: float = Field(description="Since it was received.")
    last_seen_seconds: float = Field(description="Since its last sign of life.")


class Difference(BaseModel):
    """Two numbers that should be one, and are not in any of several readings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant_id: str | None = Field(description="`null`: all tenants together.")
    what: str = Field(description="The number, or the invariant, that does not hold.")
    expected: float = Field(description="What the registry says, or the invariant's left side.")
    found: float = Field(description="What the live metrics say, or the invariant's right side.")
    live_age_seconds: float = Field(
        description="How old the live metrics were; above 0 the difference may be due to that."
    )


class CapacityDebug(BaseModel):
    """The registry of calls, with what is needed to find a leak."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    as_of: datetime
    scope: MetricsScope = Field(description="What the answer covers.")
    everyone: Slots = Field(serialization_alias="global", description="All tenants together.")
    tenants: dict[str, Slots] = Field(
        description="Tenants that held a slot in the last five minutes, and those refused one since the start."
    )
    active_calls: tuple[RegisteredCall, ...] = Field(description="Started, oldest first.")
    accepted_calls: tuple[RegisteredCall, ...] = Field(description="Accepted and not started, oldest first.")
    pending_calls: tuple[RegisteredCall, ...] = Field(description="Not yet decided upon, oldest first.")
    consistent: bool = Field(description="Whether registry and live metrics agree.")
    inconsistencies: tuple[Difference, ...] = Field(description="Where they do not.")


def capacity_debug(findings: Findings, limits: Limits, rejected: Rejected) -> CapacityDebug:
    """The answer that ``findings`` make."""
    registry = findings.registry
    refused = {tenant_id for tenant_id, calls in rejected.items() if tenant_id is not None and calls}
    return CapacityDebug(
        as_of=moment(registry.at),
        scope=MetricsScope.PROCESS,
        everyone=_slots(registry.total, limits.total(), rejected[None]),
        tenants={
            writable(tenant_id): _slots(
                registry.tenants.get(tenant_id, _NO_SLOTS), limits.of(tenant_id), rejected.get(tenant_id, 0)
            )
            for tenant_id in sorted(registry.tenants.keys() | refused)
        },
        active_calls=_calls(registry.calls, CallState.STARTED, registry.at),
        accepted_calls=_calls(registry.calls, CallState.ACCEPTED, registry.at),
        pending_calls=_calls(registry.calls, CallState.PENDING, registry.at),
        consistent=not findings.inconsistencies,
        inconsistencies=tuple(_difference(found, findings.live_age_seconds) for found in findings.inconsistencies),
    )


def _slots(usage: Usage, limit: int, rejected: int) -> Slots:
    return Slots(
        limit=limit,
        in_use=usage.in_use,
        available=max(0, limit - usage.in_use),
        active=usage.active,
        pending=usage.pending,
        peak_in_use_5m=usage.peak_in_use,
        rejected=rejected,
    )


def _calls(calls: Iterable[CallSnapshot], state: CallState, now: Instant) -> tuple[RegisteredCall, ...]:
    return tuple(_call(call, now) for call in calls if call.state is state)


def _call(call: CallSnapshot, now: Instant) -> RegisteredCall:
    return RegisteredCall(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        state=call.state,
        age_seconds=round(now.since(call.received), 3),
        last_seen_seconds=round(now.since(call.last_seen), 3),
    )


def _difference(found: Inconsistency, age_seconds: float) -> Difference:
    return Difference(
        tenant_id=None if found.tenant_id is None else writable(found.tenant_id),
        what=found.what,
        expected=found.expected,
        found=found.found,
        live_age_seconds=round(age_seconds, 3),
    )


CAPACITY_EXAMPLE: dict[str, Any] = {
    "as_of": "2026-11-22T20:00:00Z",
    "scope": "process",
    "global": {
        "limit": 100,
        "in_use": 14,
        "available": 86,
        "active": 12,
        "pending": 2,
        "peak_in_use_5m": 20,
        "rejected": 45,
    },
    "tenants": {
        "acme": {
            "limit": 10,
            "in_use": 3,
            "available": 7,
            "active": 2,
            "pending": 1,
            "peak_in_use_5m": 5,
            "rejected": 4,
        }
    },
    "active_calls": [
        {
            "call_id": "rtc_1",
            "tenant_id": "acme",
            "state": "started",
            "age_seconds": 12.3,
            "last_seen_seconds": 0.8,
        }
    ],
    "accepted_calls": [],
    "pending_calls": [],
    "consistent": True,
    "inconsistencies": [],
}
"""What the OpenAPI document shows."""
MAX_TENANT_ID = 200
"""Characters of a tenant's id that can be asked for."""
UNKNOWN = "There is no such tenant."
_PATH = "/api/v1/metrics"
_REJECTED = f"rejected_calls_{RejectionReason.CAPACITY}"
_NOTHING = dict.fromkeys(LIVE_FIELDS, 0) | {"minutes_processed": 0.0}


class LiveMetrics(BaseModel):
    """What has been counted since the process started; the active calls are those of this moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    active_calls: int = Field(description="Calls whose media session runs now.")
    accepted_calls: int
    rejected_calls_capacity: int = Field(description="Turned away because a limit was reached.")
    rejected_calls_tenant_not_configured: int = Field(
        description="Turned away because the dialled number reaches no tenant, or a disabled one."
    )
    rejected_calls_instructions_missing: int = Field(
        description="Turned away because there were no instructions for the agent."
    )
    instructions_db_errors: int = Field(description="Instructions that could not be read from the database.")
    fallback_instructions_used: int = Field(description="Calls that were given the fallback instructions.")
    started_calls: int = Field(description="Calls whose media session began.")
    ended_calls: int = Field(description="Started calls that are over; `started_calls` less the active ones.")
    failed_calls: int = Field(description="Of the ended, those that ended with an error.")
    referred_calls: int = Field(description="Handed off to another destination.")
    minutes_processed: float = Field(description="Time calls ran; grows while they run.")


EXAMPLE = {
    "active_calls": 12,
    "accepted_calls": 1543,
    "rejected_calls_capacity": 45,
    "rejected_calls_tenant_not_configured": 8,
    "rejected_calls_instructions_missing": 2,
    "instructions_db_errors": 1,
    "fallback_instructions_used": 1,
    "started_calls": 1490,
    "ended_calls": 1478,
    "failed_calls": 5,
    "referred_calls": 23,
    "minutes_processed": 3842.5,
}
"""What the OpenAPI document shows."""
_LIVE: Answers = {200: answer(LiveMetrics, "The twelve numbers.", EXAMPLE, METRICS_HEADERS)}
_CAPACITY: Answers = {200: answer(CapacityDebug, "The registry of calls.", CAPACITY_EXAMPLE, METRICS_HEADERS)}
_TENANT: Answers = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN),
        "There is no such tenant: it is not configured, and no call of it has been counted.",
        f"{_PATH}/live/nobody",
    ),
    422: declared_invalid(
        f"{_PATH}/live/\x00", "path.tenant_id", "String should match pattern '^[^\\x00-\\x1f\\x7f]+$'"
    ),
}
TenantInPath = Annotated[
    str,
    Path(
        description="A tenant's id; `_unknown` for calls that reached no tenant.",
        max_length=MAX_TENANT_ID,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        examples=["acme"],
    ),
]


def metrics_router(
    *, live: LiveMetricsReader, tracker: CallTracker, limits: Limits, tenants: TenantDirectory, admin: AdminCheck
) -> APIRouter:
    """The routes under ``/api/v1/metrics``; ``admin`` decides who may use them."""
    router = admin_router(tags.METRICS, admin, prefix=_PATH)
    reconciler = Reconciler(live, tracker)

    # The answers are written without the models, which the document alone needs: validating what has just been counted
    # would cost more than counting it.

    @router.get("/live", summary="Live metrics of all tenants", operation_id="liveMetrics", responses=_LIVE)
    async def live_metrics() -> Response:
        """Show everything recorded in this process before the request, or say in `X-Metrics-Age-Ms` how old it is."""
        age = await live.refreshed()
        return json_answer(live.store.live(), metrics_headers(age))

    @router.get(
        "/live/{tenant_id}",
        summary="Live metrics of one tenant",
        operation_id="liveMetricsOfTenant",
        responses=_LIVE | _TENANT,
    )
    async def live_metrics_of_tenant(tenant_id: TenantInPath) -> Response:
        """Show the same for one tenant; zeros if it is configured and has had no call."""
        age = await live.refreshed()
        numbers = live.store.live(tenant_id)
        if numbers is None:
            await demand_tenant(tenants, tenant_id)
        return json_answer(numbers or _NOTHING, metrics_headers(age))

    @router.get("/capacity/debug", summary="The registry of calls", operation_id="capacityDebug", responses=_CAPACITY)
    def capacity_of_calls() -> Response:
        """Show slots and open calls, and whether the live metrics agree with them.

        A difference is listed if it was the same in every one of several readings.
        """
        findings = reconciler.read()
        content = capacity_debug(findings, limits, _rejected(live.store))
        return json_answer(content.model_dump(mode="json"), metrics_headers(findings.live_age_seconds))

    return router


def _rejected(store: LiveMetricsStore) -> Rejected:
    """Calls refused for want of a slot. What counts under ``_other`` is nobody's, and only in the total."""
    tenants = [None, *map(TenantId, store.tenants())]
    counts = store.rows(Selection((_REJECTED,)), 0, len(tenants))
    rejected = {tenant_id: int(count) for tenant_id, (count,) in zip(tenants, counts, strict=True)}
    rejected.pop(TenantId(OTHER), None)
    return rejected


async def demand_tenant(tenants: TenantDirectory, tenant_id: str) -> None:
    """Raise a 404 problem unless there is such a tenant, or a 503 one if that cannot be found out now."""
    try:
        known = await tenants.knows(tenant_id)
    except DirectoryUnavailableError:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Whether there is such a tenant cannot be found out now.",
            headers={"Retry-After": "1"},
        ) from None
    if not known:
        raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN)
