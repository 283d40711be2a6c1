"""Owns the calls of this process: starts each one's path, keeps it alive, sweeps what is dead, drains at the end."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from enum import Enum, auto
from typing import Final

from service.calls.intake import IncomingCall, Intake
from service.calls.session import CallSession
from service.calls.tools import tools_for
from service.carriers.carrier import Carrier, CarrierError
from service.tenants.tenant import CallTenant
from telemetry.attributes import OTHER, CallId, EndReason
from telemetry.call import Call
from telemetry.events import Phase
from telemetry.tracker import CallTracker

_logger = logging.getLogger(__name__)

DECIDING_AT_ONCE: Final = 2_000
"""Calls being decided upon or turned away, on top of those that run; further ones are asked to come again."""

DRAIN_SECONDS: Final = 2.5
"""How long ending the running calls may take, out of the five seconds a stop has."""


class Announced(Enum):
    """What became of an announcement."""

    TAKEN = auto()
    DUPLICATE = auto()
    REFUSED = auto()
    """No room or draining: the carrier may ask again."""


class CallManager:
    """One task a call, from its announcement to its end."""

    def __init__(
        self,
        tracker: CallTracker,
        carrier: Carrier,
        intake: Intake,
        *,
        model: str,
        heartbeat_seconds: float,
        stale_seconds: float,
        max_calls: int,
        each_heartbeat: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._tracker = tracker
        self._carrier = carrier
        self._intake = intake
        self._model = model
        self._heartbeat_seconds = heartbeat_seconds
        self._stale_seconds = stale_seconds
        self._max_tasks = max_calls + DECIDING_AT_ONCE
        self._each_heartbeat = tuple(each_heartbeat)
        self._tasks: dict[CallId, asyncio.Task[None]] = {}
        self._sessions: dict[CallId, CallSession] = {}
        self._hangups: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether no new call is taken."""
        return self._draining

    @property
    def busy(self) -> bool:
        """Whether any call is on its way."""
        return bool(self._tasks or self._hangups)

    def start(self) -> None:
        """Begin to keep time; needs the running loop."""
        self._keeping = asyncio.create_task(self._keep_time(), name="callscope-heartbeat")

    def announce(self, incoming: IncomingCall) -> Announced:
        """Start a call's path, unless it is under way or over already."""
        if incoming.call_id in self._tasks or self._tracker.knows(incoming.call_id):
            return Announced.DUPLICATE
        if self._draining or len(self._tasks) >= self._max_tasks:
            return Announced.REFUSED
        task = asyncio.create_task(self._drive(incoming), name="callscope-call")
        self._tasks[incoming.call_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(incoming.call_id, None))
        return Announced.TAKEN

    async def drain(self, budget_seconds: float = DRAIN_SECONDS) -> None:
        """Take no more calls and end the running ones as ``shutdown``, within the budget."""
        self._draining = True
        if self._keeping is not None:
            self._keeping.cancel()
        ending = [*self._tasks.values()]
        for task in ending:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await asyncio.gather(*ending, return_exceptions=True)
                await asyncio.gather(*self._hangups, return_exceptions=True)

    async def _drive(self, incoming: IncomingCall) -> None:
        call, tenant = await self._intake.receive(incoming)
        slot = None
        try:
            slot = await self._intake.decide(call, tenant)
            if slot is not None and tenant is not None:
                await self._attend(call, tenant)
        except asyncio.CancelledError:
            call.finish(EndReason.SHUTDOWN)
            self._hang_up_later(call.call_id)
            raise
        except Exception as error:  # noqa: BLE001 -- nothing a call does may take the process down
            # The message may hold what was said or dialled; its kind is enough to look further.
            _logger.error("a call failed: %s", type(error).__name__)  # noqa: TRY400
            call.finish(EndReason.ERROR, error_type=type(error).__name__)
            self._hang_up_later(call.call_id)
        finally:
            call.finish(EndReason.ERROR, error_type=OTHER)
            if slot is not None:
                slot.release()

    async def _attend(self, call: Call, tenant: CallTenant) -> None:
        async with AsyncExitStack() as stack:
            try:
                with call.phase(Phase.CONNECT):
                    connection = await stack.enter_async_context(self._carrier.session(call.call_id))
            except CarrierError as error:
                call.finish(EndReason.ERROR, error_type=error.error_type)
                self._hang_up_later(call.call_id)
                return
            call.started()
            session = CallSession(
                call,
                self._carrier,
                connection,
                model=self._model,
                tools=tools_for(tenant.transfer_targets),
                transfer_targets=tenant.transfer_targets,
            )
            self._sessions[call.call_id] = session
            try:
                reason, error_type = await session.run()
            finally:
                del self._sessions[call.call_id]
            call.finish(reason, error_type=error_type)

    def _hang_up_later(self, call_id: CallId) -> None:
        """The caller must not be left on a line that nobody watches; whether it works out changes nothing here."""

        async def hang_up() -> None:
            with suppress(CarrierError):
                await self._carrier.hangup(call_id)

        task = asyncio.create_task(hang_up(), name="callscope-hangup")
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)

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
                checks = [session.check_life() for session in list(self._sessions.values())]
                await asyncio.gather(*checks, return_exceptions=True)
        self._tracker.bill_running()
        for call_id in self._tracker.sweep(self._stale_seconds):
            self._give_up(call_id)
        for hook in self._each_heartbeat:
            hook()

    def _give_up(self, call_id: CallId) -> None:
        task = self._tasks.get(call_id)
        if task is not None:
            task.cancel()
