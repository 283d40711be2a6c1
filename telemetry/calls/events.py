"""Everything that can happen to a call, as data; :mod:`telemetry.calls.lifecycle` decides what becomes an event."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, dataclass_transform

from telemetry.calls.lifecycle import CallState, Transition
from telemetry.clock import Instant
from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    CallDirection,
    CallId,
    CapacityScope,
    EndReason,
    Fault,
    MessageProblem,
    RejectionReason,
    Speaker,
    Stage,
    TenantId,
    TurnEnd,
    UnansweredReason,
    Violation,
    WebhookOutcome,
)

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def event(cls: type[_T]) -> type[_T]:
    """Make a slotted dataclass that type checkers treat as frozen.

    Freezing it at run time too makes an event several times as expensive, on the path of every call.
    """
    return dataclass(slots=True)(cls)


class Phase(StrEnum):
    """The timed phases of a call."""

    WEBHOOK = "webhook"
    """From delivery until its processing begins: signature, body, queue."""
    TENANT_LOOKUP = "tenant_lookup"
    RECORD = "record"
    """The wait, within bounds, until the call is on durable record."""
    CAPACITY = "capacity"
    INSTRUCTIONS = "instructions"
    ACCEPT = "accept"
    REJECT = "reject"
    ATTACH = "attach"
    """One try to attach to the media session's event stream."""
    CONNECT = "connect"
    """From the acceptance until the media session's event stream is attached."""
    REATTACH = "reattach"
    """The event stream broke while the call lived, until another was attached or all was tried."""
    TRANSFER = "transfer"
    HANGUP = "hangup"
    """The hang-up by the agent."""


class Content(StrEnum):
    """The kinds of content: speech, keys, arguments and results of tools. The values name span events."""

    CALLER_SAID = "caller.said"
    AGENT_SAID = "agent.said"
    KEY_PRESSED = "key.pressed"
    TOOL_ARGUMENTS = "tool.arguments"
    TOOL_RESULT = "tool.result"


@dataclass(frozen=True, slots=True)
class CallRef:
    """The identity of a call: its id, its tenant and its origin."""

    call_id: CallId
    tenant_id: TenantId
    direction: CallDirection = CallDirection.INBOUND
    source: str = DIRECT_SOURCE
    """The configured name of the gateway or carrier that reports the call."""


@dataclass(frozen=True, slots=True)
class LimitHit:
    """The capacity limit that turned a call away."""

    scope: CapacityScope
    limit: int
    in_use: int


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens of one response as the provider bills them; None is unknown, not zero.

    ``cached_input``, ``input_audio`` and ``input_text`` are parts of ``input``; likewise for output.
    """

    input: int | None = None
    output: int | None = None
    cached_input: int | None = None
    input_text: int | None = None
    input_audio: int | None = None
    output_text: int | None = None
    output_audio: int | None = None


@dataclass(frozen=True, slots=True)
class CallBefore:
    """The part of a call's history that another process recorded; moments are on this process's clock."""

    received: Instant
    decided: Instant | None = None
    started: Instant | None = None
    first_audio: Instant | None = None
    caller_masked: str | None = None
    caller_hash: str | None = None
    dialled_masked: str | None = None
    turns: int = 0
    interruptions: int = 0
    longest_wait_seconds: float = 0.0
    tokens: TokenUsage = field(default_factory=TokenUsage)
    handed_over: bool = False
    """True if that process left the call in good order; False if it was lost."""


@event
class Event:
    """Anything that happened, and when."""

    at: Instant


@event
class CallEvent(Event):
    """Anything that happened to one call."""

    call: CallRef


@event
class WebhookReceived(Event):
    """A webhook delivery was answered."""

    outcome: WebhookOutcome


@event
class CallAnnounced(CallEvent):
    """The carrier announced a call whose tenant is not known yet. It counts nowhere; its trace begins here."""

    traceparent: str | None = field(default=None, repr=False)
    """W3C trace context from the webhook or a SIP header: linked, never trusted as parent."""


@event
class CallReceived(CallEvent):
    """A call came in for a tenant and counts as pending. ``at`` is when it was announced."""

    caller: str | None = field(default=None, repr=False)
    """E.164; personal."""
    dialled: str | None = field(default=None, repr=False)
    """E.164; personal."""
    traceparent: str | None = field(default=None, repr=False)
    """As in :class:`CallAnnounced`, for calls that were not announced first."""
    continues: str | None = field(default=None, repr=False)
    """W3C trace context of the same call in the process that had it before: the parent of this trace."""
    content: bool = False
    """True if the tenant allows content on spans: transcripts, keys pressed, arguments and results of tools."""
    resumed: bool = False
    """True if another process was told of the call before, and this one goes on with it."""


@event
class PhaseStarted(CallEvent):
    """A phase began."""

    phase: Phase
    target: str | None = None
    """The configured name of a transfer's destination."""
    tool_call_id: str | None = None
    """The tool call that asked for it; None if no tool did."""
    resends: int = 0
    """Tries of the same before this one."""


@event
class PhaseEnded(CallEvent):
    """A phase ended."""

    phase: Phase
    started: Instant
    error_type: str | None = None
    target: str | None = None
    tool_call_id: str | None = None
    resends: int = 0
    """All three as in :class:`PhaseStarted`."""


@event
class InstructionsFailed(CallEvent):
    """The tenant's instructions could not be read from the database."""

    error_type: str


@event
class FallbackUsed(CallEvent):
    """The configured fallback instructions are used instead of the tenant's own."""


@event
class CallRejected(CallEvent):
    """Terminal: the call was turned away."""

    reason: RejectionReason
    setup_seconds: float
    limit: LimitHit | None = None
    error_type: str | None = None


