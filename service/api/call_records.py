"""The history of calls over HTTP: what is on record, of all processes, the latest first."""

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import Field, TypeAdapter

from service.api.live import TenantCheck, tenant_filtered
from service.http.database import database_needed
from service.http.openapi import Responses, Tag, declared_invalid, success
from service.http.parameters import (
    CallerEnds,
    CallerHash,
    Position,
    Since,
    TenantFilter,
    Until,
    cursor_in_query,
    window,
    write_cursor,
)
from service.http.problems import writable
from service.http.responses import admin_router
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck
from service.records.models import MAX_SOURCE
from service.records.record import DurationSource, StoredCall
from service.records.store import CallPages, Page, Place, Wanted
from service.storage.database import DATABASE_ERRORS
from service.timeline.past import PastCalls, PastUnavailableError
from service.usage.period import milliseconds, moment
from service.usage.report import seconds
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import (
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    UnansweredReason,
)

PATH = "/api/v1/call-records"

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_CURSOR = 2_200
"""Characters of a cursor; a call's id has at most 255, each of at most six in a cursor's JSON."""


_SECONDS = r"^[0-9]+\.[0-9]{3}$"


class RecordedConversation(FrozenSchema):
    """A record's sums of who talked when; so far while the call runs."""

    seconds: str = Field(pattern=_SECONDS, description="From the first word to the end.")
    caller_talk_seconds: str = Field(pattern=_SECONDS)
    agent_talk_seconds: str = Field(pattern=_SECONDS)
    caller_talk_share: float | None = Field(description="Of the conversation; `null` if it took no time.")
    agent_talk_share: float | None
    talk_over_seconds: str = Field(pattern=_SECONDS, description="Both spoke.")
    dead_air_seconds: str = Field(pattern=_SECONDS, description="Nobody spoke, for three seconds and more.")
    dead_airs: int = Field(description="How often.")
    agent_interruptions: int = Field(description="Times the agent began to speak while the caller spoke.")


class RecordedCall(FrozenSchema):
    """One call as it is on record."""

    call_id: str
    tenant_id: str
    state: CallState
    outcome: CallOutcome | None = Field(description="How it turned out; `null` while it is not over.")
    reason: str | None = Field(description="Why it was turned away, was never answered, or is over.")
    error_type: str | None
    fault: Fault | None = Field(description="Whose fault its end was; `null` if nobody's, or not known.")
    direction: CallDirection
    source: str = Field(description="The gateway or carrier that reported it; `direct` for the process itself.")
    received_at: datetime
    decided_at: datetime | None = Field(description="Accepted, rejected, or given up by the other side.")
    started_at: datetime | None
    ended_at: datetime | None = Field(description="When it was over, whichever way.")
    seconds: str = Field(pattern=_SECONDS, description="Call time, so far while the call runs.")
    duration_basis: DurationBasis
    duration_source: DurationSource | None = Field(description="What the final call time rests on.")
    caller: str | None = Field(description="Masked to its last four digits.")
    caller_hash: str | None = Field(description="A keyed hash, the same for every call of this caller.")
    dialled: str | None
    input_tokens: int | None
    output_tokens: int | None
    turns: int | None = Field(description="Times the caller took the word; `null` if not kept.")
    interruptions: int | None = Field(description="Answers the caller cut short; `null` likewise.")
    conversation: RecordedConversation | None = Field(description="`null` if nobody was reported to speak.")
    trace_id: str | None
    instance_id: str = Field(description="The process that holds the call, or held it last.")


class RecordedCalls(FrozenSchema):
    """A page of the history."""

    calls: tuple[RecordedCall, ...]
    next_cursor: str | None = Field(description="Where the next page begins; `null` on the last one.")


EXAMPLE: dict[str, Any] = {
    "calls": [
        {
            "call_id": "rtc_1",
            "tenant_id": "acme",
            "state": "ended",
            "outcome": "hangup",
            "reason": "hangup",
            "error_type": None,
            "fault": None,
            "direction": "inbound",
            "source": "direct",
            "received_at": "2026-11-22T19:59:47.100000Z",
            "decided_at": "2026-11-22T19:59:47.400000Z",
            "started_at": "2026-11-22T19:59:47.700000Z",
            "ended_at": "2026-11-22T20:00:48.950000Z",
            "seconds": "61.250",
            "duration_basis": "started",
            "duration_source": "measured",
            "caller": "…5678",
            "caller_hash": "c797d50ec17bf310",
            "dialled": "…0100",
            "input_tokens": 1200,
            "output_tokens": 400,
            "turns": 4,
            "interruptions": 1,
            "conversation": {
                "seconds": "60.100",
                "caller_talk_seconds": "21.035",
                "agent_talk_seconds": "30.050",
                "caller_talk_share": 0.35,
                "agent_talk_share": 0.5,
                "talk_over_seconds": "0.400",
                "dead_air_seconds": "3.200",
                "dead_airs": 1,
                "agent_interruptions": 0,
            },
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "instance_id": "6f1d0b0e-4f7f-4d0e-9d0a-0d9d8a8c1c55",
        }
    ],
    "next_cursor": None,
}
"""The example in the OpenAPI document."""

_RESPONSES: Responses = {
    200: success(RecordedCalls, "A page of calls.", EXAMPLE),
    **tenant_filtered(PATH),
    422: declared_invalid(f"{PATH}?limit=0", "query.limit", "Input should be greater than or equal to 1"),
}

