"""The sidebands of all calls: opened, broken off, and opened again by a gateway that comes back."""

import asyncio
import logging
from typing import Any

from starlette.websockets import WebSocket

from service.simulator.context import closed_with
from service.simulator.conversation import SimulatedConversation
from service.simulator.faults import SidebandBreak
from service.simulator.leg import CallLeg, Closing
from service.simulator.listener import abort, close, is_closing
from service.simulator.record import End
from service.simulator.timing import TimeScale
from telemetry.clock import Clock

_logger = logging.getLogger(__name__)
LEFT = Closing(End.LEFT)
"""The gateway closed the sideband itself."""


class Sidebands:
    """The sidebands of all calls. A gateway that leaves has ``linger_seconds`` to come back before its call is over."""

    def __init__(self, *, time_scale: TimeScale, clock: Clock, linger_seconds: float) -> None:
        self._time_scale, self._clock, self._linger_seconds = time_scale, clock, linger_seconds
        self._conversations: dict[CallLeg, SimulatedConversation] = {}
        self._lingering: set[asyncio.Task[None]] = set()

    async def open(self, socket: WebSocket, leg: CallLeg) -> None:
        """Hold an accepted call's conversation on this sideband, from its beginning or from where it is by now.

        Raises :class:`service.simulator.leg.ControlRefusedError` when the sideband may not be opened.
        """
        leg.admit()
        await socket.accept()
        if is_closing(socket):
            return
        if not leg.attach():
            await abort(socket)
            return
        try:
            await self._hold(socket, leg)
        except BaseException:
            self._over(leg, closed_with(1011))
            raise

    async def _hold(self, socket: WebSocket, leg: CallLeg) -> None:
        conversation = await self._conversation(socket, leg)
        listening = asyncio.ensure_future(conversation.listen(socket))
        try:
            await asyncio.wait((conversation.over, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if conversation.broke(socket):
            # The break itself saw to what becomes of the call.
            return
        if conversation.over.done():
            closing = conversation.over.result()
            leg.close()
            await close(socket, closing.code)
            self._over(leg, closing)
        elif self._linger_seconds:
            leg.leave()
            self._keep(leg, conversation, self._linger_seconds, LEFT)
        else:
            await conversation.stop()
            self._over(leg, LEFT)

    def _over(self, leg: CallLeg, closing: Closing) -> None:
        conversation = self._conversations.pop(leg, None)
        if conversation is not None:
            conversation.over.cancel()
        leg.detach(closing)

    async def _conversation(self, socket: WebSocket, leg: CallLeg) -> SimulatedConversation:
        known = self._conversations.get(leg)
        if known is not None:
            await known.watched_again(socket)
            return known
        self._conversations[leg] = SimulatedConversation(
            leg, socket, time_scale=self._time_scale, clock=self._clock, broke=lambda fault: self._broke(leg, fault)
        )
        return self._conversations[leg]

    def _broke(self, leg: CallLeg, fault: SidebandBreak) -> None:
        leg.break_off(fault.refusals)
        seconds = max(self._linger_seconds, self._time_scale.caller_timeout)
        self._keep(leg, self._conversations[leg], seconds, Closing(End.CALLER_HUNG_UP))

    def _keep(self, leg: CallLeg, conversation: SimulatedConversation, seconds: float, otherwise: Closing) -> None:
        lingering = asyncio.create_task(self._linger(leg, conversation, seconds, otherwise))
        self._lingering.add(lingering)
        lingering.add_done_callback(self._lingering.discard)

    async def _linger(
        self, leg: CallLeg, conversation: SimulatedConversation, seconds: float, otherwise: Closing
    ) -> None:
        """Wait until somebody comes back, the call is over, or nobody has come for too long."""
        returned = asyncio.ensure_future(leg.returned.wait())
        waiting: set[asyncio.Future[Any]] = {conversation.over, returned}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        # Somebody who came back may be gone again by now; then another waits, beside this.
        came_back = returned.done()
        returned.cancel()
        if not came_back and not leg.watched and self._conversations.get(leg) is conversation:
            leg.close()
            self._over(leg, await _closing_of(conversation, otherwise))


async def _closing_of(conversation: SimulatedConversation, otherwise: Closing) -> Closing:
    """Return how a conversation that nobody watches any more ended; one that goes on is broken off."""
    if not conversation.over.done():
        await conversation.stop()
        return otherwise
    error = conversation.over.exception()
    if error is None:
        return conversation.over.result()
    # Nobody waits for this: without a word the script's mistake would be lost, and without an end so would the call.
    _logger.error("a script failed while nobody watched its call", exc_info=error)
    return closed_with(1011)
