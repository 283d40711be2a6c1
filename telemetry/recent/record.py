"""The history of one call as data.

Every moment is an offset in seconds from the call's reception, on the monotonic clock; wall-clock times follow from
:attr:`CallSummary.received`. The end of a row that is open is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from telemetry.calls.conversation import DEAD_AIR_SECONDS
from telemetry.calls.events import LimitHit, Phase, TokenUsage
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.clock import Instant
from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    SetupOutcome,
    Speaker,
    TenantId,
    TurnEnd,
    UnansweredReason,
    Violation,
)


class CallOutcome(StrEnum):
    """The outcomes of a call."""

    REJECTED = "rejected"
    UNANSWERED = "unanswered"
    ABANDONED = "abandoned"
    """Accepted, never started."""
    FAILED = "failed"
    """Started, and ended with an error."""
    COMPLETED = "completed"
    HANGUP = "hangup"
    REFERRED = "referred"
    STALE = "stale"
    SHUTDOWN = "shutdown"
    OPERATOR = "operator"
    MAX_DURATION = "max_duration"
    SILENCE = "silence"
    VOICEMAIL = "voicemail"
    HANDED_OVER = "handed_over"
    """Left to another process; the call itself went on."""


class DurationBasis(StrEnum):
    """The starting points of a call's duration."""

    STARTED = "started"
    """The start of the media session."""
    RECEIVED = "received"
    """The announcement: the call never started."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of the call's state."""

    transition: Transition
    at: float
    weight: ClassVar[int] = 90


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase."""

    phase: Phase
    start: float
    end: float | None
    error_type: str | None = None
    target: str | None = None
    """The configured name of a transfer's destination."""
    tool_call_id: str | None = None
    """The tool call that asked for it; None if no tool did."""
    resends: int = 0
    """Tries of the same before this one."""
    weight: ClassVar[int] = 120


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One turn: the caller speaks, the agent answers."""

    number: int
    """From 1."""
    start: float
    end: float | None = None
    caller_stopped: float | None = None
    """The start of the wait for the answer."""
    time_to_first_audio: float | None = None
    """Length of that wait in seconds; None without an answer."""
    interrupted: bool = False
    reason: TurnEnd | None = None
    weight: ClassVar[int] = 210

    def waited(self, now: float) -> float | None:
        """Return the wait for the answer in seconds, until the turn's end or ``now`` if none came.

        None if the caller has not stopped speaking.
        """
        if self.time_to_first_audio is not None:
            return self.time_to_first_audio
        if self.caller_stopped is None:
            return None
        return max(0.0, (now if self.end is None else self.end) - self.caller_stopped)


@dataclass(frozen=True, slots=True)
class SpeechRow:
    """One stretch of speech."""

    speaker: Speaker
    start: float
    end: float | None
    interrupted: bool = False
    weight: ClassVar[int] = 120


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool call of the model."""

    tool: str
    tool_call_id: str
    start: float
    end: float | None
    error_type: str | None = None
    cut_off: bool = False
    """The session ended before the tool had answered."""
    weight: ClassVar[int] = 240


class Trouble(StrEnum):
    """The kinds of failure that do not end a call."""

    SESSION = "session"
    """An error the carrier reported inside the session; the detail is its code."""
    INSTRUCTIONS = "instructions"
    """A failed read of the tenant's instructions; the detail is the error's type."""
    LIFECYCLE = "lifecycle"
    """A transition that the state does not allow; the detail is the transition."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One failure after which the call went on."""

    at: float
    trouble: Trouble
    detail: str
    violation: Violation | None = None
    weight: ClassVar[int] = 160


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of all responses so far; a kind that no response reported is None."""

    usage: TokenUsage
    responses: int
    partial: tuple[str, ...]
    """Kinds that only some responses reported: their sums are lower bounds."""
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about the call, and its reason."""

    outcome: SetupOutcome
    at: float
    setup_seconds: float
    """Received to decided, in seconds."""
    reason: RejectionReason | None = None
    limit: LimitHit | None = None
    """The limit that was reached, if capacity was the reason."""
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an accepted call."""

    reason: EndReason
    at: float
    error_type: str | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """One event on a span."""

    name: str
    unix_nanos: int
    attributes: Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span, as it is exported."""

    span_id: str
    """16 hexadecimal digits."""
    parent_id: str | None
    name: str
    kind: str
    start_unix_nanos: int
    end_unix_nanos: int | None
    """None while the span is open."""
    error: bool
    attributes: Mapping[str, str | int | float | bool]
    events: tuple[SpanEvent, ...]
    linked_trace_ids: tuple[str, ...]
    scope: str
    """Name of the instrumentation that made it."""
    weight: int


