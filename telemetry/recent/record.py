"""What is known of one call, as data.

Every moment is an offset: seconds since the call was received, on the monotonic clock. Wall-clock times follow from
:attr:`CallSummary.received`. Where something is under way, its end is ``None``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from telemetry.calls.events import LimitHit, Phase, Speaker, TokenUsage, TurnEnd
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.clock import Instant
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, SetupOutcome, TenantId, Violation


class CallOutcome(StrEnum):
    """How a call turned out."""

    REJECTED = "rejected"
    ABANDONED = "abandoned"
    """Accepted, never started."""
    FAILED = "failed"
    """Started, and ended with an error."""
    COMPLETED = "completed"
    HANGUP = "hangup"
    REFERRED = "referred"
    STALE = "stale"
    SHUTDOWN = "shutdown"
    MAX_DURATION = "max_duration"
    SILENCE = "silence"


class DurationBasis(StrEnum):
    """Since when a call's duration counts."""

    STARTED = "started"
    """Since the media session began to run."""
    RECEIVED = "received"
    """Since the call was announced: it never started."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """The call changed its state."""

    transition: Transition
    at: float
    weight: ClassVar[int] = 90


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A stretch of the call's path."""

    phase: Phase
    start: float
    end: float | None
    error_type: str | None = None
    weight: ClassVar[int] = 120


@dataclass(frozen=True, slots=True)
class TurnRow:
    """The caller says something, and the agent answers."""

    number: int
    """From 1."""
    start: float
    end: float | None = None
    caller_stopped: float | None = None
    """When the wait for the answer began."""
    time_to_first_audio: float | None = None
    """How long that wait was; ``None`` if there was no answer yet, or never."""
    interrupted: bool = False
    reason: TurnEnd | None = None
    weight: ClassVar[int] = 210

    def waited(self, now: float) -> float | None:
        """How long the caller waited for an answer, or in vain until the turn was over or is still; ``None`` if the
        caller has not stopped speaking.
        """  # noqa: D205 -- one sentence
        if self.time_to_first_audio is not None:
            return self.time_to_first_audio
        if self.caller_stopped is None:
            return None
        return max(0.0, (now if self.end is None else self.end) - self.caller_stopped)


@dataclass(frozen=True, slots=True)
class SpeechRow:
    """Somebody speaks without a pause."""

    speaker: Speaker
    start: float
    end: float | None
    interrupted: bool = False
    weight: ClassVar[int] = 120


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool the model asked for."""

    tool: str
    tool_call_id: str
    start: float
    end: float | None
    error_type: str | None = None
    weight: ClassVar[int] = 240


class Trouble(StrEnum):
    """What kind of thing went wrong without ending the call."""

    SESSION = "session"
    """The carrier reported an error inside the session; the detail is its code."""
    INSTRUCTIONS = "instructions"
    """The tenant's instructions could not be read; the detail is the error's type."""
    LIFECYCLE = "lifecycle"
    """A transition was reported that the state does not allow; the detail says which, and why not."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Something went wrong, and the call went on."""

    at: float
    trouble: Trouble
    detail: str
    violation: Violation | None = None
    weight: ClassVar[int] = 160


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of all responses so far; a kind no response reported is ``None``: unknown, not zero."""

    usage: TokenUsage
    responses: int
    partial: tuple[str, ...]
    """The kinds that some responses reported and some did not: their sums are lower bounds."""
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about the call, and why."""

    outcome: SetupOutcome
    at: float
    setup_seconds: float
    """Received to decided."""
    reason: RejectionReason | None = None
    limit: LimitHit | None = None
    """The limit that was reached, at what value."""
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an accepted call is over."""

    reason: EndReason
    at: float
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """A moment in a span."""

    name: str
    unix_nanos: int
    attributes: Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span, as it left or would leave."""

    span_id: str
    """16 hexadecimal digits."""
    parent_id: str | None
    name: str
    kind: str
    start_unix_nanos: int
    end_unix_nanos: int | None
    """``None`` while the span is open."""
    error: bool
    attributes: Mapping[str, str | int | float | bool]
    events: tuple[SpanEvent, ...]
    linked_trace_ids: tuple[str, ...]
    scope: str
    """The instrumentation that made it."""
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
    """Where the call's trace is, and what of it is kept here."""

    trace_id: str
    """32 hexadecimal digits."""
    root_span_id: str
    sampled: bool
    """Head sampling kept the trace. If not, there are no spans, here or anywhere; the rest is complete all the same."""
    spans: tuple[SpanRow, ...] = ()


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One line of a list of calls."""

    call_id: CallId
    tenant_id: TenantId
    state: CallState
    outcome: CallOutcome | None
    """``None`` while the call is not over."""
    received: Instant
    started: float | None
    ended: float | None
    """When the call was over, whichever way."""
    last_seen: float
    """The last thing heard of it."""
    ending: bool
    """Its end is under way: it was handed off, or is being hung up."""
    duration: float
    """So far, while the call is not over."""
    duration_basis: DurationBasis
    longest_wait: float
    """The longest a person waited: for the decision, the first audio, or an answer; so far, if they wait still."""
    turns: int
    interruptions: int
    rejection_reason: RejectionReason | None
    end_reason: EndReason | None
    error_type: str | None
    trace_id: str | None
    sampled: bool
    caller: str | None
    """Masked to its last four digits."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the call from which rows were left out."""

    kind: str
    count: int
    start: float
    end: float | None
    """``None`` if everything up to now was."""


@dataclass(frozen=True, slots=True)
class CallDetails:
    """Everything known of one call. Rows are in the order they began."""

    summary: CallSummary
    as_of: float
    """The moment this was written; its end, if the call is over."""
    dialled: str | None
    """Masked to its last four digits."""
    caller_hash: str | None
    steps: tuple[StateChange, ...]
    decision: Decision | None
    ending: Ending | None
    first_audio: float | None
    """When the caller first heard the agent."""
    time_to_first_audio: float | None
    """Received to then, in seconds."""
    referred_to: str | None
    """The name of the destination the call was handed to."""
    fallback_instructions: bool
    resumed: bool
    """Another process set the call up and let go of it; the record begins where this one took it over."""
    phases: tuple[PhaseRow, ...]
    turns: tuple[TurnRow, ...]
    speech: tuple[SpeechRow, ...]
    tools: tuple[ToolRow, ...]
    errors: tuple[ErrorRow, ...]
    tokens: Tokens
    trace: Trace | None
    logs: tuple[LogRow, ...]
    dropped: Mapping[str, int]
    """Rows left out, by kind; kinds of which nothing is missing are absent."""
    gaps: tuple[Gap, ...]
    """Where turns, speech and tools were left out."""

    @property
    def events_truncated(self) -> bool:
        """Whether anything was left out."""
        return bool(self.dropped)