_Outcome = Annotated[CallOutcome | None, Query(description="That are over and turned out so.")]
_Reason = Annotated[
    RejectionReason | UnansweredReason | EndReason | None,
    Query(description="Turned away, not answered, or ended for this reason."),
]
_Fault = Annotated[Fault | None, Query(description="Whose end was this party's fault.")]
_Direction = Annotated[CallDirection | None, Query(description="That went this way.")]
_Source = Annotated[
    str | None, Query(min_length=1, max_length=MAX_SOURCE, description="That this gateway or carrier reported.")
]
_Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most calls on a page.")]
_Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="The `next_cursor` of the page before; it stays valid.")
]


def call_records_router(*, pages: CallPages, tenants: TenantCheck, admin: AdminCheck) -> APIRouter:
    """Return the route ``/api/v1/call-records``; ``admin`` decides who may use it."""
    router = admin_router(Tag.CALLS, admin)

    @router.get(PATH, summary="The history of calls", operation_id="callRecords", responses=_RESPONSES)
    async def call_records(
        *,
        tenant_id: TenantFilter = None,
        outcome: _Outcome = None,
        reason: _Reason = None,
        fault: _Fault = None,
        direction: _Direction = None,
        source: _Source = None,
        since: Since = None,
        until: Until = None,
        caller_ends_with: CallerEnds = None,
        caller_hash: CallerHash = None,
        limit: _Limit = DEFAULT_LIMIT,
        cursor: _Cursor = None,
    ) -> RecordedCalls:
        """List calls as they are on record, the latest received first, whichever process had them and however long ago.

        A call that runs is in the list a moment after it was announced. `GET /api/v1/calls/{call_id}` tells more of
        those the process that answers has in memory.
        """
        begin, end = window(since, until)
        window_ms = (_milliseconds(begin), _milliseconds(end))
        wanted = Wanted(tenant_id, outcome, reason, fault, direction, source, *window_ms, caller_ends_with, caller_hash)
        after = record_place(cursor)
        with database_needed():
            page = await pages.read(wanted, limit=limit, after=after)
        if not page.calls and after is None:
            # One that was deleted has its calls still.
            await tenants.demand(tenant_id)
        return recorded_calls(page)

    return router


class RecordedPast:
    """The records as the source of calls that no process remembers."""

    __slots__ = ("_records",)

    def __init__(self, records: PastCalls) -> None:
        self._records = records

    async def find(self, call_id: CallId) -> StoredCall | None:
        """Return the call's record, if there is one; raise :class:`PastUnavailableError` while the database is away."""
        try:
            return await self._records.find(call_id)
        except DATABASE_ERRORS as error:
            raise PastUnavailableError from error

    async def find_by_trace(self, trace_id: str) -> StoredCall | None:
        """Return the record of the call with this trace id, if there is one; raise likewise."""
        try:
            return await self._records.find_by_trace(trace_id)
        except DATABASE_ERRORS as error:
            raise PastUnavailableError from error


_PLACE = TypeAdapter(tuple[Position, str])


def record_place(cursor: str | None) -> Place | None:
    """Return the place a cursor stands for; raise a 422 problem for one that is none."""
    if cursor is None:
        return None
    return Place(*cursor_in_query(cursor, _PLACE))


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else milliseconds(at)


def recorded_calls(page: Page) -> RecordedCalls:
    """Return the answer that a page of records makes."""
    place = page.next_place
    return RecordedCalls(
        calls=tuple(map(_call, page.calls)),
        next_cursor=None if place is None else write_cursor((place.received_ms, place.call_id)),
    )


def _call(record: StoredCall) -> RecordedCall:
    return RecordedCall(
        call_id=writable(record.call_id),
        tenant_id=writable(record.tenant_id),
        state=record.state,
        outcome=record.outcome,
        reason=record.reason,
        error_type=record.error_type,
        fault=record.fault,
        direction=record.direction,
        source=record.source,
        received_at=moment(record.received_ms, _UTC),
        decided_at=_moment(record.decided_ms),
        started_at=_moment(record.started_ms),
        ended_at=_moment(record.ended_ms),
        seconds=str(seconds(record.billed_ms if record.duration_ms is None else record.duration_ms)),
        duration_basis=record.duration_basis,
        duration_source=record.duration_source,
        caller=record.caller_masked,
        caller_hash=record.caller_hash,
        dialled=record.dialled_masked,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        turns=record.turns,
        interruptions=record.interruptions,
        conversation=_conversation(record),
        trace_id=record.trace_id,
        instance_id=record.instance_id,
    )


def _conversation(record: StoredCall) -> RecordedConversation | None:
    whole = record.conversation_ms
    if whole is None:
        return None
    caller, agent = record.caller_talk_ms or 0, record.agent_talk_ms or 0
    return RecordedConversation(
        seconds=str(seconds(whole)),
        caller_talk_seconds=str(seconds(caller)),
        agent_talk_seconds=str(seconds(agent)),
        caller_talk_share=_share(caller, whole),
        agent_talk_share=_share(agent, whole),
        talk_over_seconds=str(seconds(record.talk_over_ms or 0)),
        dead_air_seconds=str(seconds(record.dead_air_ms or 0)),
        dead_airs=record.dead_airs or 0,
        agent_interruptions=record.agent_interruptions or 0,
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _moment(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else moment(at_ms, _UTC)


_UTC = ZoneInfo("UTC")
