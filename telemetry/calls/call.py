"""The handle call code holds: it reports what happens, and only what the lifecycle allows becomes an event."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import RLock
from types import TracebackType
from typing import NamedTuple, Protocol

from telemetry.calls.conversation import Conversation
from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallHeartbeat,
    CallRef,
    CallReferred,
    CallRejected,
    CallStarted,
    Content,
    ContentHeard,
    Event,
    FallbackUsed,
    InstructionsFailed,
    LifecycleViolated,
    LimitHit,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    TokensUsed,
    TokenUsage,
    ToolEnded,
    ToolStarted,
)
from telemetry.calls.lifecycle import PATHS, STEPS, TERMINAL, CallState, Transition, violation_of
from telemetry.calls.sinks import NoopScopes, NoopSink, Scopes, Sink
from telemetry.clock import Clock, Instant
from telemetry.semconv.attributes import OTHER, CallId, EndReason, RejectionReason, TenantId, Violation

Emit = Callable[[Event], object]
"""Where an event goes."""


class TypedError(Exception):
    """A failure that says its own ``error.type``, such as the status a carrier answered, where its class says less."""

    error_type: str
    """Low in cardinality: it becomes a metric's label."""


@dataclass(slots=True)
class Timed(ABC):
    """A context manager that tells of its beginning and its end. An exception passes through and marks it failed."""

    call: CallRef
    emit: Emit
    scopes: Scopes
    clock: Clock
    began: Instant = field(init=False)
    _scope: AbstractContextManager[object] = field(init=False)

    def __enter__(self) -> None:
        self.began = self.clock.now()
        self.emit(self._begun())
        self._scope = self.scopes.scope(self.call)
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._scope.__exit__(kind, error, traceback)
        finally:
            self.emit(self._over(self.clock.now(), None if kind is None else _type_of(kind, error)))

    @abstractmethod
    def _begun(self) -> Event:
        """The event of its beginning."""

    @abstractmethod
    def _over(self, at: Instant, error_type: str | None) -> Event:
        """The event of its end."""


@dataclass(slots=True)
class TimedPhase(Timed):
    """A stretch of the call's path."""

    phase: Phase

    def _begun(self) -> Event:
        return PhaseStarted(self.began, self.call, self.phase)

    def _over(self, at: Instant, error_type: str | None) -> Event:
        return PhaseEnded(at, self.call, self.phase, self.began, error_type)


@dataclass(slots=True)
class TimedTool(Timed):
    """A tool the model asked for."""

    tool: str
    tool_call_id: str

    def _begun(self) -> Event:
        return ToolStarted(self.began, self.call, self.tool, self.tool_call_id)

    def _over(self, at: Instant, error_type: str | None) -> Event:
        return ToolEnded(at, self.call, self.tool, self.tool_call_id, self.began, error_type)


def _type_of(kind: type[BaseException], error: BaseException | None) -> str:
    return error.error_type if isinstance(error, TypedError) else kind.__name__


class StateListener(Protocol):
    """What a call tells the tracker that keeps it."""

    def moved(self, call: "Call", before: CallState, after: CallState) -> None:
        """The call's state has changed."""
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
    """Its end is under way: it was handed off, or is being hung up."""


class ClosedCall(NamedTuple):
    """What is left of a call that is over: enough to tell what is late from what is repeated."""

    ref: CallRef
    state: CallState
    referred: bool


