"""The schema of one call as the API answers it; the terminal reads it back."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field

from service.http.schemas import FrozenSchema
from telemetry.calls.events import Phase
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.recent.record import CallFlag, CallOutcome, DurationBasis, Trouble
from telemetry.semconv.attributes import (
    CallDirection,
    CapacityScope,
    EndReason,
    RejectionReason,
    SetupOutcome,
    Speaker,
    TurnEnd,
    UnansweredReason,
)

Scalar = bool | int | float | str
Offset = Annotated[float, Field(description="Seconds from the call's reception.")]
Seconds = Annotated[float, Field(description="In seconds; so far, while it goes on.")]
Under = Annotated[float | None, Field(description="In seconds; `null` while it goes on.")]


class Happening(FrozenSchema):
    """Something at a moment, told by the wall clock and from the call's reception."""

    at: datetime
    offset_seconds: Offset


class Limit(FrozenSchema):
    """The capacity limit that was reached."""

    scope: CapacityScope = Field(description="Whose limit: the tenant's own, or the one of all together.")
    limit: int = Field(description="Calls allowed at once.")
    in_use: int = Field(description="Calls that held a slot when this one came.")


class DecisionDetail(Happening):
    """The decision about the call, with its reason."""

    outcome: SetupOutcome
    setup_seconds: float = Field(description="Received to decided.")
    reason: RejectionReason | None = Field(description="Why it was turned away; `null` if it was accepted.")
    limit: Limit | None = Field(description="Which limit, at what value, where capacity was the reason.")
    error_type: str | None


class EndingDetail(Happening):
    """The end of an accepted call, with its reason."""

    reason: EndReason
    error_type: str | None = Field(description="`null` unless it failed.")


class TransitionDetail(Happening):
    """The call changed its state."""

    transition: Transition
    offset_seconds: Offset


class PhaseDetail(Happening):
    """A stretch of the call's path."""

    phase: Phase
    target: str | None = Field(description="The name of a transfer's destination.")
    tool_call_id: str | None = Field(description="The tool call that asked for it; `null` if none did.")
    resends: int = Field(description="Tries of the same before this one.")
    duration_seconds: Under
    error_type: str | None


class TurnDetail(Happening):
    """The caller says something, and the agent answers."""

    number: int = Field(description="From 1.")
    duration_seconds: Under
    time_to_first_audio_seconds: float | None = Field(
        description="End of the caller's speech to the first audio of the answer; `null` if there was none."
    )
    waited_from_seconds: float | None = Field(description="When the caller stopped speaking, from the reception.")
    waited_seconds: float | None = Field(description="The wait for the answer, also one in vain or not over yet.")
    interrupted: bool = Field(description="The caller cut the answer short.")
    end_reason: TurnEnd | None = Field(description="`null` while the turn goes on.")


class SpeechDetail(Happening):
    """Somebody speaks without a pause."""

    speaker: Speaker
    duration_seconds: Under
    interrupted: bool


class StretchDetail(Happening):
    """A part of the conversation."""

    duration_seconds: float


class ToolDetail(Happening):
    """A tool the model asked for."""

    tool: str
    tool_call_id: str
    duration_seconds: Under
    error_type: str | None
    cut_off: bool = Field(description="The session ended before the tool had answered; no error of the tool.")


class ErrorDetail(Happening):
    """Something went wrong, and the call went on."""

    trouble: Trouble = Field(description="`session`: told by the carrier; `instructions`; `lifecycle`: a late report.")
    detail: str


class TokenDetail(FrozenSchema):
    """Tokens of all responses; `null` is unknown, not zero."""

    input: int | None
    output: int | None
    cached_input: int | None
    input_text: int | None
    input_audio: int | None
    output_text: int | None
    output_audio: int | None
    responses: int = Field(description="Responses that were billed.")
    partial: tuple[str, ...] = Field(description="Kinds that not every response reported: their sums are lower bounds.")
    models: tuple[str, ...]


class TalkDetail(FrozenSchema):
    """Sums of a conversation that is over, in seconds, from the first word to the end."""

    seconds: Seconds
    caller_seconds: Seconds
    agent_seconds: Seconds
    talk_over_seconds: Seconds = Field(description="Both spoke.")
    dead_air_seconds: Seconds = Field(description="Nobody spoke, in stretches of 3 s and more.")
    dead_airs: int = Field(description="Number of those stretches.")


class SpanEventDetail(FrozenSchema):
    """A moment in a span."""

    name: str
    at: datetime
    attributes: dict[str, Scalar]


