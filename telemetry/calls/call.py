"""The handle call code holds: it reports what happens, and only what the lifecycle allows becomes an event."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import RLock
from typing import NamedTuple, Protocol

from telemetry.calls.conversation import Conversation
from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallBefore,
    CallEnded,
    CallHandedOver,
    CallHeartbeat,
    CallRef,
    CallReferred,
    CallRejected,
    CallStarted,
    CallUnanswered,
    Content,
    ContentHeard,
    Event,
    FallbackUsed,
    InstructionsFailed,
    LifecycleViolated,
    LimitHit,
    MessageUnusable,
    Phase,
    PhaseEnded,
    SessionError,
    StageWaited,
    TokensUsed,
    TokenUsage,
    TransitionInferred,
)
from telemetry.calls.lifecycle import STEPS, TERMINAL, CallState, Transition, violation_of
from telemetry.calls.sinks import Scopes, Sink
from telemetry.calls.timing import TimedPhase, TimedTool
from telemetry.clock import Clock, Instant
from telemetry.semconv.attributes import (
    OTHER,
    CallId,
    EndReason,
    Fault,
    MessageProblem,
    RejectionReason,
    Stage,
    TenantId,
    UnansweredReason,
    Violation,
)


class StateListener(Protocol):
    """The tracker, as its calls see it."""

    def moved(self, call: "Call", before: CallState, after: CallState) -> None:
        """Take note that the call's state has changed."""
        ...


@dataclass(frozen=True, slots=True)
class CallSnapshot:
    """One call at one moment, as plain values."""

    call_id: CallId
    tenant_id: TenantId
    state: CallState
    received: Instant
    started: Instant | None
    last_seen: Instant
    ending: bool
    """True once the call was referred or is being hung up."""
    holds_slot: bool
    """False for a call that is only observed and takes no capacity."""


class ClosedCall(NamedTuple):
    """The part of a finished call that the tracker keeps, to tell late reports from repeated ones."""

    ref: CallRef
    state: CallState
    made: int
    """The transitions it made, as the sum of their bits."""


