"""The registry of calls behind the live numbers: slots, open calls, and whether both agree."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from fastapi import APIRouter, Response
from pydantic import AliasChoices, ConfigDict, Field

from service.api.elsewhere import LIST_HEADERS, OpenCall, demand_complete
from service.api.elsewhere import Coverage as CallCoverage
from service.api.scope import NUMBERS_HEADERS, AskedScope, FleetNumbers, MetricsScopes, unanswered_response
from service.fleet.live.counts import Coverage, FleetUnansweredError
from service.fleet.member import CapacityMode
from service.http.openapi import Responses, Tag, success
from service.http.problems import writable
from service.http.responses import MetricsScope, admin_router
from service.http.schemas import FrozenSchema, moment
from service.http.security import AdminCheck
from service.reconciliation.consistency import Findings, Inconsistency, Reconciler
from service.timeline.serializer import rounded
from telemetry.calls.call import CallSnapshot
from telemetry.calls.lifecycle import CallState
from telemetry.calls.slots import Usage
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.metrics.gauges import Limits
from telemetry.metrics.live_table import LiveMetricsStore, Selection
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import OTHER, RejectionReason, TenantId

PATH: Final = "/api/v1/metrics/capacity/debug"
_NO_REGISTRY: Final = "The registries of the other processes cannot be asked for."
_NO_SLOTS: Final = Usage(0, 0, 0)
_OPEN_STATES: Final = ("pending", "accepted", "started")
_LEFT: Final = Selection(
    (
        f"rejected_calls_{RejectionReason.CAPACITY}",
        "unanswered_calls",
        "taken_over_calls",
        *(f"handed_over_calls_{state}" for state in _OPEN_STATES),
    )
)


class SlotCounts(NamedTuple):
    """Calls of one tenant since the start, by the ways in which a slot was not had, or not kept to the end."""

    rejected: int = 0
    """For want of a slot."""
    unanswered: int = 0
    taken_over: int = 0
    handed_over: int = 0


Counted = Mapping[TenantId | None, SlotCounts]
"""By tenant, and under ``None`` of all tenants together."""
_NOTHING: Final = SlotCounts()


CapacityModes = Callable[[], CapacityMode | None]
"""Returns where a fleet decides about slots: in its store, or in each process; None for a process alone."""


def alone() -> None:
    """Return the mode of a process that is in no fleet."""


class CapacitySlots(FrozenSchema):
    """Slots held and left."""

    limit: int = Field(description="Calls allowed at once.")
    in_use: int = Field(description="Active and pending calls together.")
    available: int = Field(description="Slots left; 0 also if a lowered limit is exceeded.")
    active: int = Field(description="Calls whose media session runs.")
    pending: int = Field(description="Calls that hold a slot and have not started.")
    peak_in_use_5m: int | None = Field(
        description="The most slots held at once in the last five minutes; `null` if the store forgot it meanwhile."
    )
    rejected: int = Field(description="Calls turned away for want of a slot since the moment in `X-Metrics-Since`.")
    unanswered: int = Field(description="Calls that let go of their slot unanswered since then.")
    taken_over: int = Field(description="Calls that brought their slot from another process since then.")
    handed_over: int = Field(description="Calls that took their slot to another process since then.")


class RegisteredCall(FrozenSchema):
    """One call that is not over."""

    call_id: str = Field(description="The carrier's id of the call.")
    tenant_id: str
    state: CallState
    age_seconds: float = Field(description="Since it was received.")
    last_seen_seconds: float = Field(description="Since its last activity.")


class CapacityDifference(FrozenSchema):
    """Two numbers that should be one, and are not in any of several readings."""

    tenant_id: str | None = Field(description="`null`: all tenants together.")
    what: str = Field(description="The number, or the invariant, that does not hold.")
    expected: float = Field(description="What the registry says, or the invariant's left side.")
    found: float = Field(description="What the live metrics say, or the invariant's right side.")
    live_age_seconds: float = Field(
        description="How old the live metrics were; above 0 the difference may be due to that."
    )


class CapacityDebug(FrozenSchema):
    """The registry of calls, with what is needed to find a leak."""

    model_config = ConfigDict(serialize_by_alias=True)

    as_of: datetime
    scope: MetricsScope = Field(description="The processes that the registry covers.")
    everyone: CapacitySlots = Field(
        validation_alias=AliasChoices("global", "everyone"),
        serialization_alias="global",
        description="All tenants together.",
    )
    tenants: dict[str, CapacitySlots] = Field(
        description="Tenants that held a slot in the last five minutes, and those that a process which answers has "
        "refused one since it started."
    )
    active_calls: tuple[RegisteredCall, ...] = Field(description="Started, oldest first.")
    accepted_calls: tuple[RegisteredCall, ...] = Field(description="Accepted and not started, oldest first.")
    pending_calls: tuple[RegisteredCall, ...] = Field(description="Not yet decided upon, oldest first.")
    mode: CapacityMode | None = Field(
        None,
        description="Where slots are decided upon in a fleet: in its store, or, while that is away, in each process.",
        exclude_if=lambda mode: mode is None,
    )
    consistent: bool = Field(description="Whether registry and live metrics agree.")
    inconsistencies: tuple[CapacityDifference, ...] = Field(description="Where they do not.")


def capacity_debug(
    findings: Findings, limits: Limits, counted: Counted, mode: CapacityMode | None = None
) -> CapacityDebug:
    """Return the response that ``findings`` make; ``mode`` if the process is one of a fleet."""
    registry = findings.registry
    refused = {tenant_id for tenant_id, counts in counted.items() if tenant_id is not None and counts.rejected}
    return CapacityDebug(
        as_of=moment(registry.at),
        scope=MetricsScope.PROCESS,
        everyone=_slots(registry.total, limits.total(), counted[None]),
        tenants={
            writable(tenant_id): _slots(
                registry.tenants.get(tenant_id, _NO_SLOTS), limits.of(tenant_id), counted.get(tenant_id, _NOTHING)
            )
            for tenant_id in sorted(registry.tenants.keys() | refused)
        },
        active_calls=_calls(registry.calls, CallState.STARTED, registry.at),
        accepted_calls=_calls(registry.calls, CallState.ACCEPTED, registry.at),
        pending_calls=_calls(registry.calls, CallState.PENDING, registry.at),
        mode=mode,
        consistent=not findings.inconsistencies,
        inconsistencies=tuple(_difference(found, findings.live_age_seconds) for found in findings.inconsistencies),
    )


def _slots(usage: Usage, limit: int, counts: SlotCounts) -> CapacitySlots:
    return CapacitySlots(
        limit=limit,
        in_use=usage.in_use,
        available=max(0, limit - usage.in_use),
        active=usage.active,
        pending=usage.pending,
        peak_in_use_5m=usage.peak_in_use,
        **counts._asdict(),
    )


def _calls(calls: Iterable[CallSnapshot], state: CallState, now: Instant) -> tuple[RegisteredCall, ...]:
    return tuple(registered_call(call, now) for call in calls if call.state is state)


def registered_call(call: CallSnapshot, now: Instant) -> RegisteredCall:
    """Return a call that is not over, as of the moment ``now``."""
    return RegisteredCall(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        state=call.state,
        age_seconds=round(now.since(call.received), 3),
        last_seen_seconds=round(now.since(call.last_seen), 3),
    )


def registered(call: OpenCall) -> RegisteredCall:
    """Return a call that is not over, as another process tells it."""
    return RegisteredCall(
        call_id=call.call_id,
        tenant_id=call.tenant_id,
        state=call.state,
        age_seconds=call.age_seconds,
        last_seen_seconds=call.last_seen_seconds,
    )


def _difference(found: Inconsistency, age_seconds: float) -> CapacityDifference:
    return CapacityDifference(
        tenant_id=None if found.tenant_id is None else writable(found.tenant_id),
        what=found.what,
        expected=rounded(found.expected),
        found=rounded(found.found),
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
        "unanswered": 6,
        "taken_over": 0,
        "handed_over": 0,
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
            "unanswered": 1,
            "taken_over": 0,
            "handed_over": 0,
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
"""The example in the OpenAPI document."""
_CAPACITY: Responses = unanswered_response(PATH) | {
    200: success(CapacityDebug, "The registry of calls.", CAPACITY_EXAMPLE, NUMBERS_HEADERS | LIST_HEADERS)
}


class ToldRegistry(NamedTuple):
    """The registry of a fleet."""

    debug: CapacityDebug
    numbers: Coverage
    """The processes whose numbers are in it."""
    calls: CallCoverage
    """Those whose calls are."""


class FleetRegistry(Protocol):
    """The registries of a fleet; :class:`service.api.fleet_registry.StoredFleetRegistry` reads them."""

    def tell(self, own: Callable[[], CapacityDebug]) -> None:
        """Have other processes told this one's registry, which ``own``, in a thread, reads."""
        ...

    async def read(self, own: CapacityDebug, limits: Limits, numbers: FleetNumbers) -> ToldRegistry:
        """Return the registry of all processes, this one's among them.

        Raises:
            FleetUnansweredError: if the store does not answer.
        """
        ...