class SpanDetail(FrozenSchema):
    """One span and those below it."""

    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    scope: str = Field(description="The instrumentation that made it.")
    at: datetime
    offset_seconds: float = Field(description="Seconds from the call's reception, by the wall clock.")
    duration_seconds: Under
    open: bool = Field(description="It has not ended.")
    error: bool
    attributes: dict[str, Scalar]
    events: tuple[SpanEventDetail, ...]
    linked_trace_ids: tuple[str, ...] = Field(description="Traces it refers to, such as one a webhook named.")
    children: tuple["SpanDetail", ...]


class TraceDetail(FrozenSchema):
    """The call's trace."""

    trace_id: str
    root_span_id: str
    sampled: bool = Field(description="Whether head sampling kept it. If not, there are no spans to show.")
    note: str | None = Field(description="What is to be known before the spans are read.")
    url: str | None = Field(description="The trace in a trace backend, if `TRACE_URL_TEMPLATE` is set.")
    spans: tuple[SpanDetail, ...] = Field(description="As a tree; more than one root if a parent was left out.")


class LogDetail(FrozenSchema):
    """One log line written in the call's context."""

    at: datetime
    level: str
    logger: str
    message: str
    span_id: str | None
    attributes: dict[str, Scalar]


class GapDetail(FrozenSchema):
    """A stretch of the call from which rows were left out."""

    kind: str
    count: int
    offset_seconds: Offset
    duration_seconds: float | None = Field(description="`null` if everything up to now was left out.")


class Links(FrozenSchema):
    """Addresses of what belongs to the call."""

    self: str
    timeline: str = Field(description="The call as a picture.")
    trace: str | None = Field(description="The same call by its trace's id.")
    trace_backend: str | None


class CallDetail(FrozenSchema):
    """Everything known of one call."""

    call_id: str
    tenant_id: str
    state: CallState
    outcome: CallOutcome | None = Field(description="How it turned out; `null` while it is not over.")
    explanation: str = Field(description="What happened, in a sentence.")
    caller: str | None = Field(description="Masked to its last four digits.")
    caller_hash: str | None = Field(description="A keyed hash, the same for every call of this caller.")
    dialled: str | None = Field(description="Masked to its last four digits.")
    received_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    as_of: datetime = Field(description="When this was written; the end of a call that is over.")
    duration_seconds: Seconds
    duration_basis: DurationBasis = Field(description="Since when it counts; `received` if it never started.")
    setup_seconds: float | None = Field(description="Received to decided.")
    time_to_first_audio_seconds: float | None = Field(description="Received until the caller heard the agent.")
    longest_wait_seconds: float | None = Field(
        description="The longest anybody waited: for the decision, the first audio, or an answer; `null` if not kept."
    )
    last_seen_seconds: Offset
    decision: DecisionDetail | None
    ending: EndingDetail | None
    unanswered_reason: UnansweredReason | None = Field(description="Why it was never answered; `null` otherwise.")
    direction: CallDirection
    source: str = Field(description="The gateway or carrier that reported the call.")
    inferred: tuple[Transition, ...] = Field(description="Transitions that no report told of in time.")
    talk: TalkDetail | None = Field(description="`null` while the call is open, without speech, or if not kept.")
    referred_to: str | None = Field(description="The name of the destination the call was handed to.")
    fallback_instructions: bool
    from_record: bool = Field(
        description="No more than the call's record is left: phases, turns, speech, tools, spans and log lines are not."
    )
    resumed: bool = Field(description="Another process set the call up, and this one took it over.")
    seen_from_seconds: float | None = Field(
        description="When this process took the call over, from the reception: of what was before, only the record "
        "speaks. `null` if it saw all of it."
    )
    transitions: tuple[TransitionDetail, ...]
    phases: tuple[PhaseDetail, ...]
    flags: tuple[CallFlag, ...] | None = Field(
        description="What is worth a look, whatever the outcome; `null` if not kept."
    )
    turn_count: int | None = Field(description="All turns, those left out included; `null` if not kept.")
    interruption_count: int | None = Field(description="The greeting's included; `null` if not kept.")
    greeting_interrupted: bool | None = Field(description="The caller spoke into the agent's first words.")
    talked_over_count: int | None = Field(description="How often the agent began to speak while the caller spoke.")
    longest_silence_seconds: float | None = Field(
        description="The longest that nobody spoke while the session ran; 0 if somebody always did, `null` if not kept."
    )
    talked_over: tuple[StretchDetail, ...] = Field(
        description="While both spoke, the agent having begun later; so far, if both do."
    )
    silences: tuple[StretchDetail, ...] = Field(
        description="Stretches of 3 s or more in which nobody spoke, after the first word."
    )
    turns: tuple[TurnDetail, ...]
    speech: tuple[SpeechDetail, ...]
    tools: tuple[ToolDetail, ...]
    errors: tuple[ErrorDetail, ...]
    tokens: TokenDetail
    trace: TraceDetail | None = Field(description="`null` if tracing is switched off.")
    logs: tuple[LogDetail, ...]
    events_truncated: bool = Field(description="Something was left out: first and last rows of each kind are kept.")
    dropped: dict[str, int] = Field(description="How many rows were left out, by kind.")
    gaps: tuple[GapDetail, ...] = Field(description="Where turns, speech and tools were left out.")
    links: Links


