"""The conversation of one call: it begins with the first sideband and goes on with or without one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.simulator import wire
from service.simulator.context import Frame, GatewayEvents, LineCutError, SidebandContext, closed_with
from service.simulator.faults import SidebandBreak
from service.simulator.leg import CallLeg, Closing
from service.simulator.listener import abort, close, is_closing, send_text_frame
from service.simulator.record import End
from service.simulator.script_player import SILENCE_SECONDS, ScriptPlayer
from service.simulator.timing import TimeScale
from telemetry.clock import Clock

SESSION_SECONDS = 3600
"""The longest a session may last."""
TEARDOWN_SECONDS = 0.1
"""Natural seconds from the answer to a hang-up or refer to the end of the sideband."""
SHORTEST_TEARDOWN = 0.05
"""Real seconds a teardown takes at least: the sideband never ends before the answer to the request arrives."""


class SimulatedConversation:
    """Caller and agent talking; ends by the first of the script's end and what the gateway asked for."""

    def __init__(
        self,
        leg: CallLeg,
        socket: WebSocket,
        *,
        time_scale: TimeScale,
        clock: Clock,
        broke: Callable[[SidebandBreak], None],
    ) -> None:
        self._leg = leg
        self._time_scale = time_scale
        self._socket: WebSocket | None = socket
        self._broke = broke
        self._broken: list[WebSocket] = []
        context = SidebandContext(self._send, self._break_off, leg.record, time_scale=time_scale, clock=clock)
        silence_ms = round(SILENCE_SECONDS * time_scale.scale * 1000)
        session = wire.session(context.new_id("sess"), leg.session, context.unix() + SESSION_SECONDS, silence_ms)
        self._gateway = GatewayEvents(context, session)
        self._context = context
        self.over: asyncio.Future[Closing] = asyncio.ensure_future(self._first_end())

    async def reattached(self, socket: WebSocket) -> None:
        """Go on with another sideband, which learns of the session and of nothing that it missed."""
        self._socket = socket
        await self._context.send({"type": "session.created", "session": self._gateway.session})

    async def listen(self, socket: WebSocket) -> None:
        """Take what the gateway says on this sideband, until it leaves."""
        try:
            await self._gateway.listen(self._texts(socket))
        except LineCutError as cut:
            self._leg.request_closing(cut.closing)
            await self.over
        except WebSocketDisconnect:
            return
        finally:
            if self._socket is socket:
                self._socket = None

    def broke(self, socket: WebSocket) -> bool:
        """Return True for a sideband that was broken off while the call went on."""
        return socket in self._broken

    async def _texts(self, socket: WebSocket) -> AsyncIterator[str]:
        """Yield what arrives; what does so once the sideband has broken was lost on its way."""
        while not self.broke(socket) and (message := await socket.receive())["type"] != "websocket.disconnect":
            yield message.get("text") or ""

    async def stop(self) -> None:
        """Break it off."""
        self.over.cancel()
        await asyncio.gather(self.over, return_exceptions=True)

    async def _first_end(self) -> Closing:
        requested, played = asyncio.ensure_future(self._closed_on_request()), asyncio.ensure_future(self._played())
        try:
            await asyncio.wait((requested, played), return_when=asyncio.FIRST_COMPLETED)
            # What the gateway was told to be done is what happened, however soon the caller hangs up after it.
            if requested.done() or (self._leg.requested_closing.done() and played.exception() is None):
                return await requested
            return played.result()
        finally:
            for task in (requested, played):
                task.cancel()
            await asyncio.gather(requested, played, return_exceptions=True)

    async def _closed_on_request(self) -> Closing:
        closing = await asyncio.shield(self._leg.requested_closing)
        if closing.end is not End.STOPPED:
            await self._time_scale.pause(TEARDOWN_SECONDS, at_least=SHORTEST_TEARDOWN)
        return closing

    async def _played(self) -> Closing:
        try:
            return await ScriptPlayer(self._context, self._gateway).play()
        except LineCutError as cut:
            return cut.closing

    async def _break_off(self, fault: SidebandBreak) -> bool:
        """Break the sideband while the call goes on; returns False if none is open."""
        socket, self._socket = self._socket, None
        if socket is None:
            return False
        self._broken.append(socket)
        self._broke(fault)
        await close(socket, fault.code)
        return True

    async def _send(self, frame: Frame) -> None:
        """Send a message, which nobody hears while no sideband is open."""
        if self._socket is None:
            return
        try:
            await _put(self._socket, frame)
        except (WebSocketDisconnect, RuntimeError):
            # The gateway has left and the reading side is about to learn of it.
            self._socket = None


async def _put(socket: WebSocket, frame: Frame) -> None:
    if isinstance(frame.content, str):
        await socket.send_text(frame.content)
    elif frame.as_text:
        send_text_frame(socket, frame.content)
    else:
        await socket.send_bytes(frame.content)


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
        leg.record.answers_handshake()
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
            await known.reattached(socket)
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
        if not came_back and not leg.attached and self._conversations.get(leg) is conversation:
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
