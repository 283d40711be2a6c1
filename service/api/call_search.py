"""The search for calls under way or over: its parameters, its query and its page."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import Field, TypeAdapter

from service.http.openapi import declared_invalid
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
    wrong_cursor,
)
from service.http.problems import writable
from service.http.schemas import FrozenSchema, moment
from service.timeline.past import WATCHED, StorySource
from service.timeline.serializer import CALLS, TRACES, Times, TraceUrls, call_path, rounded
from telemetry.calls.lifecycle import CallState
from telemetry.recent.calls import RecentCalls
from telemetry.recent.record import CallFlag, CallOutcome, CallSummary, DurationBasis
from telemetry.recent.search import ANY_STATE, OVER, RUNNING, CallQuery
from telemetry.semconv.attributes import (
    CallDirection,
    EndReason,
    Fault,
    RejectionReason,
    TenantId,
    UnansweredReason,
)

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_CURSOR = 2_200
"""Characters of a cursor; a call's id has at most 255, each of at most six in a cursor's JSON."""


class StateFilter(StrEnum):
    """A filter by state: a single one, or several under one name.

    The single ones are those of :class:`CallState`, which the table below demands at import; they stand here once more
    because a command-line option takes one enumeration.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    STARTED = "started"
    REJECTED = "rejected"
    UNANSWERED = "unanswered"
    ABANDONED = "abandoned"
    ENDED = "ended"
    HANDED_OVER = "handed_over"
    """Left by this process to another, which goes on with it."""
    RUNNING = "running"
    """Accepted or started."""
    OVER = "over"
    """Rejected, unanswered, abandoned, ended or handed over."""
    ALL = "all"


_STATES = {
    StateFilter.RUNNING: RUNNING,
    StateFilter.OVER: OVER,
    StateFilter.ALL: ANY_STATE,
} | {StateFilter(state.value): frozenset({state}) for state in CallState}


@dataclass(frozen=True, slots=True)
class Search:
    """A query and the page of it that is wanted."""

    query: CallQuery
    limit: int
    cursor: str | None


_SlowerThan = Annotated[
    float | None,
    Query(
        ge=0,
        allow_inf_nan=False,
        description="In which somebody waited longer than this many seconds: the caller for the decision, for the "
        "first audio or for an answer, or in vain. Waits that go on count so far.",
        examples=[2.5],
    ),
]
_Limit = Annotated[
    int | None, Query(ge=1, le=MAX_LIMIT, description=f"Most calls on a page; {DEFAULT_LIMIT} if not given.")
]
_Cursor = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR,
        description="Where to go on: the `next_cursor` of the page before. Stays valid while calls come and go; of a "
        "process alone, until it restarts.",
    ),
]
_State = Annotated[
    StateFilter | None,
    Query(
        description="`running`: accepted or started; `over`: in any final state; or one state. "
        "`all` if another filter is given, else the calls under way are listed."
    ),
]
_Outcome = Annotated[CallOutcome | None, Query(description="That turned out so.")]


def _text(description: str) -> Any:  # noqa: ANN401 -- FastAPI's own type of a parameter
    return Query(min_length=1, max_length=128, description=description)


_Reason = Annotated[
    RejectionReason | UnansweredReason | EndReason | None,
    Query(description="Turned away, not answered, or ended for this reason."),
]
_ErrorType = Annotated[str | None, _text("That failed with this error type.")]
_Fault = Annotated[Fault | None, Query(description="Whose end was this party's fault.")]
_Direction = Annotated[CallDirection | None, Query(description="That went this way.")]
_Source = Annotated[str | None, _text("That this gateway or carrier reported; `direct` for the process itself.")]
_FailedTool = Annotated[str | None, _text("In which this tool failed; `_other` for those the model made up.")]
_Interrupted = Annotated[bool | None, Query(description="In which the caller cut the agent short, or never did.")]
_TalkedOver = Annotated[
    bool | None, Query(description="In which the agent began to speak while the caller spoke, or never did.")
]
_Silence = Annotated[
    float | None,
    Query(
        ge=0,
        allow_inf_nan=False,
        description="In which nobody spoke for more seconds than this; pauses below three seconds are no silence.",
    ),
]

