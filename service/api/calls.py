"""The list of calls: those under way, or those that are looked for."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends
from pydantic import Field

from service.api.call_search import FOUND_EXAMPLE, INVALID, CallSearchPage, Search, found_calls, search
from service.api.live import TenantCheck, tenant_filtered
from service.http.openapi import JSON, Responses, Tag
from service.http.problems import writable
from service.http.responses import admin_router
from service.http.schemas import FrozenSchema, moment
from service.http.security import AdminCheck
from service.timeline.serializer import CALLS, NO_BACKEND, TraceUrls
from telemetry.calls.call import CallSnapshot
from telemetry.calls.lifecycle import CallState
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.recent.calls import RecentCalls
from telemetry.semconv.attributes import CallId

_PATH = "/api/v1/calls"


class TraceIds(Protocol):
    """Knows the traces of calls; :class:`telemetry.traces.sink.CallTraces` does."""

    def trace_id(self, call_id: CallId) -> str | None:
        """Return the id of the call's trace, 32 hexadecimal digits; ``None`` if it has none."""
        ...


class NoTraceIds:
    """For gateways that make no traces."""

    __slots__ = ()

    def trace_id(self, call_id: CallId) -> str | None:  # noqa: ARG002 -- the protocol's signature
        """None."""
        return None


class CallStatus(StrEnum):
    """The state of a call in operators' words."""

    NEW = "NEW"
    """Accepted; its media session has not begun."""
    RUNNING = "RUNNING"
    ENDING = "ENDING"
    """It was handed off, or is being hung up."""


class CallEntry(FrozenSchema):
    """One call under way."""

    call_id: str = Field(description="The carrier's id of the call.")
    tenant_id: str
    status: CallStatus = Field(
        description="`NEW`: accepted; `RUNNING`: started; `ENDING`: handed off or being hung up."
    )
    started_at: datetime | None = Field(description="When its media session began; `null` before that.")
    duration_seconds: float = Field(description="Since then; 0 before.")
    trace_id: str | None = Field(description="Of the call's trace, 32 hexadecimal digits; `null` if it has none.")


class CallList(FrozenSchema):
    """The calls under way."""

    calls: tuple[CallEntry, ...] = Field(description="Accepted and not over, in the order they were received.")
    pending_call_ids: tuple[str, ...] = Field(description="Received and not yet decided upon.")


EXAMPLE: dict[str, Any] = {
    "calls": [
        {
            "call_id": "rtc_1",
            "tenant_id": "acme",
            "status": "RUNNING",
            "started_at": "2026-11-22T19:59:47.700000Z",
            "duration_seconds": 12.3,
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        }
    ],
    "pending_call_ids": ["rtc_2"],
}
"""The example in the OpenAPI document."""
_LISTED: Responses = {
    200: {
        "model": CallList | CallSearchPage,
        "description": "The calls under way; with any parameter, a page of those looked for.",
        "content": {
            JSON: {
                "examples": {
                    "under way": {"summary": "Without parameters", "value": EXAMPLE},
                    "found": {"summary": "With `outcome=failed&limit=1`", "value": FOUND_EXAMPLE},
                }
            }
        },
    },
    **tenant_filtered(CALLS),
    422: INVALID,
}


def calls_router(
    *,
    tracker: CallTracker,
    traces: TraceIds,
    recent: RecentCalls,
    tenants: TenantCheck,
    admin: AdminCheck,
    urls: TraceUrls = NO_BACKEND,
) -> APIRouter:
    """Return the list under ``/api/v1/calls``; ``admin`` decides who may use it."""
    router = admin_router(Tag.CALLS, admin, prefix=_PATH)

    async def known(wanted: Annotated[Search | None, Depends(search)]) -> Search | None:
        await tenants.demand(None if wanted is None else wanted.query.tenant_id)
        return wanted

    @router.get("", summary="List calls", operation_id="listCalls", responses=_LISTED)
    def calls(wanted: Annotated[Search | None, Depends(known)]) -> CallList | CallSearchPage:
        """List every call of this process that is not over; or find calls, under way or over, the latest first.

        With any parameter it is a search, among all calls that run and the last ones that are over.
        """
        if wanted is not None:
            return found_calls(recent, wanted, urls)
        return call_list(tracker.open_calls(), tracker.clock.now(), traces)

    return router


def call_list(calls: Iterable[CallSnapshot], now: Instant, traces: TraceIds) -> CallList:
    """Return the list that these calls make at the moment ``now``."""
    known = list(calls)
    return CallList(
        calls=tuple(call_entry(call, now, traces) for call in known if call.state is not CallState.PENDING),
        pending_call_ids=tuple(writable(call.call_id) for call in known if call.state is CallState.PENDING),
    )


def call_entry(call: CallSnapshot, now: Instant, traces: TraceIds) -> CallEntry:
    """Return one call that has been accepted."""
    return CallEntry(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        status=status(call),
        started_at=None if call.started is None else moment(call.started),
        duration_seconds=0.0 if call.started is None else round(now.since(call.started), 3),
        trace_id=traces.trace_id(call.call_id),
    )


def status(call: CallSnapshot) -> CallStatus:
    """Return the status of an accepted call."""
    if call.ending:
        return CallStatus.ENDING
    return CallStatus.RUNNING if call.state is CallState.STARTED else CallStatus.NEW