@dataclass(frozen=True, slots=True)
class LogRow:
    """One log line written in the call's context."""

    unix_nanos: int
    level: str
    logger: str
    message: str
    attributes: Mapping[str, str | int | float | bool]
    span_id: str | None
    weight: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The call's trace, and the spans kept of it."""

    trace_id: str
    """32 hexadecimal digits."""
    root_span_id: str
    sampled: bool
    """False if head sampling dropped the trace: there are no spans, but everything else is complete."""
    spans: tuple[SpanRow, ...] = ()


class CallFlag(StrEnum):
    """The things worth a look at a call, whatever its outcome."""

    SLOW_ANSWER = "slow_answer"
    """The caller waited two seconds or longer for an answer, or in vain."""
    DEAD_AIR = "dead_air"
    """Nobody spoke for three seconds or longer."""
    LONG_SILENCE = "long_silence"
    """Nobody spoke for ten seconds or longer."""
    TALKED_OVER = "talked_over"
    """The agent began to speak while the caller spoke."""
    INTERRUPTED = "interrupted"
    """The caller cut the agent short."""
    TOOL_FAILED = "tool_failed"
    TRANSFER_REFUSED = "transfer_refused"
    HANGUP_REFUSED = "hangup_refused"
    ATTACH_REFUSED = "attach_refused"
    """A try to attach to the media session failed."""
    FALLBACK = "fallback"
    """The fallback instructions were used."""
    TAKEN_OVER = "taken_over"
    """Another process had the call before."""
    LOST = "lost"
    """Its process was gone, and nobody saw its end."""


