"""Owns the calls of this process: starts each one's path, keeps time, sweeps what is dead, drains at the end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Coroutine, Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final

from service.gateway.admission import Admission, IncomingCall
from service.gateway.capacity import Slot
from service.gateway.durability import DurabilityGate
from service.gateway.pauses import Pauses
from service.gateway.session_manager import Attached, SessionManager
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import OTHER, CallId, EndReason, RejectionReason

_logger = logging.getLogger(__name__)

DECIDING_AT_ONCE: Final = 2_000
"""Calls being decided upon or turned away, on top of those that run; further ones are asked to come again."""

ANSWER_SECONDS: Final = 4.0
"""How long the carrier is kept waiting for an answer while, for want of a database, little is known of its call."""

DRAIN_SECONDS: Final = 2.5
"""How long ending the running calls may take, out of the five seconds a stop has."""


class Announced(Enum):
    """What became of an announcement."""

    TAKEN = auto()
    DUPLICATE = auto()
    REFUSED = auto()
    """No room, draining, or not yet on record: the carrier may ask again."""


class CallManager:
    """One task a call, from its announcement to its end."""

    def __init__(
        self,
        tracker: CallTracker,
        admission: Admission,
        session_manager: SessionManager,
        recording: DurabilityGate,
        *,
        heartbeat_seconds: float,
        stale_seconds: float,
        max_calls: int,
    ) -> None:
        self._tracker = tracker
        self._admission = admission
        self._session_manager = session_manager
        self._recording = recording
        self._heartbeat_seconds = heartbeat_seconds
        self._stale_seconds = stale_seconds
        self._pauses = Pauses(heartbeat_seconds)
        self._max_tasks = max_calls + DECIDING_AT_ONCE
        self._each_heartbeat: Sequence[Callable[[], Awaitable[object]]] = ()
        self._tasks: dict[CallId, asyncio.Task[None]] = {}
        self._left_open: Container[CallId] = ()
        self._beside: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._draining = False
        self._handing_over = False

    @property
    def draining(self) -> bool:
        """Whether no new call is taken."""
        return self._draining

    @property
    def busy(self) -> bool:
        """Whether any call is on its way."""
        return bool(self._tasks) or self._session_manager.hanging_up

    def start(self, each_heartbeat: Sequence[Callable[[], Awaitable[object]]] = ()) -> None:
        """Begin to keep time; needs the running loop. What is given is done with every heartbeat, unless it goes on."""
        self._each_heartbeat = tuple(each_heartbeat)
        self._keeping = asyncio.create_task(self._keep_time(), name="callscope-heartbeat")

    async def announce(self, incoming: IncomingCall) -> Announced:
        """Start a call's path, unless it is under way or over already; returns once the call is on record.

        It takes no longer than :data:`ANSWER_SECONDS`: announced once more, the call is waited for again.
        """
        announced = self._announce(incoming)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._recording.wait(incoming.call_id)
        except TimeoutError:
            return Announced.REFUSED
        return announced

    def _announce(self, incoming: IncomingCall) -> Announced:
        if self.has(incoming.call_id):
            return Announced.DUPLICATE
        if self._draining or len(self._tasks) >= self._max_tasks:
            return Announced.REFUSED
        self._recording.expect(incoming.call_id)
        self._begin(incoming.call_id, self._drive(incoming))
        return Announced.TAKEN

    def has(self, call_id: CallId) -> bool:
        """Whether the call is on its way here, or lately was, or is to be gone on with."""
        return call_id in self._tasks or self._tracker.knows(call_id) or call_id in self._left_open

    def leave_to_recovery(self, left_open: Container[CallId]) -> None:
        """Take none of these as new, whoever announces them: they will be gone on with."""
        self._left_open = left_open

    def resume(self, call: Call, tenant: CallTenant, attached: Attached, slot: Slot) -> None:
        """Go on with a call that another process has let go of."""
        going_on = self._holding(slot, self._session_manager.go_on(call, tenant, attached))
        self._begin(call.call_id, self._guarded(call, going_on))

    def take_up(self, call: Call, tenant: CallTenant) -> None:
        """Decide about a call that another process was told of and did not come to decide about."""
        self._begin(call.call_id, self._guarded(call, self._take_through(call, tenant)))

    def stop_taking(self) -> None:
        """Take no more calls."""
        self._draining = True

    async def drain(self, budget_seconds: float = DRAIN_SECONDS, *, hand_over: bool = False) -> None:
        """End the running calls as ``shutdown`` within the budget, and hang up, unless another process goes on."""
        self.stop_taking()
        self._handing_over = hand_over
        for task in (self._keeping, self._beside):
            if task is not None:
                task.cancel()
        ending = [*self._tasks.values()]
        for task in ending:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await asyncio.gather(*ending, return_exceptions=True)
                await self._session_manager.hung_up()

    def _begin(self, call_id: CallId, path: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(path, name="callscope-call")
        self._tasks[call_id] = task
        task.add_done_callback(lambda _: self._left(call_id))

    def _left(self, call_id: CallId) -> None:
        del self._tasks[call_id]
        self._recording.settle(call_id)

    async def _drive(self, incoming: IncomingCall) -> None:
        call, placed = await self._admission.receive(incoming)
        await self._guarded(call, self._take_through(call, placed))

    async def _take_through(self, call: Call, placed: CallTenant | RejectionReason) -> None:
        slot = await self._admission.decide(call, placed)
        if slot is not None and isinstance(placed, CallTenant):
            await self._holding(slot, self._session_manager.attend(call, placed))

    async def _holding(self, slot: Slot, path: Coroutine[Any, Any, None]) -> None:
        try:
            await path
        finally:
            slot.release()

    async def _guarded(self, call: Call, path: Coroutine[Any, Any, None]) -> None:
        """Whatever happens on its path, the call ends in a state with a reason."""
        try:
            await path
        except asyncio.CancelledError:
            self._cut_short(call)
            raise
        except Exception as error:  # noqa: BLE001 -- nothing a call does may take the process down
            # The message may hold what was said or dialled; its kind is enough to look further.
            _logger.error("a call failed: %s", type(error).__name__)  # noqa: TRY400
            call.finish(EndReason.ERROR, error_type=type(error).__name__)
            self._session_manager.hang_up_later(call.call_id)
        finally:
            call.finish(EndReason.ERROR, error_type=OTHER)

    def _cut_short(self, call: Call) -> None:
        goes_on = self._handing_over and not call.state.terminal
        call.finish(EndReason.SHUTDOWN)
        if not goes_on:
            self._session_manager.hang_up_later(call.call_id)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self._beat()
            except Exception as error:  # noqa: BLE001 -- a heart that stops once stops for all calls
                _logger.error("a heartbeat failed: %s", type(error).__name__)  # noqa: TRY400

    async def _beat(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._heartbeat_seconds):
                await self._session_manager.check()
        self._tracker.bill_running()
        now = self._tracker.clock.now()
        self._pauses.beat(now)
        for call_id in self._tracker.sweep(self._pauses.allowed(self._stale_seconds, now)):
            self._give_up(call_id)
        if self._beside is None or self._beside.done():
            self._beside = asyncio.create_task(self._see_to_the_rest(), name="callscope-beside")

    async def _see_to_the_rest(self) -> None:
        """What is done with each heartbeat beside it: a database that hangs must not stop the heart."""
        try:
            for hook in self._each_heartbeat:
                await hook()
        except Exception as error:  # noqa: BLE001 -- the next heartbeat tries again
            _logger.error("what goes with a heartbeat failed: %s", type(error).__name__)  # noqa: TRY400

    def _give_up(self, call_id: CallId) -> None:
        task = self._tasks.get(call_id)
        if task is not None:
            task.cancel()
