"""Everything that can happen to a call, as data; :mod:`telemetry.calls.lifecycle` decides what becomes an event."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, dataclass_transform

from telemetry.clock import Instant
from telemetry.semconv.attributes import (
    CallId,
    CapacityScope,
    EndReason,
    RejectionReason,
    TenantId,
    Violation,
    WebhookOutcome,
)

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def event(cls: type[_T]) -> type[_T]:
    """Make a slotted dataclass that type checkers hold to be frozen.

    Freezing it at run time as well would make each event several times as dear, on the path of every call.
    """
    return dataclass(slots=True)(cls)


class Phase(StrEnum):
    """A stretch of a call's path with a beginning and an end."""

    WEBHOOK = "webhook"
    """Delivered, until its work begins: the signature, the body, the wait for the call's turn."""
    TENANT_LOOKUP = "tenant_lookup"
    RECORD = "record"
    """Waiting, within bounds, until a crash would leave the call behind on record."""
    CAPACITY = "capacity"
    INSTRUCTIONS = "instructions"
    ACCEPT = "accept"
    REJECT = "reject"
    CONNECT = "connect"
    """Accepted, until the media session's event stream is attached."""
    TRANSFER = "transfer"
    HANGUP = "hangup"
    """The agent ends the call."""


class Speaker(StrEnum):
    """Who is heard."""

    CALLER = "caller"
    AGENT = "agent"


class Content(StrEnum):
    """What was said, pressed or handed to a tool; the values name the span events that hold it."""

    CALLER_SAID = "caller.said"
    AGENT_SAID = "agent.said"
    KEY_PRESSED = "key.pressed"
    TOOL_ARGUMENTS = "tool.arguments"
    TOOL_RESULT = "tool.result"


class TurnEnd(StrEnum):
    """Why a turn is over."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    CALL_ENDED = "call_ended"


@dataclass(frozen=True, slots=True)
class CallRef:
    """Which call, of which tenant."""

    call_id: CallId
    tenant_id: TenantId


@dataclass(frozen=True, slots=True)
class LimitHit:
    """The capacity limit that turned a call away."""

    scope: CapacityScope
    limit: int
    in_use: int


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens of one response, as the provider bills them; ``None`` is unknown, not zero.

    ``cached_input``, ``input_audio`` and ``input_text`` are parts of ``input``; likewise for output.
    """

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    input_text: int | None = None
    input_audio: int | None = None
    output_text: int | None = None
    output_audio: int | None = None


@event
class Event:
    """Something that happened, at a moment."""

    at: Instant


@event
class CallEvent(Event):
    """Something that happened to one call."""

    call: CallRef


@event
class WebhookReceived(Event):
    """A webhook delivery was answered."""

    outcome: WebhookOutcome


@event
class CallAnnounced(CallEvent):
    """The carrier announces a call; whose it is, is not known yet, so it counts nowhere. Its trace begins here."""

    traceparent: str | None = field(default=None, repr=False)
    """A W3C trace context the webhook or a SIP header carried: linked, never trusted as parent."""


@event
class CallReceived(CallEvent):
    """A call has come in for a tenant; it counts as pending. ``at`` is when it was announced."""

    caller: str | None = field(default=None, repr=False)
    """E.164; personal."""
    dialled: str | None = field(default=None, repr=False)
    """E.164; personal."""
    traceparent: str | None = field(default=None, repr=False)
    """As in :class:`CallAnnounced`, for calls that were not announced apart."""
    continues: str | None = field(default=None, repr=False)
    """The W3C trace context of the same call in another process, which has let go of it: its trace goes on."""
    content: bool = False
    """The tenant allows content on spans: transcripts, keys pressed, arguments and results of tools."""


@event
class PhaseStarted(CallEvent):
    """A phase of the call's path begins."""

    phase: Phase


@event
class PhaseEnded(CallEvent):
    """A phase of the call's path is over."""

    phase: Phase
    started: Instant
    error_type: str | None = None


@event
class InstructionsFailed(CallEvent):
    """The tenant's instructions could not be read from the database."""

    error_type: str


@event
class FallbackUsed(CallEvent):
    """The configured fallback instructions stand in for the tenant's own."""


@event
class CallRejected(CallEvent):
    """Terminal: the call was turned away."""

    reason: RejectionReason
    setup_seconds: float
    limit: LimitHit | None = None
    error_type: str | None = None


@event
class CallAccepted(CallEvent):
    """The carrier took the acceptance; the call still holds its pending slot."""

    setup_seconds: float
    resumed: bool = False
    """Another process set this call up and has let go of it: here, nobody waited for the set-up."""


@event
class CallStarted(CallEvent):
    """The media session runs."""


@event
class CallAbandoned(CallEvent):
    """Terminal: accepted, never started."""

    reason: EndReason
    error_type: str | None = None


@event
class CallReferred(CallEvent):
    """The call was handed off to another destination; its end follows."""

    target: str | None = None
    """The destination's configured name, not its number."""


@event
class CallHeartbeat(CallEvent):
    """The call runs: ``seconds`` of call time since the last heartbeat."""

    seconds: float


@event
class CallEnded(CallEvent):
    """Terminal: a started call is over."""

    reason: EndReason
    duration_seconds: float
    """Started to ended; to the last sign of life when ``reason`` is ``stale``."""
    unbilled_seconds: float
    """The part of the duration no heartbeat has reported."""
    error_type: str | None = None


@event
class FirstAudio(CallEvent):
    """The caller hears the agent for the first time, ``seconds`` after the call was received."""

    seconds: float


@event
class SpeechEnded(CallEvent):
    """A stretch of speech is over."""

    speaker: Speaker
    started: Instant
    interrupted: bool = False


@event
class TurnStarted(CallEvent):
    """The caller begins to speak: a new turn."""

    number: int


@event
class TurnAnswered(CallEvent):
    """The first audio of the answer, ``seconds`` after the caller stopped speaking."""

    number: int
    seconds: float


@event
class TurnInterrupted(CallEvent):
    """The caller cut the agent's answer short. Number 0 is the greeting."""

    number: int


@event
class TurnEnded(CallEvent):
    """The turn is over: the next begins, or the call ends."""

    number: int
    started: Instant
    reason: TurnEnd


@event
class TokensUsed(CallEvent):
    """One response of the model was billed."""

    usage: TokenUsage
    model: str
    response_id: str | None = None


@event
class ToolStarted(CallEvent):
    """A tool the model asked for begins to run."""

    tool: str
    """A registered tool's name, or ``_other``."""
    tool_call_id: str


@event
class ToolEnded(CallEvent):
    """A tool the model asked for has answered or failed."""

    tool: str
    tool_call_id: str
    started: Instant
    error_type: str | None = None


@event
class ContentHeard(CallEvent):
    """Something was said, pressed or handed to a tool. It shows on spans, and only where the tenant allows it."""

    content: Content
    text: str = field(repr=False)
    tool_call_id: str | None = None
    """The tool call that it belongs to."""


@event
class SessionError(CallEvent):
    """The carrier reported an error inside the session, which goes on."""

    code: str


@event
class LifecycleViolated(CallEvent):
    """A transition was reported that the call's state does not allow; no number changed."""

    violation: Violation
    transition: str