NOTABLE_WAIT: Final = 2.0
"""Seconds a caller waits for an answer before the wait is worth a line."""
NOTABLE_SILENCE: Final = 10.0
"""Seconds in which nobody speaks before the silence is worth a line."""


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One line of a list of calls."""

    call_id: CallId
    tenant_id: TenantId
    state: CallState
    outcome: CallOutcome | None
    """None while the call is open."""
    received: Instant
    started: float | None
    ended: float | None
    """The moment the call was over, in whichever way."""
    last_seen: float
    """The last activity."""
    ending: bool
    """True once the call was referred or is being hung up."""
    duration: float
    """Seconds, so far while the call is open."""
    duration_basis: DurationBasis
    longest_wait: float
    """Seconds of the longest wait of a person for the decision, the first audio or an answer, open waits included."""
    turns: int
    interruptions: int
    rejection_reason: RejectionReason | None
    end_reason: EndReason | None
    error_type: str | None
    trace_id: str | None
    sampled: bool
    caller: str | None
    """Masked to its last four digits."""
    dialled: str | None
    """Likewise; of a name, its first two letters."""
    caller_hash: str | None = None
    """A keyed hash of the number, the same for every call of this caller."""
    longest_silence: float = 0.0
    """Seconds of the longest silence, so far where it goes on: before the first word, or dead air (3 seconds and more)
    after it."""
    talked_over: int = 0
    """Times the agent began to speak while the caller spoke."""
    failed_tools: tuple[str, ...] = ()
    """The tools that failed, each once, in the order they did."""
    failed_phases: tuple[Phase, ...] = ()
    """The phases that failed, or of which a try did, likewise."""
    slowest_answer: float = 0.0
    """Seconds of the longest wait for an answer alone, open waits included."""
    fallback: bool = False
    """True if the fallback instructions were used."""
    seen_before: bool = False
    """True if another process had the call before."""
    lost: bool = False
    """True if the process that had the call was gone, and the call was over when it was found."""
    unanswered_reason: UnansweredReason | None = None
    direction: CallDirection = CallDirection.INBOUND
    source: str = DIRECT_SOURCE
    fault: Fault | None = None
    """The party at fault for its end; None if nobody is, or it is not known."""

    @property
    def flags(self) -> tuple[CallFlag, ...]:
        """The things worth a look, in the order in which they are declared."""
        raised = {
            CallFlag.SLOW_ANSWER: self.slowest_answer >= NOTABLE_WAIT,
            CallFlag.DEAD_AIR: self.longest_silence >= DEAD_AIR_SECONDS,
            CallFlag.LONG_SILENCE: self.longest_silence >= NOTABLE_SILENCE,
            CallFlag.TALKED_OVER: self.talked_over > 0,
            CallFlag.INTERRUPTED: self.interruptions > 0,
            CallFlag.TOOL_FAILED: bool(self.failed_tools),
            CallFlag.TRANSFER_REFUSED: Phase.TRANSFER in self.failed_phases,
            CallFlag.HANGUP_REFUSED: Phase.HANGUP in self.failed_phases,
            CallFlag.ATTACH_REFUSED: Phase.ATTACH in self.failed_phases,
            CallFlag.FALLBACK: self.fallback,
            CallFlag.TAKEN_OVER: self.seen_before and not self.lost,
            CallFlag.LOST: self.lost,
        }
        return tuple(flag for flag, is_raised in raised.items() if is_raised)


@dataclass(frozen=True, slots=True)
class Talk:
    """The sums of a conversation that is over, in seconds."""

    seconds: float
    """From the first word to the end."""
    caller_seconds: float
    agent_seconds: float
    talk_over_seconds: float
    dead_air_seconds: float
    dead_airs: int


@dataclass(frozen=True, slots=True)
class DeadAirRow:
    """One silence of three seconds and more."""

    start: float
    end: float | None
    weight: ClassVar[int] = 100


@dataclass(frozen=True, slots=True)
class TalkOverRow:
    """One stretch in which both spoke, the agent having begun later."""

    start: float
    end: float | None
    weight: ClassVar[int] = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the call from which rows were dropped."""

    kind: str
    count: int
    start: float
    end: float | None
    """None if everything up to now was dropped."""


@dataclass(frozen=True, slots=True)
class CallDetails:
    """Everything known of one call. Rows are in the order of their starts."""

    summary: CallSummary
    as_of: float
    """The moment the details were made; the end of a call that is over."""
    steps: tuple[StateChange, ...]
    decision: Decision | None
    ending: Ending | None
    first_audio: float | None
    """The moment the caller first heard the agent."""
    time_to_first_audio: float | None
    """Received to first audio, in seconds."""
    referred_to: str | None
    """The configured name of the destination the call was transferred to."""
    fallback_instructions: bool
    resumed: bool
    """True if another process set the call up; the history begins where this one took over."""
    phases: tuple[PhaseRow, ...]
    turns: tuple[TurnRow, ...]
    speech: tuple[SpeechRow, ...]
    tools: tuple[ToolRow, ...]
    errors: tuple[ErrorRow, ...]
    tokens: Tokens
    trace: Trace | None
    logs: tuple[LogRow, ...]
    dropped: Mapping[str, int]
    """Rows dropped, by kind; kinds without loss are absent."""
    gaps: tuple[Gap, ...]
    """The gaps in turns, speech and tools."""
    inferred: tuple[Transition, ...] = ()
    """Transitions that no report told of in time."""
    dead_airs: tuple[DeadAirRow, ...] = ()
    talk_overs: tuple[TalkOverRow, ...] = ()
    talk: Talk | None = None
    """None while the call is open, and of a call without reported speech."""
    seen_from: float | None = None
    """The moment this process took the call over; None if it had the call from the beginning."""
    handed_over: bool = False
    """True if the process that had the call before left it in good order."""

    @property
    def events_truncated(self) -> bool:
        """True if any row was dropped."""
        return bool(self.dropped)
