"""Owns the calls of this process: starts each one's path, keeps time, sweeps what is dead, drains at the end."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from service.gateway.admission import Admission, IncomingCall, Unplaced
from service.gateway.capacity import Slot
from service.gateway.durability import Announced, DurabilityGate
from service.gateway.session_manager import Attached, SessionManager
from service.periodic import NEVER, PeriodicWorker
from service.records.calls import Ownership
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Clock, Instant, SystemClock
from telemetry.semconv.attributes import OTHER, CallId, EndReason, Fault

MAX_PAUSES: Final = 64
"""Pauses that are remembered; older ones are forgotten first."""


class Pauses:
    """Measures, from heartbeat to heartbeat, for how long this process did not run."""

    def __init__(self, heartbeat_seconds: float) -> None:
        self._longest = 2 * heartbeat_seconds
        # A heartbeat waits for so long, and may take as long again to probe its sessions.
        self._last: Instant | None = None
        self._pauses: deque[tuple[Instant, float]] = deque(maxlen=MAX_PAUSES)

    def heartbeat(self, now: Instant) -> None:
        """Note a heartbeat."""
        late = 0.0 if self._last is None else now.since(self._last) - self._longest
        self._last = now
        if late > 0:
            # Whoever could not be heard meanwhile is also due a probe, and the time to answer it.
            self._pauses.append((now, late + 2 * self._longest))

    def allowed(self, silence_seconds: float, now: Instant) -> float:
        """Return the silence, in seconds up to now, in which this process listened for ``silence_seconds``."""
        allowed = silence_seconds
        for ended, seconds in reversed(self._pauses):
            if now.since(ended) > allowed:
                break
            allowed += seconds
        return allowed


_logger = logging.getLogger(__name__)

DECIDING_AT_ONCE: Final = 2_000
"""Calls being decided upon or turned away, on top of those that run; further ones are asked to come again."""

ANSWER_SECONDS: Final = 4.0
"""Seconds the carrier waits for an answer at most, while the database does not say whose its call is."""

DRAIN_SECONDS: Final = 2.5
"""Seconds that ending the running calls may take, out of the five a stop has."""

PAUSE_SECONDS: Final = 2.0
"""A heartbeat that comes later than this, and than one interval, shows that the process itself stood still."""

_ANSWERS: Final = {
    Ownership.OTHERS: Announced.DUPLICATE,
    Ownership.UNCERTAIN: Announced.REFUSED,
    Ownership.LEFT: Announced.LEFT,
}


class CallManager:
    """One task a call, from its announcement to its end."""

    def __init__(
        self,
        tracker: CallTracker,
        admission: Admission,
        session_manager: SessionManager,
        gate: DurabilityGate,
        *,
        heartbeat_seconds: float,
        stale_seconds: float,
        max_calls: int,
        machine_clock: Clock | None = None,
    ) -> None:
        self._tracker = tracker
        self._admission = admission
        self._session_manager = session_manager
        self._gate = gate
        self._heartbeat_seconds = heartbeat_seconds
        self._stale_seconds = stale_seconds
        self._pauses = Pauses(heartbeat_seconds)
        self._max_tasks = max_calls + DECIDING_AT_ONCE
        self._machine_clock = machine_clock or SystemClock()
        self._last_heartbeat = self._machine_clock.now()
        self._hooks: Sequence[Callable[[], Awaitable[object]]] = ()
        self._tasks: dict[CallId, asyncio.Task[None]] = {}
        self._lost: set[CallId] = set()
        self._left_open: Container[CallId] = ()
        self._recover: Callable[[IncomingCall], Awaitable[None]] = _leave
        self._heartbeat = PeriodicWorker(
            self._run_heartbeat, interval=heartbeat_seconds, failed=_log_heartbeat, name="callscope-heartbeat"
        )
        # Beside the heartbeat: a database that hangs must not stop it.
        self._running_hooks = PeriodicWorker(self._run_hooks, interval=NEVER, failed=_log_hooks, name="callscope-hooks")
        self._billing: Iterator[int] = iter(())
        self._billing_rest = PeriodicWorker(
            self._bill_rest, interval=NEVER, failed=_log_heartbeat, name="callscope-billing"
        )
        self._draining = False
        self._handing_over = False

    @property
    def draining(self) -> bool:
        """True once no new call is taken."""
        return self._draining

    @property
    def busy(self) -> bool:
        """True while any call is on its way."""
        return bool(self._tasks) or self._session_manager.hanging_up

    def start(self, hooks: Sequence[Callable[[], Awaitable[object]]] = ()) -> None:
        """Begin to keep time; needs the running loop. The hooks run with every heartbeat, unless they still run."""
        self._hooks = tuple(hooks)
        self._last_heartbeat = self._machine_clock.now()
        self._pauses.heartbeat(self._tracker.clock.now())
        self._heartbeat.start()
        self._billing_rest.start()
        self._running_hooks.start()

    # Taking calls -----------------------------------------------------------------------------------------------------

    async def announce(self, incoming: IncomingCall) -> Announced:
        """Start a call's path, unless it is another's, under way or over; return once the call is on record.

        It takes no longer than :data:`ANSWER_SECONDS`: announced once more, the call is waited for again.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._announce(incoming)
        except TimeoutError:
            return Announced.REFUSED

    async def _announce(self, incoming: IncomingCall) -> Announced:
        call_id = incoming.call_id
        if call_id in self._left_open and call_id not in self._tasks:
            return await self._recovered(incoming)
        repeated = self.has(call_id)
        if not repeated:
            if self._draining or len(self._tasks) >= self._max_tasks:
                return Announced.REFUSED
            self._gate.expect(call_id)
            self._begin(call_id, self._drive(incoming))
        answer = await self._gate.answer(call_id) or Announced.TAKEN
        if answer is Announced.LEFT:
            return await self._recovered(incoming)
        return Announced.DUPLICATE if repeated and answer is Announced.TAKEN else answer

    async def _recovered(self, incoming: IncomingCall) -> Announced:
        """Have a call of a dead process recovered with what its announcement says."""
        await self._recover(incoming)
        return Announced.REFUSED if incoming.call_id in self._left_open else Announced.DUPLICATE

    def has(self, call_id: CallId) -> bool:
        """Return true if the call is on its way here, or lately was, or is to be gone on with."""
        return call_id in self._tasks or self._tracker.knows(call_id) or call_id in self._left_open

    def leave_to_recovery(
        self, left_open: Container[CallId], recover: Callable[[IncomingCall], Awaitable[None]]
    ) -> None:
        """Take none of these as new, whoever announces them; ``recover`` goes on with one that is announced again."""
        self._left_open = left_open
        self._recover = recover

    def resume(self, call: Call, tenant: CallTenant, attached: Attached, slot: Slot) -> None:
        """Go on with a call that another process has let go of."""
        going_on = self._holding(slot, self._session_manager.go_on(call, tenant, attached))
        self._begin(call.call_id, self._guarded(call, going_on))

    def take_up(self, call: Call, tenant: CallTenant) -> None:
        """Decide about a call that another process was told of and did not come to decide about."""
        self._begin(call.call_id, self._guarded(call, self._take_through(call, tenant)))

    def let_go(self, call_id: CallId) -> None:
        """Leave a call to the process that owns it: nothing more is asked of the carrier, and no end is counted."""
        task = self._tasks.get(call_id)
        if task is not None:
            _logger.warning("a call is another process's, and is let go of")
            self._lost.add(call_id)
            # At once: a heartbeat before its path is cut short would bill time that the other process bills.
            self._leave(self._tracker.call(call_id))
            task.cancel()

    async def hang_up(self, call_id: CallId) -> bool:
        """Hang up for an operator; return False if the call does not run here.

        Raises:
            CarrierError: if the carrier does not hang up; the call goes on.
        """
        return await self._session_manager.hang_up(call_id)

    def stop_taking(self) -> None:
        """Take no new call; those that run go on."""
        self._draining = True

    async def drain(self, budget_seconds: float = DRAIN_SECONDS, *, hand_over: bool = False) -> None:
        """Stop taking calls and end those that run, all within the budget; nothing is left running after it.

        With ``hand_over`` nobody is hung up on: the sessions go on, for the next process to attach to.
        """
        self.stop_taking()
        self._handing_over = hand_over
        await self._heartbeat.stop()
        await self._billing_rest.stop()
        await self._running_hooks.stop()
        ending = [*self._tasks.values()]
        for task in ending:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await asyncio.gather(*ending, return_exceptions=True)
                await self._session_manager.hung_up()

    # A call's path ----------------------------------------------------------------------------------------------------

    def _begin(self, call_id: CallId, path: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(path, name="callscope-call")
        self._tasks[call_id] = task
        task.add_done_callback(lambda done: self._over(call_id, done))

    def _over(self, call_id: CallId, task: asyncio.Task[None]) -> None:
        if self._tasks.get(call_id) is task:
            del self._tasks[call_id]
            self._lost.discard(call_id)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The message may hold what was dialled. Nothing was received, so that the carrier's repetition may go well.
            _logger.error("a call failed before it was received: %s", type(error).__name__)
        # A path that was cut off before anything was settled leaves the carrier to ask again.
        self._gate.settle(call_id, Announced.TAKEN if self._tracker.knows(call_id) else Announced.REFUSED)

    async def _drive(self, incoming: IncomingCall) -> None:
        began = self._tracker.clock.now()
        ownership = await self._admission.claim(incoming)
        if ownership is not Ownership.OURS:
            self._gate.settle(incoming.call_id, _ANSWERS[ownership])
            return
        call, placed = await self._admission.receive(incoming, began)
        await self._guarded(call, self._take_through(call, placed))

    async def _take_through(self, call: Call, placed: CallTenant | Unplaced) -> None:
        slot = await self._admission.decide(call, placed)
        if slot is not None and isinstance(placed, CallTenant):
            await self._holding(slot, self._session_manager.attend(call, placed))

    async def _holding(self, slot: Slot, path: Coroutine[Any, Any, None]) -> None:
        try:
            await path
        finally:
            slot.release()

    async def _guarded(self, call: Call, path: Coroutine[Any, Any, None]) -> None:
        """Run the path; whatever happens on it, the call ends in a state with a reason, or is let go of."""
        try:
            await path
        except asyncio.CancelledError:
            self._cut_short(call)
            raise
        except Exception as error:  # noqa: BLE001 -- nothing a call does may take the process down
            # The message may hold what was said or dialled; its kind is enough to look further.
            _logger.error("a call failed: %s", type(error).__name__)  # noqa: TRY400
            if await self._gate.owns(call.call_id):
                call.finish(EndReason.ERROR, error_type=type(error).__name__, fault=Fault.SERVICE)
                self._session_manager.hang_up_later(call.call_id)
        finally:
            if call.call_id in self._lost:
                self._leave(call)
            else:
                call.finish(EndReason.ERROR, error_type=OTHER, fault=Fault.SERVICE)

    def _cut_short(self, call: Call) -> None:
        if call.call_id in self._lost:
            return
        if self._handing_over and not call.state.terminal:
            self._leave(call)
            return
        call.finish(EndReason.SHUTDOWN, fault=Fault.SERVICE)
        self._session_manager.hang_up_later(call.call_id)

    def _leave(self, call: Call) -> None:
        """Leave a call to another process, which bills the time since what is on record of it."""
        if not call.state.terminal:
            call.handed_over(lost=True)

    # Time -------------------------------------------------------------------------------------------------------------

    async def _run_heartbeat(self) -> None:
        await self._notice_pause()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._heartbeat_seconds):
                await self._session_manager.check()
        self._billing = self._tracker.billing()
        if next(self._billing, 0):
            self._billing_rest.wake()
        await asyncio.sleep(0)
        now = self._tracker.clock.now()
        self._pauses.heartbeat(now)
        for call_id in self._tracker.sweep(self._pauses.allowed(self._stale_seconds, now), fault=Fault.CARRIER):
            self._stop_path(call_id)
        self._running_hooks.wake()
        self._last_heartbeat = self._machine_clock.now()

    async def _bill_rest(self) -> None:
        """Bill what a heartbeat has left, over half of the time to the next: nobody downstream gets it all at once."""
        left = 1
        while left:
            await asyncio.sleep(self._heartbeat_seconds / 2 / (left + 1))
            left = next(self._billing, 0)

    async def _notice_pause(self) -> None:
        """After the process stood still, let go of the calls that were taken over meanwhile, before anything else.

        Both clocks are looked at: the monotonic one may stand still while a machine is suspended.
        """
        last, now = self._last_heartbeat, self._machine_clock.now()
        late = max(now.since(last), (now.unix_nanos - last.unix_nanos) / 1e9) - self._heartbeat_seconds
        if late > max(PAUSE_SECONDS, self._heartbeat_seconds):
            _logger.warning("the process stood still for %.1f s; it looks whose its calls are now", late)
            await self._gate.check_claims()

    async def _run_hooks(self) -> None:
        for hook in self._hooks:
            await hook()

    def _stop_path(self, call_id: CallId) -> None:
        task = self._tasks.get(call_id)
        if task is not None:
            task.cancel()


async def _leave(_incoming: IncomingCall) -> None:
    """Recover nothing: there is nobody to do it."""


def _log_heartbeat(error: Exception) -> None:
    _logger.error("a heartbeat failed: %s", type(error).__name__)


def _log_hooks(error: Exception) -> None:
    _logger.error("a hook of the heartbeat failed: %s", type(error).__name__)