_Flag = Annotated[CallFlag | None, Query(description="On which this is worth a look, see `flags`.")]


def search(
    *,
    state: _State = None,
    tenant_id: TenantFilter = None,
    outcome: _Outcome = None,
    slower_than: _SlowerThan = None,
    since: Since = None,
    until: Until = None,
    caller_ends_with: CallerEnds = None,
    caller_hash: CallerHash = None,
    reason: _Reason = None,
    error_type: _ErrorType = None,
    fault: _Fault = None,
    direction: _Direction = None,
    source: _Source = None,
    failed_tool: _FailedTool = None,
    interrupted: _Interrupted = None,
    talked_over: _TalkedOver = None,
    silent_longer_than: _Silence = None,
    flag: _Flag = None,
    limit: _Limit = None,
    cursor: _Cursor = None,
) -> Search | None:
    """Return the search a request asks for; ``None`` if it asks for nothing in particular. A FastAPI dependency."""
    lifecycle = (state, tenant_id, outcome, reason, error_type, since, until, caller_ends_with, caller_hash)
    origin = (fault, direction, source)
    conversation = (slower_than, failed_tool, interrupted, talked_over, silent_longer_than, flag)
    if all(value is None for value in (*lifecycle, *origin, *conversation, limit, cursor)):
        return None
    begin, end = window(since, until)
    query = CallQuery(
        states=_STATES[state or StateFilter.ALL],
        tenant_id=None if tenant_id is None else TenantId(tenant_id),
        outcome=outcome,
        slower_than=slower_than,
        since=_unix(begin),
        until=_unix(end),
        caller_ends_with=caller_ends_with,
        caller_hash=caller_hash,
        reason=reason,
        error_type=error_type,
        fault=fault,
        direction=direction,
        source=source,
        failed_tool=failed_tool,
        interrupted=interrupted,
        talked_over=talked_over,
        silent_longer_than=silent_longer_than,
        flag=flag,
    )
    return Search(query, limit or DEFAULT_LIMIT, cursor)


