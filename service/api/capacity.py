"""The registry of calls as an answer: slots held and left, every open call, and whether the live metrics agree."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import MetricsScope, moment
from service.consistency import Findings, Inconsistency
from service.text import writable
from telemetry.attributes import TenantId
from telemetry.call import CallSnapshot
from telemetry.clock import Instant
from telemetry.gauges import Limits
from telemetry.lifecycle import CallState
from telemetry.usage import Usage

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


EXAMPLE: dict[str, Any] = {
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
