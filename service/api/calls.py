"""The list of calls: those under way, or those that are looked for."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from service.api.call_search import FOUND_EXAMPLE, INVALID, CallSearchPage, Search, found_calls, search
from service.api.elsewhere import (
    LIST_HEADERS,
    CallsElsewhere,
    Coverage,
    OpenCall,
    Scope,
    demand_complete,
    demand_scope,
)
from service.api.live import TenantCheck, tenant_filtered
from service.api.search_elsewhere import found_in_fleet
from service.http.access import RequestAccess
from service.http.openapi import JSON, Responses, Tag
from service.http.problems import writable
from service.http.responses import MetricsScope, admin_router
from service.http.schemas import FrozenSchema
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
        "headers": LIST_HEADERS,
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
    elsewhere: CallsElsewhere | None = None,
) -> APIRouter:
    """Return the list under ``/api/v1/calls``; ``admin`` decides who may use it."""
    router = admin_router(Tag.CALLS, admin, prefix=_PATH)

    async def known(wanted: Annotated[Search | None, Depends(search)]) -> Search | None:
        await tenants.demand(None if wanted is None else wanted.query.tenant_id)
        return wanted

    @router.get("", summary="List calls", operation_id="listCalls", responses=_LISTED)
    async def calls(
        wanted: Annotated[Search | None, Depends(known)], access: RequestAccess, response: Response, scope: Scope = None
    ) -> CallList | CallSearchPage:
        """List every call that is not over, of all processes of a fleet; or find calls, the latest first.

        With any other parameter than `scope` it is a search, among all calls that run and the last ones that are over.
        Headers say which processes answered. Of one that did not, the list has what is on record.
        """
        demand_scope(scope, elsewhere)
        others = None if scope is MetricsScope.PROCESS else elsewhere
        if wanted is None:
            found, coverage = await open_calls(tracker, traces, others)
            answer: CallList | CallSearchPage = await asyncio.to_thread(call_list, found)
        elif others is None:
            answer, coverage = await asyncio.to_thread(found_calls, recent, wanted, urls), Coverage()
        else:
            answer, coverage = await found_in_fleet(recent, others, wanted, access, urls)
        demand_complete(scope, coverage)
        if others is not None:
            response.headers.update(coverage.headers())
        return answer

    return router


async def open_calls(
    tracker: CallTracker, traces: TraceIds, elsewhere: CallsElsewhere | None
) -> tuple[Sequence[OpenCall], Coverage]:
    """Return the calls that are not over, of this process and of the others, in the order they were received."""
    if elsewhere is None:
        return await asyncio.to_thread(own_open_calls, tracker, traces), Coverage()
    own = await asyncio.to_thread(elsewhere.own)
    others = await elsewhere.open_calls()
    known = {call.call_id for call in own}
    every = [*own, *(call for call in others.calls if call.call_id not in known)]
    return sorted(every, key=lambda call: (call.received_us, call.call_id)), others.coverage


def own_open_calls(tracker: CallTracker, traces: TraceIds) -> Sequence[OpenCall]:
    """Return the calls of this process that are not over, in the order they were received."""
    calls, now = tracker.open_calls(), tracker.clock.now()
    return [open_call(call, now, traces) for call in calls]


def open_call(call: CallSnapshot, now: Instant, traces: TraceIds) -> OpenCall:
    """Return a call that is not over, as of the moment ``now``."""
    # What it is made of has been checked before; thousands of calls are told at once.
    return OpenCall.model_construct(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        state=call.state,
        ending=call.ending,
        received_us=call.received.unix_nanos // 1_000,
        started_us=None if call.started is None else call.started.unix_nanos // 1_000,
        age_seconds=round(now.since(call.received), 3),
        duration_seconds=0.0 if call.started is None else round(now.since(call.started), 3),
        last_seen_seconds=round(now.since(call.last_seen), 3),
        trace_id=traces.trace_id(call.call_id),
    )


def call_list(calls: Iterable[OpenCall]) -> CallList:
    """Return the list that these calls make."""
    known = list(calls)
    return CallList(
        calls=tuple(call_entry(call) for call in known if call.state is not CallState.PENDING),
        pending_call_ids=tuple(call.call_id for call in known if call.state is CallState.PENDING),
    )


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def call_entry(call: OpenCall) -> CallEntry:
    """Return one call that has been accepted."""
    return CallEntry(
        call_id=call.call_id,
        tenant_id=call.tenant_id,
        status=status(call),
        started_at=None if call.started_us is None else _EPOCH + timedelta(microseconds=call.started_us),
        duration_seconds=call.duration_seconds,
        trace_id=call.trace_id,
    )


def status(call: OpenCall) -> CallStatus:
    """Return the status of an accepted call."""
    if call.ending:
        return CallStatus.ENDING
    return CallStatus.RUNNING if call.state is CallState.STARTED else CallStatus.NEW