@event
class CallTakenOver(CallEvent):
    """This process goes on with a call of another; ``state`` is how that one left it."""

    state: CallState
    before: CallBefore | None = None
    """None if nothing is known of what was before."""


@event
class CallLost(CallEvent):
    """A call of a process that is gone was found to be over: nobody saw its end, and no instrument counts it.

    ``at`` is its last activity, at which its record ends.
    """

    state: CallState
    """The state it was last known in."""
    before: CallBefore
    continues: str | None = field(default=None, repr=False)
    """W3C trace context of the call in the process that had it: the parent of the span that tells its end."""

    @property
    def seconds(self) -> float:
        """Length of the call in seconds, to its last activity; since its reception if it never started."""
        return self.at.since(self.before.started or self.before.received)


@event
class CallUnanswered(CallEvent):
    """Terminal: the other side gave up, was busy or did not answer."""

    reason: UnansweredReason
    error_type: str | None = None


@event
class CallAccepted(CallEvent):
    """The carrier took the acceptance; the call stays pending until it starts."""

    setup_seconds: float
    resumed: bool = False
    """True if another process set the call up, so that its set-up time was recorded there."""


@event
class CallStarted(CallEvent):
    """The media session began to run."""

    resumed: bool = False
    """True if it began in another process."""
    model: str | None = None
    """The model that speaks, as it was asked for."""


@event
class CallAbandoned(CallEvent):
    """Terminal: the accepted call never started."""

    reason: EndReason
    error_type: str | None = None


@event
class CallReferred(CallEvent):
    """The call was transferred to another destination; its end follows."""

    target: str | None = None
    """The destination's configured name, never its number."""


@event
class CallHeartbeat(CallEvent):
    """The call ran for ``seconds`` since the last heartbeat."""

    seconds: float


@event
class CallEnded(CallEvent):
    """Terminal: the started call is over."""

    reason: EndReason
    duration_seconds: float
    """Started to ended; to the last activity when ``reason`` is ``stale``."""
    unbilled_seconds: float
    """The part of the duration that no heartbeat reported."""
    error_type: str | None = None
    fault: Fault | None = None
    """The party whose doing it was; None if that is not known."""
    model: str | None = None
    """The configured model that the agent ran on; None if it was not told."""


@event
class CallHandedOver(CallEvent):
    """Terminal here: this process stops and leaves the call, which was in ``state``, to another."""

    state: CallState
    unbilled_seconds: float
    """Call time that no heartbeat reported, up to now."""


@event
class FirstAudio(CallEvent):
    """The caller heard the agent for the first time, ``seconds`` after the call was received."""

    seconds: float


@event
class SpeechStarted(CallEvent):
    """The caller or the agent began to speak."""

    speaker: Speaker


@event
class SpeechEnded(CallEvent):
    """The caller or the agent stopped speaking."""

    speaker: Speaker
    started: Instant
    interrupted: bool = False


@event
class TurnStarted(CallEvent):
    """The caller began to speak: a new turn."""

    number: int


@event
class TurnAnswered(CallEvent):
    """The answer's first audio came, ``seconds`` after the caller stopped speaking."""

    number: int
    seconds: float


@event
class TurnInterrupted(CallEvent):
    """The caller cut the agent's answer short. Number 0 is the greeting."""

    number: int


@event
class AgentInterrupted(CallEvent):
    """The agent began to speak while the caller was speaking."""


@event
class TalkedOver(CallEvent):
    """Both parties spoke at the same time, for ``seconds`` up to now."""

    seconds: float
    by: Speaker
    """The party that began to speak while the other spoke."""


@event
class DeadAir(CallEvent):
    """Nobody spoke for ``seconds`` between the first word and now; three seconds and more."""

    started: Instant
    seconds: float


@event
class StageWaited(CallEvent):
    """One stage of an answer took ``seconds``, as far as the source tells stages apart."""

    stage: Stage
    seconds: float


@event
class TalkMeasured(CallEvent):
    """The sums of a conversation that is over; of a call without reported speech there is no such event."""

    seconds: float
    """From the first word to the end."""
    caller_seconds: float
    agent_seconds: float
    talk_over_seconds: float
    dead_air_seconds: float
    dead_airs: int
    """Number of silences of three seconds and more."""


@event
class TurnEnded(CallEvent):
    """A turn ended: the next one began, or the call ended."""

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
    """A tool the model asked for began to run."""

    tool: str
    """A registered tool's name, or ``_other``."""
    tool_call_id: str


@event
class ToolEnded(CallEvent):
    """A tool the model asked for returned or failed."""

    tool: str
    tool_call_id: str
    started: Instant
    error_type: str | None = None
    cut_off: bool = False
    """The session ended before the tool had answered, which is no error of the tool."""


@event
class ContentHeard(CallEvent):
    """Content was said, pressed or passed to a tool. It shows on spans only, and only if the tenant allows it."""

    content: Content
    text: str = field(repr=False)
    tool_call_id: str | None = None
    """The tool call it belongs to; None for speech and keys."""


@event
class SessionError(CallEvent):
    """The carrier reported an error inside the session, which goes on."""

    code: str


@event
class MessageUnusable(CallEvent):
    """A message of the call's session, or a number in it, could not be used; the call goes on."""

    problem: MessageProblem


@event
class TransitionInferred(CallEvent):
    """A transition was never reported and follows from a later report; its own event comes next."""

    transition: Transition


@event
class LifecycleViolated(CallEvent):
    """A report that the call's state does not allow, or about a call that is not tracked; no number changed."""

    violation: Violation
    transition: str
    """The transition; of a call that is not tracked, any report, such as ``heartbeat`` or ``tokens_used``."""