def _unix(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


_PLACE: Final = TypeAdapter(tuple[str, Position])

INVALID = declared_invalid(f"{CALLS}?limit=0", "query.limit", "Input should be greater than or equal to 1")
"""The response to a search that makes no sense."""


class CallSearchStatus(StrEnum):
    """The state of a call in operators' words."""

    PENDING = "PENDING"
    NEW = "NEW"
    RUNNING = "RUNNING"
    ENDING = "ENDING"
    REJECTED = "REJECTED"
    UNANSWERED = "UNANSWERED"
    ABANDONED = "ABANDONED"
    HANDED_OVER = "HANDED_OVER"
    ENDED = "ENDED"


_STATUS = {CallState.ACCEPTED: CallSearchStatus.NEW, CallState.STARTED: CallSearchStatus.RUNNING}


class CallSearchEntry(FrozenSchema):
    """One call, with what tells whether it is worth opening."""

    call_id: str = Field(description="The carrier's id of the call.")
    tenant_id: str
    status: CallSearchStatus
    received_at: datetime
    started_at: datetime | None = Field(description="When its media session began; `null` if it has not.")
    ended_at: datetime | None = Field(description="When it was over, whichever way; `null` before.")
    duration_seconds: float
    duration_basis: DurationBasis = Field(description="Since when the duration counts.")
    outcome: CallOutcome | None = Field(description="How it turned out; `null` while it is not over.")
    reason: RejectionReason | UnansweredReason | EndReason | None = Field(
        description="Why it was turned away, not answered, or over."
    )
    fault: Fault | None = Field(description="Whose fault its end was; `null` if nobody's, or not known.")
    direction: CallDirection
    source: str = Field(description="The gateway or carrier that reported it.")
    error_type: str | None
    longest_wait_seconds: float | None = Field(
        description="The longest anybody waited: for the decision, the first audio, or an answer. "
        "Compare `slower_than`. `null` if not kept, as may be of a call that is told by its record."
    )
    turns: int | None = Field(description="Times the caller took the word; `null` likewise.")
    interruptions: int | None = Field(description="Answers the caller cut short; `null` likewise.")
    flags: tuple[CallFlag, ...] | None = Field(
        description="What is worth a look, whatever the outcome; `null` of a call that is told by its record."
    )
    caller: str | None = Field(description="Masked to its last four digits.")
    caller_hash: str | None = Field(description="A keyed hash, the same for every call of this caller.")
    dialled: str | None = Field(description="Likewise; of a name, its first two letters.")
    trace_id: str | None
    sampled: bool = Field(description="Whether head sampling kept its trace.")
    links: dict[str, str] = Field(description="`self`, `timeline`; `trace`, `trace_backend` where there is one.")


class CallSearchPage(FrozenSchema):
    """A page of calls."""

    calls: tuple[CallSearchEntry, ...] = Field(description="The latest received first.")
    pending_call_ids: tuple[str, ...] = Field(description="Those of them that are not decided upon.")
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; `null` on the last.")


def found_calls(recent: RecentCalls, wanted: Search, urls: TraceUrls) -> CallSearchPage:
    """Return the page that was asked for.

    Raises:
        ProblemError: 422, if the cursor is not one that this process gave out.
    """
    page = recent.search(wanted.query, limit=wanted.limit, before=_before(recent, wanted.cursor))
    return CallSearchPage(
        calls=tuple(search_entry(call, urls) for call in page.calls),
        pending_call_ids=tuple(writable(call.call_id) for call in page.calls if call.state is CallState.PENDING),
        next_cursor=None if page.next_before is None else write_cursor((recent.epoch, page.next_before)),
    )


def _before(recent: RecentCalls, cursor: str | None) -> int | None:
    if cursor is None:
        return None
    epoch, sequence = cursor_in_query(cursor, _PLACE)
    if epoch != recent.epoch:
        raise wrong_cursor("is that of another process, or from before a restart")
    return sequence


def search_entry(call: CallSummary, urls: TraceUrls, source: StorySource = WATCHED) -> CallSearchEntry:
    """Return one call of a page; ``source`` says what is known of it."""
    times = Times(call.received)
    return CallSearchEntry(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        status=_status(call),
        received_at=moment(call.received),
        started_at=times.perhaps(call.started),
        ended_at=times.perhaps(call.ended),
        duration_seconds=rounded(call.duration),
        duration_basis=call.duration_basis,
        outcome=call.outcome,
        reason=call.rejection_reason or call.unanswered_reason or call.end_reason,
        fault=call.fault,
        direction=call.direction,
        source=call.source,
        error_type=None if call.error_type is None else writable(call.error_type),
        longest_wait_seconds=rounded(call.longest_wait) if source.conversation_counted else None,
        turns=call.turns if source.conversation_counted else None,
        interruptions=call.interruptions if source.conversation_counted else None,
        flags=None if source.from_record else call.flags,
        caller=call.caller,
        caller_hash=call.caller_hash,
        dialled=call.dialled,
        trace_id=call.trace_id,
        sampled=call.sampled,
        links=_links(call, urls),
    )


def _status(call: CallSummary) -> CallSearchStatus:
    if call.ending:
        return CallSearchStatus.ENDING
    return _STATUS.get(call.state) or CallSearchStatus(call.state.value.upper())


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
            "fault": None,
            "direction": "inbound",
            "source": "direct",
            "error_type": "SessionLost",
            "longest_wait_seconds": 4.2,
            "turns": 7,
            "interruptions": 1,
            "flags": ["slow_answer", "interrupted"],
            "caller": "…5678",
            "caller_hash": "c797d50ec17bf310",
            "dialled": "…0100",
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
"""The example of a search in the OpenAPI document."""
