"""The registry of calls: every call that is open, the last ones that are over, and how many each tenant holds."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock

from telemetry.calls.call import Call, CallSnapshot, ClosedCall, TimedPhase, UntrackedCall
from telemetry.calls.events import CallAnnounced, CallReceived, CallRef, Phase, PhaseEnded, WebhookReceived
from telemetry.calls.lifecycle import TERMINAL, UNSTARTED, CallState
from telemetry.calls.sinks import NoopScopes, NoopSink, Scopes, Sink
from telemetry.clock import Clock, Instant, SystemClock
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId, EndReason, TenantId, Violation, WebhookOutcome

PEAK_WINDOW_SECONDS = 300.0
"""How far back a peak looks."""
_STEP_SECONDS = 5.0


# The peak is kept per step, so that a history is at most 62 pairs however busy a tenant is.
@dataclass(frozen=True, slots=True)
class Usage:
    """How many calls hold a slot."""

    pending: int
    active: int
    peak_in_use: int
    """The most slots held at once in the last five minutes."""

    @property
    def in_use(self) -> int:
        """Slots held now."""
        return self.pending + self.active


class SlotCounter:
    """Counts slots and remembers the peak. Not safe for threads by itself: the tracker's lock guards it."""

    __slots__ = ("_active", "_most", "_past", "_pending", "_step")

    def __init__(self) -> None:
        self._pending = 0
        self._active = 0
        self._step = 0.0
        self._most = 0
        # The most slots held in this step, and in those before it but for those that a later one equals.
        self._past: list[tuple[float, int]] = []

    def count(self, now: Instant, pending: int, active: int, *, decided: bool) -> None:
        """Take or give back slots. A call counts in the peak once it is ``decided`` that it keeps its slot.

        One that finds no room is pending for as long as it takes to say so; that is no slot anybody had.
        """
        before = self._pending + self._active
        self._pending += pending
        self._active += active
        if decided:
            step = now.monotonic // _STEP_SECONDS
            if step > self._step:
                self._begin(step)
            self._most = max(self._most, before, before + pending + active)

    def usage(self, now: Instant) -> Usage:
        """The slots held now and at the peak."""
        step = now.monotonic // _STEP_SECONDS
        if step > self._step:
            self._begin(step)
        peak = self._past[0][1] if self._past else 0
        return Usage(self._pending, self._active, max(peak, self._most, self._pending + self._active))

    def _begin(self, step: float) -> None:
        past = self._past
        while past and past[-1][1] <= self._most:
            past.pop()
        if self._most:
            past.append((self._step, self._most))
        self._step, self._most = step, 0
        while past and past[0][0] < step - PEAK_WINDOW_SECONDS / _STEP_SECONDS:
            del past[0]


_TALLIES_AT_ONCE = 100