class Call:
    """One call's state machine. Every method may be called at any time, from any thread, any number of times.

    Methods that report a transition return True if it was made; a duplicate or impossible one changes nothing, is
    counted as a violation and returns False. ``at`` defaults to now. Events leave one at a time, in the order of the
    call's states.
    """

    __slots__ = (
        "_began",
        "_billed",
        "_clock",
        "_conversation",
        "_ending",
        "_heard",
        "_last_seen",
        "_listener",
        "_made",
        "_model",
        "_received",
        "_scopes",
        "_sink",
        "_started",
        "_state",
        "exclusive",
        "holds_slot",
        "ref",
    )

    def __init__(
        self,
        ref: CallRef,
        received: Instant,
        *,
        sink: Sink,
        scopes: Scopes,
        clock: Clock,
        listener: StateListener,
        state: CallState = CallState.PENDING,
        made: int = Transition.RECEIVED.bit,
        holds_slot: bool = True,
    ) -> None:
        self.ref = ref
        self._received = received
        self._sink = sink
        self._scopes = scopes
        self._clock = clock
        self._listener = listener
        self.exclusive = RLock()
        """Held while the call changes or one of its events is on its way."""
        self._state = state
        self._made = made
        self.holds_slot = holds_slot
        """True if the call takes a place of its tenant's capacity, False if it is only observed."""
        self._started: Instant | None = None
        self._began: Instant | None = None
        # When the session began, in whichever process.
        self._last_seen = received
        self._heard: Instant | None = None
        self._billed = 0.0
        self._ending = False
        self._model: str | None = None
        self._conversation = Conversation(ref, received)

    @property
    def call_id(self) -> CallId:
        """The carrier's id of the call."""
        return self.ref.call_id

    @property
    def tenant_id(self) -> TenantId:
        """The tenant the call belongs to."""
        return self.ref.tenant_id

    @property
    def state(self) -> CallState:
        """The call's state."""
        return self._state

    @property
    def last_seen(self) -> Instant:
        """The moment of the last activity."""
        return self._last_seen

    @property
    def last_heard(self) -> Instant:
        """The moment from which the call counts as silent: the last activity, or the last report's arrival if later."""
        return self._last_seen if self._heard is None else max(self._last_seen, self._heard)

    @property
    def closed(self) -> ClosedCall:
        """The part of the call to keep once it is over."""
        return ClosedCall(self.ref, self._state, self._made)

    def snapshot(self) -> CallSnapshot:
        """Return the call as it is at this moment."""
        with self.exclusive:
            return CallSnapshot(
                self.ref.call_id,
                self.ref.tenant_id,
                self._state,
                self._received,
                self._started,
                self._last_seen,
                self._ending,
                self.holds_slot,
            )

    # Transitions ------------------------------------------------------------------------------------------------------

    def accepted(self, at: Instant | None = None, *, resumed: bool = False) -> bool:
        """Report that the carrier took the acceptance; ``resumed`` if it did so for the call's previous process."""
        now = at or self._clock.now()
        with self.exclusive:
            return self._step(Transition.ACCEPTED, now) and self._emit(
                CallAccepted(now, self.ref, now.since(self._received), resumed)
            )

    def rejected(
        self,
        reason: RejectionReason,
        *,
        limit: LimitHit | None = None,
        error_type: str | None = None,
        at: Instant | None = None,
    ) -> bool:
        """Report that the call is turned away; ``limit`` is the limit reached if capacity was the reason."""
        now = at or self._clock.now()
        with self.exclusive:
            return self._step(Transition.REJECTED, now) and self._emit(
                CallRejected(now, self.ref, reason, now.since(self._received), limit, error_type)
            )

    def unanswered(self, reason: UnansweredReason, *, error_type: str | None = None, at: Instant | None = None) -> bool:
        """Report that the other side gave up, was busy or did not answer before the call was decided."""
        now = at or self._clock.now()
        with self.exclusive:
            return self._step(Transition.UNANSWERED, now) and self._emit(
                CallUnanswered(now, self.ref, reason, error_type)
            )

    def started(self, at: Instant | None = None, *, resumed: bool = False) -> bool:
        """Report that the media session runs: from here on time is billed; ``resumed`` if it began elsewhere."""
        now = at or self._clock.now()
        with self.exclusive:
            if not self._step(Transition.STARTED, now):
                return False
            self._started = now
            return self._emit(CallStarted(now, self.ref, resumed, self._model))

    def continues(self, before: CallBefore, since: Instant) -> None:
        """Go on with what another process recorded, observing the conversation ``since`` this moment.

        Its moments stand, and what it has told is neither told again nor numbered anew.
        """
        with self.exclusive:
            self._received, self._began = before.received, before.started
            heard = before.first_audio is not None
            self._conversation = Conversation(self.ref, before.received, turns=before.turns, heard=heard, since=since)

    def abandoned(self, reason: EndReason, *, error_type: str | None = None, at: Instant | None = None) -> bool:
        """Report that the accepted call will never start."""
        now = at or self._clock.now()
        with self.exclusive:
            return self._step(Transition.ABANDONED, now) and self._emit(
                CallAbandoned(now, self.ref, reason, error_type)
            )

    def referred(self, target: str | None = None, at: Instant | None = None) -> bool:
        """Report that the carrier took the transfer to ``target`` (a configured name); the end follows."""
        now = at or self._clock.now()
        with self.exclusive:
            if not self._step(Transition.REFERRED, now):
                return False
            self._ending = True
            return self._emit(CallReferred(now, self.ref, target))

    def ended(
        self,
        reason: EndReason,
        *,
        error_type: str | None = None,
        fault: Fault | None = None,
        at: Instant | None = None,
    ) -> bool:
        """Report that the started call is over. A ``stale`` one lasted only to its last activity.

        It counts as failed if there is an ``error_type``; reason ``error`` without one gets ``_other``.
        """
        now = at or self._clock.now()
        with self.exclusive:
            # Of a stale call nothing is known after its last activity, so no silence is measured there.
            self._end_conversation(min(now, self._last_seen) if reason is EndReason.STALE else now)
            return self._step(Transition.ENDED, now) and self._emit(self._end(now, reason, error_type, fault))

    def handed_over(self, at: Instant | None = None, *, lost: bool = False) -> bool:
        """Report that this process leaves the call to another: it ends here, without an end being counted.

        Args:
            at: the moment it was left; now unless given.
            lost: another process has taken the call meanwhile, and bills the time since the last heartbeat.
        """
        now = at or self._clock.now()
        with self.exclusive:
            left = self._state
            unbilled = 0.0 if self._started is None or lost else max(0.0, now.since(self._started) - self._billed)
            self._end_conversation(now)
            return self._step(Transition.HANDED_OVER, now) and self._emit(CallHandedOver(now, self.ref, left, unbilled))

    def finish(
        self,
        reason: EndReason,
        *,
        error_type: str | None = None,
        fault: Fault | None = None,
        at: Instant | None = None,
    ) -> bool:
        """End the call from whatever state it is in: pending is rejected, accepted abandoned, started ended.

        For ``finally`` blocks. Returns False, without a violation, if the call is over already.
        """
        with self.exclusive:
            if self._state is CallState.PENDING:
                return self.rejected(RejectionReason.CARRIER_ERROR, error_type=error_type or reason.value, at=at)
            if self._state is CallState.ACCEPTED:
                return self.abandoned(reason, error_type=error_type, at=at)
            if self._state is CallState.STARTED:
                return self.ended(reason, error_type=error_type, fault=fault, at=at)
            return False

    # Activity and billing ---------------------------------------------------------------------------------------------

    def seen(self, at: Instant | None = None) -> None:
        """Note activity of the call, without billing."""
        now = at or self._clock.now()
        with self.exclusive:
            self._last_seen = max(self._last_seen, now)

    def arrived(self, at: Instant) -> None:
        """Note the arrival of a report whose own time may lie apart: the call lives, and no time is billed for it."""
        with self.exclusive:
            self._heard = at if self._heard is None else max(self._heard, at)

    def heartbeat(self, at: Instant | None = None) -> None:
        """Note activity of the call and bill the time up to it."""
        now = at or self._clock.now()
        self.seen(now)
        self.bill(now)

    def bill(self, at: Instant | None = None) -> None:
        """Bill the time since the last billing, up to the last activity and no further."""
        now = at or self._clock.now()
        with self.exclusive:
            if self._state is not CallState.STARTED or self._started is None:
                return
            unbilled = min(now, self._last_seen).since(self._started) - self._billed
            if unbilled > 0:
                self._billed += unbilled
                self._emit(CallHeartbeat(now, self.ref, unbilled))

    def ending(self, *, under_way: bool = True) -> None:
        """Note that the call is being hung up or handed off, or that nothing came of it; the end is reported later."""
        self._ending = under_way

    # Phases -----------------------------------------------------------------------------------------------------------

    def phase(self, phase: Phase, target: str | None = None) -> AbstractContextManager[None]:
        """Time a phase; spans made inside join the call's trace. An exception marks it failed.

        Args:
            phase: The phase that begins with the context.
            target: The configured name of a transfer's destination.
        """
        return TimedPhase(self.ref, self._report, self._scopes, self._clock, phase, target)

    def attach_try(self, resends: int) -> AbstractContextManager[None]:
        """Time one try to attach to the media session, after so many that failed."""
        return TimedPhase(self.ref, self._report, self._scopes, self._clock, Phase.ATTACH, resends=resends)

    def passed(self, phase: Phase, started: Instant, *, error_type: str | None = None, resends: int = 0) -> None:
        """Report a phase that is over already, such as the one before the call was known."""
        self._report(PhaseEnded(self._clock.now(), self.ref, phase, started, error_type, resends=resends))

    def instructions_failed(self, error_type: str) -> None:
        """Report that the tenant's instructions could not be read."""
        self._report(InstructionsFailed(self._clock.now(), self.ref, error_type))

    def fallback_used(self) -> None:
        """Report that the fallback instructions are used."""
        self._report(FallbackUsed(self._clock.now(), self.ref))

    # The conversation -------------------------------------------------------------------------------------------------

    def caller_started_speaking(self, at: Instant | None = None) -> None:
        """Report that the caller begins to speak."""
        self._converse(self._conversation.caller_started, at)

    def caller_stopped_speaking(self, at: Instant | None = None) -> None:
        """Report that the caller stops speaking; the wait for the answer begins."""
        self._converse(self._conversation.caller_stopped, at)

    def agent_started_speaking(self, at: Instant | None = None) -> None:
        """Report that the caller begins to hear the agent."""
        self._converse(self._conversation.agent_started, at)

    def agent_stopped_speaking(self, *, interrupted: bool = False, at: Instant | None = None) -> None:
        """Report that the agent's audio ended; ``interrupted`` if the caller cut it short."""
        self._converse(lambda now: self._conversation.agent_stopped(now, interrupted=interrupted), at)

    def unobserved(self, at: Instant | None = None) -> None:
        """Note that the session is out of sight: what is being said ends here, as far as anybody will know."""
        now = at or self._clock.now()
        with self.exclusive:
            if self._state not in TERMINAL:
                for event in self._conversation.unobserved(now):
                    self._sink.emit(event)

    def unusable_message(self, problem: MessageProblem) -> None:
        """Report a message of the session, or a number in it, that could not be used."""
        self._report(MessageUnusable(self._clock.now(), self.ref, problem))

    def stage_waited(self, stage: Stage, seconds: float) -> None:
        """Report how long one stage of an answer took, where the source tells stages apart."""
        self._report(StageWaited(self._clock.now(), self.ref, stage, seconds))

    def runs_on(self, model: str) -> None:
        """Note the configured model that the agent runs on, which a failure of the call is counted by."""
        self._model = model

    def tokens_used(self, usage: TokenUsage, model: str, response_id: str | None = None) -> None:
        """Report the tokens of one response. Each response once: usage is per response, not cumulative."""
        self._report(TokensUsed(self._clock.now(), self.ref, usage, model, response_id))

    def session_error(self, code: str) -> None:
        """Report an error the carrier sent inside the session, which goes on."""
        self._report(SessionError(self._clock.now(), self.ref, code))

    def heard(self, content: Content, text: str, tool_call_id: str | None = None) -> None:
        """Report what was said, pressed or passed to a tool; recorded only if the tenant allows content."""
        self._report(ContentHeard(self._clock.now(), self.ref, content, text, tool_call_id))

    def tool(self, name: str, tool_call_id: str) -> AbstractContextManager[None]:
        """Time a tool the model asked for; an exception marks it failed."""
        return TimedTool(self.ref, self._report, self._scopes, self._clock, name, tool_call_id)

    def has_made(self, transition: Transition) -> bool:
        """Return True if the call has made the transition."""
        return bool(self._made & transition.bit)

    def inferred(self, transition: Transition, at: Instant) -> None:
        """Note that a transition was never reported and follows from what was; report the transition itself besides."""
        self._report(TransitionInferred(at, self.ref, transition))

    # Internals --------------------------------------------------------------------------------------------------------

    def repeated(self) -> None:
        """Count one more announcement of the call as a duplicate."""
        with self.exclusive:
            self._violate(Transition.RECEIVED, Violation.DUPLICATE, self._clock.now())

    def _step(self, transition: Transition, now: Instant) -> bool:
        violation = violation_of(transition, self._state, made_before=bool(self._made & transition.bit))
        if violation is not None:
            self._violate(transition, violation, now)
            return False
        before, self._state = self._state, STEPS[transition][1]
        self._made |= transition.bit
        if self._state not in TERMINAL:
            self._last_seen = max(self._last_seen, now)
        self._listener.moved(self, before, self._state)
        return True

    def _end(self, now: Instant, reason: EndReason, error_type: str | None, fault: Fault | None) -> CallEnded:
        started = self._started or now
        last_moment = min(now, max(self._last_seen, started)) if reason is EndReason.STALE else now
        # Heartbeats have counted this much time already, so the duration is never less.
        billed = max(last_moment.since(started), self._billed)
        elsewhere = 0.0 if self._began is None else max(0.0, started.since(self._began))
        if reason is EndReason.ERROR:
            error_type = error_type or OTHER
        return CallEnded(
            now, self.ref, reason, elsewhere + billed, billed - self._billed, error_type, fault, self._model
        )

    def _end_conversation(self, now: Instant) -> None:
        if self._state is CallState.STARTED:
            for event in self._conversation.ended(now):
                self._sink.emit(event)

    def _violate(self, transition: Transition, violation: Violation, now: Instant) -> None:
        self._emit(LifecycleViolated(now, self.ref, violation, transition.value))

    def _converse(self, step: Callable[[Instant], list[Event]], at: Instant | None) -> None:
        now = at or self._clock.now()
        with self.exclusive:
            self._last_seen = max(self._last_seen, now)
            if self._state not in TERMINAL:
                for event in step(now):
                    self._sink.emit(event)

    def _emit(self, event: Event) -> bool:
        self._sink.emit(event)
        return True

    def _report(self, event: Event) -> None:
        with self.exclusive:
            self._sink.emit(event)