def capacity_router(
    *,
    live: LiveMetricsReader,
    tracker: CallTracker,
    limits: Limits,
    admin: AdminCheck,
    mode: CapacityModes = alone,
    scopes: MetricsScopes | None = None,
    fleet: FleetRegistry | None = None,
) -> APIRouter:
    """Return the route ``/api/v1/metrics/capacity/debug``.

    Args:
        live: what this process counts.
        tracker: its registry of calls.
        limits: how many calls are let in at once.
        admin: decides who may use it.
        mode: where a fleet decides about slots.
        scopes: whose numbers answer; None for a process alone.
        fleet: the registries of a fleet; likewise.
    """
    router = admin_router(Tag.METRICS, admin)
    rule = scopes or MetricsScopes(live)
    reconciler = Reconciler(live, tracker)

    def read() -> tuple[CapacityDebug, float]:
        findings = reconciler.read()
        return capacity_debug(findings, limits, _counted(live.store), mode()), findings.live_age_seconds

    if fleet is not None:
        fleet.tell(lambda: read()[0])

    @router.get(PATH, summary="The registry of calls", operation_id="capacityDebug", responses=_CAPACITY)
    async def capacity_of_calls(response: Response, scope: AskedScope = None) -> CapacityDebug:
        """Show slots and open calls, and whether the live metrics agree with them.

        A difference is listed if it was the same in every one of several readings. Of a fleet, slots are as its store
        has them, and calls as each process tells them; if one does not answer, `X-Calls-Silent` names it, and
        `scope=fleet` is answered 503.
        """

        async def of_fleet(numbers: FleetNumbers) -> tuple[tuple[CapacityDebug, float, dict[str, str]], Coverage]:
            if fleet is None:
                raise FleetUnansweredError(_NO_REGISTRY)
            # If the store is known to be away, nothing is read twice.
            await numbers.counts()
            own, age = await asyncio.to_thread(read)
            told = await fleet.read(own, limits, numbers)
            demand_complete(scope, told.calls)
            return (told.debug, max(age, told.calls.age_seconds), told.calls.headers()), told.numbers

        async def of_process() -> tuple[CapacityDebug, float, dict[str, str]]:
            return (*await asyncio.to_thread(read), {})

        answered = await rule.answer(scope, of_fleet, of_process)
        debug, age, headers = answered.body
        response.headers.update({**answered.extent.aged(age).headers(), **headers})
        return debug

    return router


def _counted(store: LiveMetricsStore) -> Counted:
    """Return the counts of each tenant. What counts under ``_other`` is nobody's, and only in the total."""
    tenants = [None, *map(TenantId, store.tenants())]
    rows = store.rows(_LEFT, 0, len(tenants))
    counted = {
        tenant_id: SlotCounts(int(rejected), int(unanswered), int(taken), int(sum(handed)))
        for tenant_id, (rejected, unanswered, taken, *handed) in zip(tenants, rows, strict=True)
    }
    counted.pop(TenantId(OTHER), None)
    return counted
