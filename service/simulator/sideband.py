"""One sideband from its opening to its close: the conversation plays on it, whoever ends it first wins."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.simulator.conversation import Conversation
from service.simulator.leg import CallLeg, Closing
from service.simulator.listener import abort, is_closing
from service.simulator.pace import Pace
from service.simulator.record import End
from service.simulator.stage import closed_with
from telemetry.clock import Clock

_logger = logging.getLogger(__name__)

LEFT = Closing(End.LEFT)
"""The gateway closed the sideband itself."""


class Sidebands:
    """The sidebands of all calls. A gateway that leaves has ``linger_seconds`` to come back before its call is over."""

    def __init__(self, *, pace: Pace, clock: Clock, linger_seconds: float) -> None:
        self._pace, self._clock, self._linger_seconds = pace, clock, linger_seconds
        self._conversations: dict[CallLeg, Conversation] = {}
        self._lingering: set[asyncio.Task[None]] = set()

    async def open(self, socket: WebSocket, leg: CallLeg) -> None:
        """Hold an accepted call's conversation on this sideband, from its beginning or from where it is by now.

        Raises :class:`service.simulator.leg.CarrierError` when the sideband may not be opened.
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
        if conversation.over.done():
            closing = conversation.over.result()
            await _close(socket, closing)
            self._over(leg, closing)
        elif self._linger_seconds:
            leg.leave()
            lingering = asyncio.create_task(self._linger(leg, conversation))
            self._lingering.add(lingering)
            lingering.add_done_callback(self._lingering.discard)
        else:
            await conversation.stop()
            self._over(leg, LEFT)

    def _over(self, leg: CallLeg, closing: Closing) -> None:
        conversation = self._conversations.pop(leg, None)
        if conversation is not None:
            conversation.over.cancel()
        leg.detach(closing)

    async def _conversation(self, socket: WebSocket, leg: CallLeg) -> Conversation:
        known = self._conversations.get(leg)
        if known is not None:
            await known.watched_again(socket)
            return known
        self._conversations[leg] = Conversation(leg, socket, pace=self._pace, clock=self._clock)
        return self._conversations[leg]

    async def _linger(self, leg: CallLeg, conversation: Conversation) -> None:
        """The call goes on unwatched until somebody comes back, it is over, or nobody has come for too long."""
        returned = asyncio.ensure_future(leg.returned.wait())
        waiting: set[asyncio.Future[Any]] = {conversation.over, returned}
        await asyncio.wait(waiting, timeout=self._linger_seconds, return_when=asyncio.FIRST_COMPLETED)
        returned.cancel()
        if not leg.watched:
            self._over(leg, await _closing_of(conversation))


async def _closing_of(conversation: Conversation) -> Closing:
    """How a conversation that nobody watches any more has ended; one that goes on is broken off."""
    if not conversation.over.done():
        await conversation.stop()
        return LEFT
    error = conversation.over.exception()
    if error is None:
        return conversation.over.result()
    # Nobody waits for this: without a word the script's mistake would be lost, and without an end so would the call.
    _logger.error("a script failed while nobody watched its call", exc_info=error)
    return closed_with(1011)


async def _close(socket: WebSocket, closing: Closing) -> None:
    if closing.code is None:
        await abort(socket)
        return
    with suppress(WebSocketDisconnect, RuntimeError):
        # A gateway that leaves at this very moment changes nothing about how the carrier ended the call.
        await socket.close(closing.code)