_TRACE: Final = "0af7651916cd43dd8448eb211c80319c"


def _moment(offset: float) -> dict[str, Any]:
    return {"at": f"2026-11-22T20:00:{offset:09.6f}Z", "offset_seconds": offset}


_PHASE: Final = {"target": None, "tool_call_id": None, "resends": 0, "error_type": None}

EXAMPLE: Final[dict[str, Any]] = {
    "call_id": "rtc_1",
    "tenant_id": "acme",
    "state": "rejected",
    "outcome": "rejected",
    "explanation": (
        "Turned away after 12 ms: there was no free slot; the tenant's limit of 10 was reached, with 10 in use."
    ),
    "caller": "…5678",
    "caller_hash": "c797d50ec17bf310",
    "dialled": "…0100",
    "received_at": "2026-11-22T20:00:00Z",
    "started_at": None,
    "ended_at": "2026-11-22T20:00:00.012000Z",
    "as_of": "2026-11-22T20:00:00.012000Z",
    "duration_seconds": 0.012,
    "duration_basis": "received",
    "setup_seconds": 0.012,
    "time_to_first_audio_seconds": None,
    "longest_wait_seconds": 0.012,
    "last_seen_seconds": 0.102,
    "decision": {
        **_moment(0.012),
        "outcome": "rejected",
        "setup_seconds": 0.012,
        "reason": "capacity",
        "limit": {"scope": "tenant", "limit": 10, "in_use": 10},
        "error_type": None,
    },
    "ending": None,
    "unanswered_reason": None,
    "direction": "inbound",
    "source": "direct",
    "inferred": [],
    "talk": None,
    "referred_to": None,
    "fallback_instructions": False,
    "from_record": False,
    "resumed": False,
    "seen_from_seconds": None,
    "transitions": [
        {**_moment(0.0), "transition": "received"},
        {**_moment(0.012), "transition": "rejected"},
    ],
    "phases": [
        {
            **_moment(0.0),
            "phase": "tenant_lookup",
            "target": None,
            "tool_call_id": None,
            "resends": 0,
            "duration_seconds": 0.011,
            "error_type": None,
        },
        {
            **_moment(0.012),
            "phase": "reject",
            "target": None,
            "tool_call_id": None,
            "resends": 0,
            "duration_seconds": 0.09,
            "error_type": None,
        },
    ],
    "flags": [],
    "turn_count": 0,
    "interruption_count": 0,
    "greeting_interrupted": False,
    "talked_over_count": 0,
    "longest_silence_seconds": 0.0,
    "talked_over": [],
    "silences": [],
    "turns": [],
    "speech": [],
    "tools": [],
    "errors": [],
    "tokens": {
        "input": None,
        "output": None,
        "cached_input": None,
        "input_text": None,
        "input_audio": None,
        "output_text": None,
        "output_audio": None,
        "responses": 0,
        "partial": [],
        "models": [],
    },
    "trace": {
        "trace_id": _TRACE,
        "root_span_id": "b7ad6b7169203331",
        "sampled": True,
        "note": None,
        "url": f"https://traces.example/trace/{_TRACE}",
        "spans": [
            {
                **_moment(0.0),
                "span_id": "b7ad6b7169203331",
                "parent_span_id": None,
                "name": "call",
                "kind": "server",
                "scope": "callscope",
                "duration_seconds": 0.102,
                "open": False,
                "error": False,
                "attributes": {"tenant.id": "acme", "voice.call.rejection.reason": "capacity"},
                "events": [],
                "linked_trace_ids": [],
                "children": [],
            }
        ],
    },
    "logs": [
        {
            "at": "2026-11-22T20:00:00.012000Z",
            "level": "INFO",
            "logger": "callscope.calls",
            "message": "call rejected",
            "span_id": "b7ad6b7169203331",
            "attributes": {"event.name": "call.rejected", "voice.call.rejection.reason": "capacity"},
        }
    ],
    "events_truncated": False,
    "dropped": {},
    "gaps": [],
    "links": {
        "self": "/api/v1/calls/rtc_1",
        "timeline": "/api/v1/calls/rtc_1/timeline.svg",
        "trace": f"/api/v1/traces/{_TRACE}",
        "trace_backend": f"https://traces.example/trace/{_TRACE}",
    },
}
"""A call turned away at its tenant's limit."""
