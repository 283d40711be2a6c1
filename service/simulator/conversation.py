"""The conversation of one call: it begins with the first sideband and goes on whether or not one is there to watch."""

import asyncio
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.simulator import wire
from service.simulator.gateway_events import GatewayEvents
from service.simulator.leg import CallLeg, Closing
from service.simulator.pace import Pace
from service.simulator.performance import Performance
from service.simulator.record import End
from service.simulator.stage import LineCutError, Stage
from telemetry.clock import Clock

SESSION_SECONDS = 3600
"""The longest a session may last."""

TEARDOWN_SECONDS = 0.1
"""Natural seconds from the answer to a hang-up or refer to the end of the sideband."""

SHORTEST_TEARDOWN = 0.05
"""Real seconds a teardown takes at any pace: never does the sideband end before the answer to the request arrives."""


class Conversation:
    """Caller and agent talking; ends by the first of the script's end and what the gateway asked for."""

    def __init__(self, leg: CallLeg, socket: WebSocket, *, pace: Pace, clock: Clock) -> None:
        self._leg = leg
        self._pace = pace
        self._socket: WebSocket | None = socket
        stage = Stage(self._send, leg.record, pace=pace, clock=clock)
        session = wire.session(stage.new_id("sess"), leg.session, stage.unix() + SESSION_SECONDS)
        self._gateway = GatewayEvents(stage, session)
        self._stage = stage
        self.over: asyncio.Future[Closing] = asyncio.ensure_future(self._first_end())

    async def watched_again(self, socket: WebSocket) -> None:
        """Another sideband is open; it learns of the session, and of nothing that it missed."""
        self._socket = socket
        await self._stage.send({"type": "session.created", "session": self._gateway.session})

    async def listen(self, socket: WebSocket) -> None:
        """Take what the gateway says on this sideband, until it leaves."""
        try:
            await self._gateway.listen(_texts(socket))
        except LineCutError as cut:
            self._leg.tell(cut.closing)
            await self.over
        except WebSocketDisconnect:
            return
        finally:
            self._socket = None

    async def stop(self) -> None:
        """Break it off."""
        self.over.cancel()
        await asyncio.gather(self.over, return_exceptions=True)

    async def _first_end(self) -> Closing:
        told, played = asyncio.ensure_future(self._told()), asyncio.ensure_future(self._played())
        try:
            await asyncio.wait((told, played), return_when=asyncio.FIRST_COMPLETED)
            return (told if told.done() else played).result()
        finally:
            for task in (told, played):
                task.cancel()
            await asyncio.gather(told, played, return_exceptions=True)

    async def _told(self) -> Closing:
        closing = await asyncio.shield(self._leg.told)
        if closing.end is not End.STOPPED:
            await self._pace.pause(TEARDOWN_SECONDS, at_least=SHORTEST_TEARDOWN)
        return closing

    async def _played(self) -> Closing:
        try:
            return await Performance(self._stage, self._gateway).play()
        except LineCutError as cut:
            return cut.closing

    async def _send(self, text: str) -> None:
        """Nobody hears what is sent while no sideband is open."""
        if self._socket is None:
            return
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError):
            # The gateway has left and the reading side is about to learn of it.
            self._socket = None


async def _texts(socket: WebSocket) -> AsyncIterator[str]:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        yield message.get("text") or ""
