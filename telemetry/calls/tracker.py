"""The registry of calls: every call that is open, the last ones that are over, and the slots each tenant holds."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from threading import Lock, RLock
from typing import Final

from telemetry.calls.call import Call, CallSnapshot, ClosedCall
from telemetry.calls.events import (
    CallAnnounced,
    CallBefore,
    CallLost,
    CallReceived,
    CallRef,
    CallTakenOver,
    Event,
    LifecycleViolated,
    Phase,
    PhaseEnded,
    WebhookReceived,
)
from telemetry.calls.lifecycle import TERMINAL, UNSTARTED, CallState, Transition
from telemetry.calls.sinks import NoopScopes, NoopSink, Scopes, Sink
from telemetry.calls.slots import SlotCounter, Usage
from telemetry.calls.timing import TimedPhase
from telemetry.clock import Clock, Instant, SystemClock
from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    UNKNOWN_TENANT,
    CallDirection,
    CallId,
    EndReason,
    Fault,
    TenantId,
    Violation,
    WebhookOutcome,
)

_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
# The places in a type's name at which a word begins.

_CALLS_AT_ONCE: Final = 100
# Calls billed before an event loop may go on: some milliseconds.

_TENANTS_PER_LOCK: Final = 100
# Tenants visited before the lock is released for waiting calls: a fraction of a millisecond.


class UntrackedCall(Call):
    """The handle of a call the tracker does not keep: every report about it is counted as a violation."""

    __slots__ = ("_reports", "_violation")

    def __init__(self, ref: CallRef, violation: Violation, *, sink: Sink, clock: Clock) -> None:
        nothing = NoopSink()
        super().__init__(ref, clock.now(), sink=nothing, scopes=NoopScopes(), clock=clock, listener=_NoListener())
        self._violation = violation
        self._reports = sink

    def _step(self, transition: Transition, now: Instant) -> bool:
        self._violate(transition, self._violation, now)
        return False

    def _violate(self, transition: Transition, violation: Violation, now: Instant) -> None:  # noqa: ARG002
        # The stand-in's own state says nothing: what broke the lifecycle is that the call is not tracked.
        self._drop(transition.value, now)

    def seen(self, at: Instant | None = None) -> None:
        """Count a report of activity."""
        self._drop("seen", at)

    def heartbeat(self, at: Instant | None = None) -> None:
        """Count a heartbeat."""
        self._drop("heartbeat", at)

    def _converse(self, step: Callable[[Instant], list[Event]], at: Instant | None) -> None:  # noqa: ARG002
        self._drop("speech", at)

    def _report(self, event: Event) -> None:
        self._drop(_CAPITAL.sub("_", type(event).__name__).lower(), event.at)

    def _drop(self, reported: str, at: Instant | None) -> None:
        self._reports.emit(LifecycleViolated(at or self._clock.now(), self.ref, self._violation, reported))


class _NoListener:
    """The listener of an untracked call."""

    def moved(self, call: Call, before: CallState, after: CallState) -> None:
        """Do nothing."""


class CallTracker:
    """One state machine a call; together they are the registry.

    Thread-safe. Holds at most ``max_open`` open calls and ``max_remembered`` that are over; those
    make late and duplicate reports recognisable.
    """

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        clock: Clock | None = None,
        scopes: Scopes | None = None,
        max_open: int = 100_000,
        max_remembered: int = 10_000,
    ) -> None:
        self._sink = sink or NoopSink()
        self._clock = clock or SystemClock()
        self._scopes = scopes or NoopScopes()
        self._max_open = max_open
        self._max_remembered = max_remembered
        self._lock = Lock()
        self._open: dict[CallId, Call] = {}
        self._over: OrderedDict[CallId, ClosedCall] = OrderedDict()
        self._total = SlotCounter()
        self._tenants: dict[TenantId, SlotCounter] = {}

    @property
    def clock(self) -> Clock:
        """The source of the tracker's time."""
        return self._clock

    def announced(self, call_id: CallId | str, *, at: Instant, traceparent: str | None = None) -> CallRef:
        """Report a call whose tenant must still be found: its trace begins, nothing counts yet.

        Report it with :meth:`received` in any case; until then, :meth:`phase` times what is done for it.
        """
        ref = CallRef(CallId(call_id), UNKNOWN_TENANT)
        if not self.knows(ref.call_id):
            self._sink.emit(CallAnnounced(at, ref, traceparent))
        return ref

    def phase(self, announced: CallRef, phase: Phase) -> AbstractContextManager[None]:
        """Time a phase of a call not received yet."""
        return TimedPhase(announced, self._sink.emit, self._scopes, self._clock, phase)

    def passed(self, announced: CallRef, phase: Phase, started: Instant, *, ended: Instant | None = None) -> None:
        """Report a phase of a call not received yet that is over: since ``ended``, or now."""
        self._sink.emit(PhaseEnded(ended or self._clock.now(), announced, phase, started))

    @property
    def has_room(self) -> bool:
        """True if one more call can be tracked."""
        return len(self._open) < self._max_open

    def received(
        self,
        call_id: CallId | str,
        tenant_id: TenantId | str,
        *,
        at: Instant | None = None,
        caller: str | None = None,
        dialled: str | None = None,
        traceparent: str | None = None,
        continues: str | None = None,
        content: bool = False,
        direction: CallDirection = CallDirection.INBOUND,
        source: str = DIRECT_SOURCE,
        holds_slot: bool = True,
        resumed: bool = False,
    ) -> Call:
        """Report a call that came in and return its handle; it is pending from here on.

        Args:
            call_id: the carrier's id; one that is known already counts a duplicate, and its handle is returned.
            tenant_id: the tenant the dialled number belongs to.
            at: when the call was announced; now unless given.
            caller: E.164; shown masked and hashed only.
            dialled: E.164; shown masked only.
            traceparent: a W3C trace context from outside: linked, never the parent.
            continues: the W3C trace context of this call in the process that had it before: the parent.
            content: the tenant allows content on spans.
            direction: inbound unless given.
            source: the configured name of the gateway or carrier that reports the call.
            holds_slot: False for a call that is only observed and takes no capacity.
            resumed: another process was told of the call before, see :meth:`taken_over`.
        """
        ref = CallRef(CallId(call_id), TenantId(tenant_id), direction, source)
        moment = at or self._clock.now()
        call = self._handle(ref, moment, holds_slot=holds_slot)
        # Another thread may find the call as soon as it is registered, and must wait until its first event is out.
        with call.exclusive:
            entered = self._enter(call)
            if entered is call:
                self._sink.emit(CallReceived(moment, ref, caller, dialled, traceparent, continues, content, resumed))
        if entered is not call:
            entered.repeated()
        return entered

    def taken_over(
        self,
        call_id: CallId | str,
        tenant_id: TenantId | str,
        state: CallState,
        *,
        at: Instant | None = None,
        since: Instant | None = None,
        before: CallBefore | None = None,
        model: str | None = None,
        continues: str | None = None,
        content: bool = False,
        direction: CallDirection = CallDirection.INBOUND,
        source: str = DIRECT_SOURCE,
    ) -> Call:
        """Report that this process goes on with a call of another, and return its handle, in ``state``.

        The call counts as received, and as accepted and started if it was; ``taken_over`` says that another process
        counted it before.

        Args:
            call_id: the carrier's id; of a call that is known here the handle is returned and nothing else happens.
            tenant_id: the tenant the call belongs to.
            state: the state that the other process left it in: pending, accepted or started.
            at: the moment it counts as received here; now unless given.
            since: the moment from which its time is billed here, if it was started; ``at`` unless given.
            before: what is on record of it from before.
            model: the model that speaks, if it was started.
            continues: the W3C trace context of the call in the other process.
            content: the tenant allows content on spans.
            direction: inbound unless given.
            source: the configured name of the gateway or carrier that reports the call.

        Raises:
            ValueError: ``state`` is one that a call cannot be gone on with.
        """
        if state in TERMINAL:
            raise ValueError(f"a call that is {state.value} cannot be taken over")
        if self.knows(call_id):
            return self.call(call_id)
        moment = at or self._clock.now()
        call = self.received(
            call_id,
            tenant_id,
            at=moment,
            continues=continues,
            content=content,
            direction=direction,
            source=source,
            resumed=True,
        )
        with call.exclusive:
            now = self._clock.now()
            if before is not None:
                call.continues(before, now)
            if model is not None:
                call.runs_on(model)
            self._sink.emit(CallTakenOver(now, call.ref, state, before))
            if state is not CallState.PENDING:
                call.accepted(since or moment, resumed=True)
            if state is CallState.STARTED:
                call.started(since or moment, resumed=True)
        return call

    def lost(
        self,
        call_id: CallId | str,
        tenant_id: TenantId | str,
        state: CallState,
        before: CallBefore,
        *,
        at: Instant,
        continues: str | None = None,
        direction: CallDirection = CallDirection.INBOUND,
        source: str = DIRECT_SOURCE,
    ) -> None:
        """Report that a call of a process that is gone was over when it was looked for. No instrument counts it.

        Args:
            call_id: the carrier's id; nothing happens if the call is known here.
            tenant_id: the tenant the call belonged to.
            state: the state that the other process left it in.
            before: what is on record of it.
            at: its last activity.
            continues: the W3C trace context of the call in the other process.
            direction: inbound unless given.
            source: the configured name of the gateway or carrier that reported the call.
        """
        if not self.knows(call_id):
            ref = CallRef(CallId(call_id), TenantId(tenant_id), direction, source)
            self._sink.emit(CallLost(at, ref, state, before, continues))

    def call(self, call_id: CallId | str) -> Call:
        """Return the handle of a call, open or over; that of an unknown call counts each transition as a violation."""
        with self._lock:
            known = self._known(CallId(call_id))
        return known or self._untracked(CallRef(CallId(call_id), UNKNOWN_TENANT), Violation.UNKNOWN_CALL)

    def knows(self, call_id: CallId | str) -> bool:
        """Return True if the call is open, or over and still remembered; one left to another process is not known."""
        with self._lock:
            closed = self._over.get(CallId(call_id))
            return call_id in self._open or (closed is not None and closed.state is not CallState.HANDED_OVER)

    def webhook(self, outcome: WebhookOutcome) -> None:
        """Report that a webhook delivery was answered."""
        self._sink.emit(WebhookReceived(self._clock.now(), outcome))

    def open_calls(self) -> list[CallSnapshot]:
        """Return every call that is not over, oldest first."""
        with self._lock:
            calls = list(self._open.values())
        snapshots = [call.snapshot() for call in calls]
        return sorted((s for s in snapshots if not s.state.terminal), key=lambda s: s.received)

    def usage(self, tenant_id: TenantId | None = None) -> Usage:
        """Return the slots held by one tenant, or by all together if ``tenant_id`` is None."""
        with self._lock:
            slots = self._total if tenant_id is None else self._tenants.get(tenant_id)
            return Usage(0, 0, 0) if slots is None else slots.usage(self._clock.now())

    def tenant_usage(self) -> Mapping[TenantId, Usage]:
        """Return the slots held, of each tenant that held one in the last five minutes.

        One tenant's numbers are of one moment; those of different tenants are milliseconds apart.
        """
        usages = ((tenant_id, slots.usage(now)) for tenant_id, slots, now in self._each_tenant())
        return {tenant_id: usage for tenant_id, usage in usages if usage.peak_in_use or usage.in_use}

    def bill_running(self) -> None:
        """Bill every running call up to its last activity."""
        for _ in self.billing():
            pass

    def billing(self) -> Iterator[int]:
        """Do the same in parts: after each hundred calls yield how many parts are left, so that others can go on."""
        with self._lock:
            calls = list(self._open.values())
        starts = range(0, len(calls), _CALLS_AT_ONCE)
        for done, start in enumerate(starts, start=1):
            now = self._clock.now()
            for call in calls[start : start + _CALLS_AT_ONCE]:
                call.bill(now)
            yield len(starts) - done

    def sweep(self, stale_after_seconds: float, *, fault: Fault | None = None) -> list[CallId]:
        """End every call without activity for longer than this, as ``stale``, and return their ids.

        Args:
            stale_after_seconds: the longest silence of a call that lives.
            fault: the party whose doing such a silence is; None if it may be anybody's.
        """
        now = self._clock.now()
        with self._lock:
            silent = [call for call in self._open.values() if now.since(call.last_heard) > stale_after_seconds]
        for tenant_id, slots, moment in self._each_tenant():
            usage = slots.usage(moment)
            if not (usage.peak_in_use or usage.in_use):
                del self._tenants[tenant_id]
        return [call.call_id for call in silent if call.finish(EndReason.STALE, fault=fault, at=now)]

    def oldest_silence(self) -> float:
        """Return the longest time since the last activity of a started call, in seconds; 0 when none runs."""
        now = self._clock.now()
        with self._lock:
            calls = [call for call in self._open.values() if call.state is CallState.STARTED]
        return max((now.since(call.last_heard) for call in calls), default=0.0)

    def after_fork(self) -> None:
        """Replace the locks in a forked child: a thread of the parent may have held them at the fork."""
        self._lock = Lock()
        for call in self._open.values():
            call.exclusive = RLock()

    def moved(self, call: Call, before: CallState, after: CallState) -> None:
        """Adjust the slots to a call's change of state; the call itself calls this."""
        with self._lock:
            if before is not after and call.holds_slot:
                self._count(
                    call.tenant_id,
                    (after in UNSTARTED) - (before in UNSTARTED),
                    (after is CallState.STARTED) - (before is CallState.STARTED),
                    undecided=(after is CallState.PENDING) - (before is CallState.PENDING),
                )
            if after in TERMINAL:
                self._remember(call)

    def _each_tenant(self) -> Iterator[tuple[TenantId, SlotCounter, Instant]]:
        """Yield every tenant's slots under the lock, which is released every hundred tenants for waiting calls."""
        with self._lock:
            tenants = list(self._tenants)
        for start in range(0, len(tenants), _TENANTS_PER_LOCK):
            with self._lock:
                now = self._clock.now()
                for tenant_id in tenants[start : start + _TENANTS_PER_LOCK]:
                    slots = self._tenants.get(tenant_id)
                    if slots is not None:
                        yield tenant_id, slots, now

    def _enter(self, call: Call) -> Call:
        """Register the call and return it; or return the one known by its id, or a stand-in if there is no room."""
        with self._lock:
            known = self._known(call.call_id)
            if known is not None and known.state is not CallState.HANDED_OVER:
                return known
            if len(self._open) >= self._max_open:
                return self._untracked(call.ref, Violation.OVERFLOW)
            # One that was left to another process may come back.
            self._over.pop(call.call_id, None)
            self._open[call.call_id] = call
            if call.holds_slot:
                self._count(call.tenant_id, 1, 0, undecided=1)
            return call

    def _known(self, call_id: CallId) -> Call | None:
        known = self._open.get(call_id)
        if known is not None:
            return known
        closed = self._over.get(call_id)
        if closed is None:
            return None
        return self._handle(closed.ref, self._clock.now(), closed.state, made=closed.made)

    def _handle(
        self,
        ref: CallRef,
        received: Instant,
        state: CallState = CallState.PENDING,
        *,
        made: int = Transition.RECEIVED.bit,
        holds_slot: bool = True,
    ) -> Call:
        return Call(
            ref,
            received,
            sink=self._sink,
            scopes=self._scopes,
            clock=self._clock,
            listener=self,
            state=state,
            made=made,
            holds_slot=holds_slot,
        )

    def _untracked(self, ref: CallRef, violation: Violation) -> UntrackedCall:
        return UntrackedCall(ref, violation, sink=self._sink, clock=self._clock)

    def _remember(self, call: Call) -> None:
        self._open.pop(call.call_id, None)
        self._over[call.call_id] = call.closed
        while len(self._over) > self._max_remembered:
            self._over.popitem(last=False)

    def _count(self, tenant_id: TenantId, pending: int, active: int, *, undecided: int) -> None:
        now = self._clock.now()
        slots = self._tenants.get(tenant_id)
        if slots is None:
            slots = self._tenants[tenant_id] = SlotCounter()
        slots.count(now, pending, active, undecided=undecided)
        self._total.count(now, pending, active, undecided=undecided)