# So many are gone through in a fraction of a millisecond.
class CallTracker:
    """One state machine a call; the sum of them is the registry.

    Safe to use from any thread. Holds at most ``max_open`` open calls and ``max_remembered`` that are over; the memory
    of what is over is what makes late and duplicate reports recognisable.
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
        """What the tracker takes its time from."""
        return self._clock

    def announced(self, call_id: CallId | str, *, at: Instant, traceparent: str | None = None) -> CallRef:
        """The carrier announces a call whose tenant must still be found: its trace begins, nothing counts yet.

        Report it with :meth:`received` in any case; until then, :meth:`phase` times what is done for it.
        """
        ref = CallRef(CallId(call_id), UNKNOWN_TENANT)
        if not self.knows(ref.call_id):
            self._sink.emit(CallAnnounced(at, ref, traceparent))
        return ref

    def phase(self, announced: CallRef, phase: Phase) -> AbstractContextManager[None]:
        """Time what is done for a call before it is received."""
        return TimedPhase(announced, self._sink.emit, self._scopes, self._clock, phase)

    def passed(self, announced: CallRef, phase: Phase, started: Instant) -> None:
        """Report what was done for a call before it is received, and is over already."""
        self._sink.emit(PhaseEnded(self._clock.now(), announced, phase, started))

    @property
    def has_room(self) -> bool:
        """Whether one more call could be tracked."""
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
    ) -> Call:
        """A call has come in: it is pending from here on. Reported once more, a handle of the same call is answered.

        ``traceparent`` came from outside and is linked; ``continues`` is this call's own trace, begun in a process that
        has let go of it.
        """
        ref = CallRef(CallId(call_id), TenantId(tenant_id))
        moment = at or self._clock.now()
        call = self._handle(ref, moment)
        # Whoever finds the call from its registration on has to wait until its first event is out.
        with call.exclusive:
            entered = self._enter(call)
            if entered is call:
                self._sink.emit(CallReceived(moment, ref, caller, dialled, traceparent, continues, content))
        if entered is not call:
            entered.repeated()
        return entered

    def call(self, call_id: CallId | str) -> Call:
        """The handle of a call, open or lately over. An unknown call's handle takes no transition and counts each."""
        with self._lock:
            known = self._known(CallId(call_id))
        return known or self._untracked(CallRef(CallId(call_id), UNKNOWN_TENANT), Violation.UNKNOWN_CALL)

    def knows(self, call_id: CallId | str) -> bool:
        """Whether the call is open or lately over."""
        with self._lock:
            return call_id in self._open or call_id in self._over

    def webhook(self, outcome: WebhookOutcome) -> None:
        """A webhook delivery was answered."""
        self._sink.emit(WebhookReceived(self._clock.now(), outcome))

    def open_calls(self) -> list[CallSnapshot]:
        """Every call that is not over, oldest first."""
        with self._lock:
            calls = list(self._open.values())
        snapshots = [call.snapshot() for call in calls]
        return sorted((s for s in snapshots if not s.state.terminal), key=lambda s: s.received)

    def usage(self, tenant_id: TenantId | None = None) -> Usage:
        """Slots held by all tenants together, or by one."""
        with self._lock:
            tally = self._total if tenant_id is None else self._tenants.get(tenant_id)
            return Usage(0, 0, 0) if tally is None else tally.usage(self._clock.now())

    def tenant_usage(self) -> Mapping[TenantId, Usage]:
        """Slots held, per tenant seen and with something to tell: slots in use now or in the last five minutes.

        Each tenant's are of one moment, those of different tenants of moments close to each other.
        """
        usages = ((tenant_id, tally.usage(now)) for tenant_id, tally, now in self._tallies())
        return {tenant_id: usage for tenant_id, usage in usages if usage.peak_in_use}

    def bill_running(self) -> None:
        """Bill every running call up to its last sign of life: what a heartbeat does for all of them."""
        now = self._clock.now()
        with self._lock:
            calls = list(self._open.values())
        for call in calls:
            call.bill(now)

    def sweep(self, stale_after_seconds: float) -> list[CallId]:
        """End every call without a sign of life for longer than this, as ``stale``; answers their ids."""
        now = self._clock.now()
        with self._lock:
            silent = [call for call in self._open.values() if now.since(call.last_seen) > stale_after_seconds]
        for tenant_id, tally, moment in self._tallies():
            if not tally.usage(moment).peak_in_use:
                del self._tenants[tenant_id]
        return [call.call_id for call in silent if call.finish(EndReason.STALE, at=now)]

    def oldest_silence(self) -> float:
        """Seconds since the last sign of life of the quietest started call; 0 when none runs."""
        now = self._clock.now()
        with self._lock:
            calls = [call for call in self._open.values() if call.state is CallState.STARTED]
        return max((now.since(call.last_seen) for call in calls), default=0.0)

    def moved(self, call: Call, before: CallState, after: CallState) -> None:
        """Keep the tallies in step with a call's state; called by the call itself."""
        with self._lock:
            if before is not after:
                self._count(
                    call.tenant_id,
                    (after in UNSTARTED) - (before in UNSTARTED),
                    (after is CallState.STARTED) - (before is CallState.STARTED),
                    decided=after is not CallState.REJECTED,
                )
            if after in TERMINAL:
                self._remember(call)

    def _tallies(self) -> Iterator[tuple[TenantId, SlotCounter, Instant]]:
        """Every tenant's tally, under the lock, which is let go of from time to time: calls need it."""
        with self._lock:
            tenants = list(self._tenants)
        for start in range(0, len(tenants), _TALLIES_AT_ONCE):
            with self._lock:
                now = self._clock.now()
                for tenant_id in tenants[start : start + _TALLIES_AT_ONCE]:
                    tally = self._tenants.get(tenant_id)
                    if tally is not None:
                        yield tenant_id, tally, now

    def _enter(self, call: Call) -> Call:
        """The call itself, now registered; or the one already known by its id; or, for want of room, a stand-in."""
        with self._lock:
            known = self._known(call.call_id)
            if known is not None:
                return known
            if len(self._open) >= self._max_open:
                return self._untracked(call.ref, Violation.OVERFLOW)
            self._open[call.call_id] = call
            self._count(call.tenant_id, 1, 0, decided=False)
            return call

    def _known(self, call_id: CallId) -> Call | None:
        known = self._open.get(call_id)
        if known is not None:
            return known
        remains = self._over.get(call_id)
        return (
            None
            if remains is None
            else self._handle(remains.ref, self._clock.now(), remains.state, referred=remains.referred)
        )

    def _handle(
        self, ref: CallRef, received: Instant, state: CallState = CallState.PENDING, *, referred: bool = False
    ) -> Call:
        return Call(
            ref,
            received,
            sink=self._sink,
            scopes=self._scopes,
            clock=self._clock,
            registry=self,
            state=state,
            referred=referred,
        )

    def _untracked(self, ref: CallRef, violation: Violation) -> UntrackedCall:
        return UntrackedCall(ref, violation, sink=self._sink, clock=self._clock)

    def _remember(self, call: Call) -> None:
        self._open.pop(call.call_id, None)
        self._over[call.call_id] = call.remains
        while len(self._over) > self._max_remembered:
            self._over.popitem(last=False)

    def _count(self, tenant_id: TenantId, pending: int, active: int, *, decided: bool) -> None:
        now = self._clock.now()
        tally = self._tenants.get(tenant_id)
        if tally is None:
            tally = self._tenants[tenant_id] = SlotCounter()
        tally.count(now, pending, active, decided=decided)
        self._total.count(now, pending, active, decided=decided)