class Call:
    """One call's state machine. Every method may be called at any time, from any thread, any number of times.

    Methods that report a transition answer whether it was made; a duplicate or impossible one changes nothing and is
    counted as a violation. ``at`` defaults to now. A call's events leave one at a time, in the order of its states.
    """

    __slots__ = (
        "_billed",
        "_clock",
        "_conversation",
        "_ending",
        "_last_seen",
        "_received",
        "_referred",
        "_registry",
        "_scopes",
        "_sink",
        "_started",
        "_state",
        "exclusive",
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
        registry: StateListener,
        state: CallState = CallState.PENDING,
        referred: bool = False,
    ) -> None:
        self.ref = ref
        self._received = received
        self._sink = sink
        self._scopes = scopes
        self._clock = clock
        self._registry = registry
        self.exclusive = RLock()
        """Held while the call changes or one of its events is on its way."""
        self._state = state
        self._referred = referred
        self._started: Instant | None = None
        self._last_seen = received
        self._billed = 0.0
        self._ending = False
        self._conversation = Conversation(ref, received)

    @property
    def call_id(self) -> CallId:
        """The carrier's id of the call."""
        return self.ref.call_id

    @property
    def tenant_id(self) -> TenantId:
        """Whose call it is."""
        return self.ref.tenant_id

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._state

    @property
    def last_seen(self) -> Instant:
        """The last sign of life."""
        return self._last_seen

    @property
    def remains(self) -> ClosedCall:
        """What to keep of the call once it is over."""
        return ClosedCall(self.ref, self._state, self._referred)

    def snapshot(self) -> CallSnapshot:
        """The call at this moment."""
        with self.exclusive:
            return CallSnapshot(
                self.ref.call_id,
                self.ref.tenant_id,
                self._state,
                self._received,
                self._started,
                self._last_seen,
                self._ending,
            )

    # Transitions ------------------------------------------------------------------------------------------------------

    def accepted(self, at: Instant | None = None, *, resumed: bool = False) -> bool:
        """The carrier took the acceptance; ``resumed`` if it did so for a process that has let go of the call."""
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
        """The call is turned away; ``limit`` says which limit, where capacity was the reason."""
        now = at or self._clock.now()
        with self.exclusive:
            return self._step(Transition.REJECTED, now) and self._emit(
                CallRejected(now, self.ref, reason, now.since(self._received), limit, error_type)
            )

    def started(self, at: Instant | None = None) -> bool:
        """The media session runs: from here on time is billed."""
        now = at or self._clock.now()
        with self.exclusive:
            if not self._step(Transition.STARTED, now):
                return False
            self._started = now
            return self._emit(CallStarted(now, self.ref))

    def abandoned(self, reason: EndReason, *, error_type: str | None = None, at: Instant | None = None) -> bool:
        """Accepted, but it will never start."""
        now = at or self._clock.now()
        with self.exclusive:
            return self._step(Transition.ABANDONED, now) and self._emit(
                CallAbandoned(now, self.ref, reason, error_type)
            )

    def referred(self, target: str | None = None, at: Instant | None = None) -> bool:
        """The carrier took the hand-off to another destination; report the end when it comes."""
        now = at or self._clock.now()
        with self.exclusive:
            if not self._step(Transition.REFERRED, now):
                return False
            self._ending = True
            return self._emit(CallReferred(now, self.ref, target))

    def ended(self, reason: EndReason, *, error_type: str | None = None, at: Instant | None = None) -> bool:
        """A started call is over. A ``stale`` one lasted only to its last sign of life.

        It counts as failed if there is an ``error_type``; where the reason is ``error`` there always is.
        """
        now = at or self._clock.now()
        with self.exclusive:
            if self._state is CallState.STARTED:
                for event in self._conversation.ended(now):
                    self._sink.emit(event)
            return self._step(Transition.ENDED, now) and self._emit(self._end(now, reason, error_type))

    def finish(self, reason: EndReason, *, error_type: str | None = None, at: Instant | None = None) -> bool:
        """Bring the call to the terminal state its present one leads to; nothing if it is over already.

        For ``finally`` blocks: pending becomes rejected, accepted abandoned, started ended.
        """
        with self.exclusive:
            if self._state is CallState.PENDING:
                return self.rejected(RejectionReason.CARRIER_ERROR, error_type=error_type or reason.value, at=at)
            if self._state is CallState.ACCEPTED:
                return self.abandoned(reason, error_type=error_type, at=at)
            if self._state is CallState.STARTED:
                return self.ended(reason, error_type=error_type, at=at)
            return False

    # Signs of life ----------------------------------------------------------------------------------------------------

    def seen(self, at: Instant | None = None) -> None:
        """The carrier gave a sign that the call lives."""
        now = at or self._clock.now()
        with self.exclusive:
            self._last_seen = max(self._last_seen, now)

    def heartbeat(self, at: Instant | None = None) -> None:
        """The call is known to run: a sign of life, and the time up to it is billed."""
        now = at or self._clock.now()
        self.seen(now)
        self.bill(now)

    def bill(self, at: Instant | None = None) -> None:
        """Bill the time since the last billing, up to the last sign of life and no further."""
        now = at or self._clock.now()
        with self.exclusive:
            if self._state is not CallState.STARTED or self._started is None:
                return
            unbilled = min(now, self._last_seen).since(self._started) - self._billed
            if unbilled > 0:
                self._billed += unbilled
                self._emit(CallHeartbeat(now, self.ref, unbilled))

    def ending(self) -> None:
        """The agent is hanging up; the end itself is reported when the session is over."""
        self._ending = True

    # The path of the call ---------------------------------------------------------------------------------------------

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        """Time a stretch of the call's path; what runs inside joins the call's trace. An exception marks it failed."""
        return TimedPhase(self.ref, self._report, self._scopes, self._clock, phase)

    def passed(self, phase: Phase, started: Instant, *, error_type: str | None = None) -> None:
        """Report a phase that is already over, such as the one before the call was known."""
        self._report(PhaseEnded(self._clock.now(), self.ref, phase, started, error_type))

    def instructions_failed(self, error_type: str) -> None:
        """The tenant's instructions could not be read."""
        self._report(InstructionsFailed(self._clock.now(), self.ref, error_type))

    def fallback_used(self) -> None:
        """The fallback instructions stand in."""
        self._report(FallbackUsed(self._clock.now(), self.ref))

    # The conversation -------------------------------------------------------------------------------------------------

    def caller_started_speaking(self, at: Instant | None = None) -> None:
        """The caller's speech begins."""
        self._talk(self._conversation.caller_started, at)

    def caller_stopped_speaking(self, at: Instant | None = None) -> None:
        """The caller's speech is over; the wait for the answer begins."""
        self._talk(self._conversation.caller_stopped, at)

    def agent_started_speaking(self, at: Instant | None = None) -> None:
        """The caller begins to hear the agent."""
        self._talk(self._conversation.agent_started, at)

    def agent_stopped_speaking(self, *, interrupted: bool = False, at: Instant | None = None) -> None:
        """The agent's audio ended; ``interrupted`` if the caller cut it short."""
        self._talk(lambda now: self._conversation.agent_stopped(now, interrupted=interrupted), at)

    def tokens_used(self, usage: TokenUsage, model: str, response_id: str | None = None) -> None:
        """A response was billed. Each response once: usage is per response, not cumulative."""
        self._report(TokensUsed(self._clock.now(), self.ref, usage, model, response_id))

    def session_error(self, code: str) -> None:
        """The carrier reported an error inside the session, which goes on."""
        self._report(SessionError(self._clock.now(), self.ref, code))

    def heard(self, content: Content, text: str, tool_call_id: str | None = None) -> None:
        """Something was said, pressed or handed to a tool; it is recorded only if the call allows content."""
        self._report(ContentHeard(self._clock.now(), self.ref, content, text, tool_call_id))

    def tool(self, name: str, tool_call_id: str) -> AbstractContextManager[None]:
        """Time a tool the model asked for; an exception marks it failed."""
        return TimedTool(self.ref, self._report, self._scopes, self._clock, name, tool_call_id)

    # How it works -----------------------------------------------------------------------------------------------------

    def repeated(self) -> None:
        """The call was announced once more."""
        with self.exclusive:
            self._violate(Transition.RECEIVED, Violation.DUPLICATE, self._clock.now())

    def _step(self, transition: Transition, now: Instant) -> bool:
        made_before = transition in PATHS[self._state] or (transition is Transition.REFERRED and self._referred)
        violation = violation_of(transition, self._state, made_before=made_before)
        if violation is not None:
            self._violate(transition, violation, now)
            return False
        before, self._state = self._state, STEPS[transition][1]
        self._referred = self._referred or transition is Transition.REFERRED
        if self._state not in TERMINAL:
            self._last_seen = max(self._last_seen, now)
        self._registry.moved(self, before, self._state)
        return True

    def _end(self, now: Instant, reason: EndReason, error_type: str | None) -> CallEnded:
        started = self._started or now
        last_moment = min(now, max(self._last_seen, started)) if reason is EndReason.STALE else now
        # Heartbeats have said that this much time was real, so the duration is never less.
        duration = max(last_moment.since(started), self._billed)
        if reason is EndReason.ERROR:
            error_type = error_type or OTHER
        return CallEnded(now, self.ref, reason, duration, duration - self._billed, error_type)

    def _violate(self, transition: Transition, violation: Violation, now: Instant) -> None:
        self._emit(LifecycleViolated(now, self.ref, violation, transition.value))

    def _talk(self, step: Callable[[Instant], list[Event]], at: Instant | None) -> None:
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


class UntrackedCall(Call):
    """The handle of a call nobody keeps: every report is counted as a violation, none becomes anything else."""

    __slots__ = ("_reports", "_violation")

    def __init__(self, ref: CallRef, violation: Violation, *, sink: Sink, clock: Clock) -> None:
        nothing = NoopSink()
        super().__init__(ref, clock.now(), sink=nothing, scopes=NoopScopes(), clock=clock, registry=_Nowhere())
        self._violation = violation
        self._reports = sink

    def _step(self, transition: Transition, now: Instant) -> bool:
        self._violate(transition, self._violation, now)
        return False

    def _violate(self, transition: Transition, violation: Violation, now: Instant) -> None:  # noqa: ARG002
        # Whatever the state of this stand-in, what broke the lifecycle is that the call is not known.
        self._reports.emit(LifecycleViolated(now, self.ref, self._violation, transition.value))


class _Nowhere:
    """The registry of an untracked call."""

    def moved(self, call: Call, before: CallState, after: CallState) -> None:
        """Keep nothing."""
