"""The history of calls over HTTP: what is on record, of all processes, the latest first."""

from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.http import tags
from service.http.problems import declared_invalid, invalid_request, writable
from service.http.responses import Answers, Since, Until, admin_router, answer, database_needed, json_answer
from service.http.security import AdminCheck
from service.records.pages import MAX_CURSOR, CallPages, InvalidCursorError, Page, Place, Wanted
from service.records.record import DurationSource, StoredCall
from service.usage.period import milliseconds, moment
from service.usage.report import seconds
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis

PATH = "/api/v1/call-records"

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class RecordedCall(BaseModel):
    """One call as it is on record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str
    tenant_id: str
    state: CallState
    outcome: CallOutcome | None = Field(description="How it turned out; `null` while it is not over.")
    reason: str | None = Field(description="Why it was turned away, or why it is over.")
    error_type: str | None
    received_at: datetime
    decided_at: datetime | None = Field(description="Accepted or rejected.")
    started_at: datetime | None
    ended_at: datetime | None = Field(description="When it was over, whichever way.")
    seconds: str = Field(pattern=r"^[0-9]+\.[0-9]{3}$", description="Call time, so far while the call runs.")
    duration_basis: DurationBasis
    duration_source: DurationSource | None = Field(description="What the final call time rests on.")
    caller: str | None = Field(description="Masked to its last four digits.")
    dialled: str | None
    input_tokens: int | None
    output_tokens: int | None
    trace_id: str | None
    instance_id: str = Field(description="The process that holds the call, or held it last.")


class RecordedCalls(BaseModel):
    """A page of the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
            "received_at": "2026-11-22T19:59:47.100000Z",
            "decided_at": "2026-11-22T19:59:47.400000Z",
            "started_at": "2026-11-22T19:59:47.700000Z",
            "ended_at": "2026-11-22T20:00:48.950000Z",
            "seconds": "61.250",
            "duration_basis": "started",
            "duration_source": "measured",
            "caller": "***5678",
            "dialled": "***0100",
            "input_tokens": 1200,
            "output_tokens": 400,
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "instance_id": "6f1d0b0e-4f7f-4d0e-9d0a-0d9d8a8c1c55",
        }
    ],
    "next_cursor": None,
}
"""What the OpenAPI document shows."""

_ANSWERS: Answers = {
    200: answer(RecordedCalls, "A page of calls.", EXAMPLE),
    422: declared_invalid(f"{PATH}?limit=0", "query.limit", "Input should be greater than or equal to 1"),
}

_Tenant = Annotated[
    str | None, Query(max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$", description="Of this tenant.", examples=["acme"])
]
_Outcome = Annotated[CallOutcome | None, Query(description="That are over and turned out so.")]
_Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most calls on a page.")]
_Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="The `next_cursor` of the page before; it stays valid.")
]


def call_records_router(*, pages: CallPages, admin: AdminCheck) -> APIRouter:
    """The route ``/api/v1/call-records``; ``admin`` decides who may use it."""
    router = admin_router(tags.CALLS, admin)

    @router.get(PATH, summary="The history of calls", operation_id="callRecords", responses=_ANSWERS)
    async def call_records(
        tenant_id: _Tenant = None,
        outcome: _Outcome = None,
        since: Since = None,
        until: Until = None,
        limit: _Limit = DEFAULT_LIMIT,
        cursor: _Cursor = None,
    ) -> Response:
        """List calls as they are on record, the latest received first, whichever process had them and however long ago.

        A call that runs is in the list a moment after it was announced. `GET /api/v1/calls/{call_id}` tells more of
        those the process that answers has in memory.
        """
        wanted = Wanted(tenant_id, outcome, _milliseconds(since), _milliseconds(until))
        after = _place(cursor)
        with database_needed():
            found = await pages.read(wanted, limit=limit, after=after)
        return json_answer(_recorded(found).model_dump(mode="json"))

    return router


def _place(cursor: str | None) -> Place | None:
    try:
        return None if cursor is None else Place.read(cursor)
    except InvalidCursorError as error:
        raise invalid_request([{"loc": ("query", "cursor"), "msg": str(error)}]) from None


def _milliseconds(at: datetime | None) -> int | None:
    if at is None:
        return None
    return milliseconds(at if at.tzinfo else at.replace(tzinfo=UTC))


def _recorded(page: Page) -> RecordedCalls:
    place = page.next_place
    return RecordedCalls(calls=tuple(map(_call, page.calls)), next_cursor=None if place is None else place.write())


def _call(record: StoredCall) -> RecordedCall:
    return RecordedCall(
        call_id=writable(record.call_id),
        tenant_id=writable(record.tenant_id),
        state=record.state,
        outcome=record.outcome,
        reason=record.reason,
        error_type=record.error_type,
        received_at=moment(record.received_ms, _UTC),
        decided_at=_moment(record.decided_ms),
        started_at=_moment(record.started_ms),
        ended_at=_moment(record.ended_ms),
        seconds=str(seconds(record.billed_ms if record.duration_ms is None else record.duration_ms)),
        duration_basis=record.duration_basis,
        duration_source=record.duration_source,
        caller=record.caller_masked,
        dialled=record.dialled_masked,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        trace_id=record.trace_id,
        instance_id=record.instance_id,
    )


def _moment(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else moment(at_ms, _UTC)


_UTC = ZoneInfo("UTC")
