"""Calls worth opening: under way or over, chosen by what happened to them, the latest first."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import moment
from service.api.call_search import Search
from service.debugging.times import Times, rounded
from service.debugging.writing import TRACES, TraceUrls, call_path
from service.problems import invalid_request
from service.text import writable
from telemetry.attributes import EndReason, RejectionReason
from telemetry.lifecycle import CallState
from telemetry.recent.calls import RecentCalls
from telemetry.recent.record import CallOutcome, CallSummary, DurationBasis
from telemetry.recent.search import InvalidCursorError


class FoundStatus(StrEnum):
    """Where a call stands, as operators say it."""

    PENDING = "PENDING"
    NEW = "NEW"
    RUNNING = "RUNNING"
    ENDING = "ENDING"
    REJECTED = "REJECTED"
    ABANDONED = "ABANDONED"
    ENDED = "ENDED"


_STATUS = {CallState.ACCEPTED: FoundStatus.NEW, CallState.STARTED: FoundStatus.RUNNING}


class FoundCall(BaseModel):
    """One call, with what tells whether it is worth opening."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str = Field(description="The carrier's id of the call.")
    tenant_id: str
    status: FoundStatus
    received_at: datetime
    started_at: datetime | None = Field(description="When its media session began; `null` if it has not.")
    ended_at: datetime | None = Field(description="When it was over, whichever way; `null` before.")
    duration_seconds: float
    duration_basis: DurationBasis = Field(description="Since when the duration counts.")
    outcome: CallOutcome | None = Field(description="How it turned out; `null` while it is not over.")
    reason: RejectionReason | EndReason | None = Field(description="Why it was turned away, or why it is over.")
    error_type: str | None
    longest_wait_seconds: float = Field(
        description="The longest anybody waited: for the decision, the first audio, or an answer. "
        "Compare `slower_than`."
    )
    turns: int
    interruptions: int
    caller: str | None = Field(description="Masked to its last four digits.")
    trace_id: str | None
    sampled: bool = Field(description="Whether head sampling kept its trace.")
    links: dict[str, str] = Field(description="`self`, `timeline`; `trace`, `trace_backend` where there is one.")


class FoundCalls(BaseModel):
    """A page of calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: tuple[FoundCall, ...] = Field(description="The latest received first.")
    pending_call_ids: tuple[str, ...] = Field(description="Those of them that are not decided upon.")
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; `null` on the last.")


def found_calls(recent: RecentCalls, asked: Search, urls: TraceUrls) -> FoundCalls:
    """The page that was asked for.

    Raises:
        ProblemError: 422, if the cursor is not one that this process gave out.
    """
    try:
        page = recent.search(asked.query, limit=asked.limit, cursor=asked.cursor)
    except InvalidCursorError as error:
        raise invalid_request([{"loc": ("query", "cursor"), "msg": str(error)}]) from None
    return FoundCalls(
        calls=tuple(_found(call, urls) for call in page.calls),
        pending_call_ids=tuple(writable(call.call_id) for call in page.calls if call.state is CallState.PENDING),
        next_cursor=page.next_cursor,
    )


def _found(call: CallSummary, urls: TraceUrls) -> FoundCall:
    times = Times(call.received)
    return FoundCall(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        status=_status(call),
        received_at=moment(call.received),
        started_at=times.perhaps(call.started),
        ended_at=times.perhaps(call.ended),
        duration_seconds=rounded(call.duration),
        duration_basis=call.duration_basis,
        outcome=call.outcome,
        reason=call.rejection_reason or call.end_reason,
        error_type=None if call.error_type is None else writable(call.error_type),
        longest_wait_seconds=rounded(call.longest_wait),
        turns=call.turns,
        interruptions=call.interruptions,
        caller=call.caller,
        trace_id=call.trace_id,
        sampled=call.sampled,
        links=_links(call, urls),
    )


def _status(call: CallSummary) -> FoundStatus:
    if call.ending:
        return FoundStatus.ENDING
    return _STATUS.get(call.state) or FoundStatus(call.state.value.upper())


def _links(call: CallSummary, urls: TraceUrls) -> dict[str, str]:
    itself = call_path(call.call_id)
    links = {"self": itself, "timeline": f"{itself}/timeline.svg"}
    if call.trace_id is not None:
        links["trace"] = f"{TRACES}/{call.trace_id}"
        backend = urls.url(call.trace_id)
        links |= {"trace_backend": backend} if backend else {}
    return links


FOUND_EXAMPLE: dict[str, Any] = {
    "calls": [
        {
            "call_id": "rtc_1",
            "tenant_id": "acme",
            "status": "ENDED",
            "received_at": "2026-11-22T14:02:10.100000Z",
            "started_at": "2026-11-22T14:02:10.470000Z",
            "ended_at": "2026-11-22T14:03:00.120000Z",
            "duration_seconds": 49.65,
            "duration_basis": "started",
            "outcome": "failed",
            "reason": "error",
            "error_type": "SessionLost",
            "longest_wait_seconds": 4.2,
            "turns": 7,
            "interruptions": 1,
            "caller": "…5678",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "sampled": True,
            "links": {
                "self": "/api/v1/calls/rtc_1",
                "timeline": "/api/v1/calls/rtc_1/timeline.svg",
                "trace": "/api/v1/traces/0af7651916cd43dd8448eb211c80319c",
            },
        }
    ],
    "pending_call_ids": [],
    "next_cursor": "YTFiMmMzZDQ6MTc",
}
"""What the OpenAPI document shows for a search."""
