"""One sideband from its opening to its close: the script plays, the gateway speaks, whoever ends it first wins."""

import asyncio
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.simulator import wire
from service.simulator.gateway_events import GatewayEvents
from service.simulator.leg import CallLeg, Closing
from service.simulator.listener import abort, is_closing
from service.simulator.pace import Pace
from service.simulator.performance import Performance
from service.simulator.record import End
from service.simulator.stage import LineCutError, Stage, closed_with
from telemetry.clock import Clock

SESSION_SECONDS = 3600
"""The longest a session may last."""

TEARDOWN_SECONDS = 0.1
"""Natural seconds from the answer to a hang-up or refer to the end of the sideband."""

SHORTEST_TEARDOWN = 0.05
"""Real seconds a teardown takes at any pace: never does the sideband end before the answer to the request arrives."""

LEFT = Closing(End.LEFT)
"""The gateway closed the sideband itself."""


async def converse(socket: WebSocket, leg: CallLeg, *, pace: Pace, clock: Clock) -> None:
    """Hold the conversation of an accepted call on its sideband and close it.

    Raises :class:`service.simulator.leg.CarrierError` when the sideband may not be opened.
    """
    leg.admit()
    await socket.accept()
    if is_closing(socket):
        return
    if not leg.attach():
        await abort(socket)
        return
    closing = closed_with(1011)
    try:
        stage = Stage(socket.send_text, leg.record, pace=pace, clock=clock)
        session = wire.session(stage.new_id("sess"), leg.session, stage.unix() + SESSION_SECONDS)
        closing = await _first_end(socket, leg, stage, GatewayEvents(stage, session))
        await _close(socket, closing)
    finally:
        leg.detach(closing)


async def _first_end(socket: WebSocket, leg: CallLeg, stage: Stage, gateway: GatewayEvents) -> Closing:
    """How the sideband closes, by the first of: what the gateway asked for, the script, the gateway leaving."""
    told = asyncio.ensure_future(_told(leg, stage.pace))
    played = asyncio.ensure_future(_played(Performance(stage, gateway)))
    left = asyncio.ensure_future(_left(socket, gateway))
    tasks = (told, played, left)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _told(leg: CallLeg, pace: Pace) -> Closing:
    closing = await asyncio.shield(leg.told)
    if closing.end is not End.STOPPED:
        await pace.pause(TEARDOWN_SECONDS, at_least=SHORTEST_TEARDOWN)
    return closing


async def _played(performance: Performance) -> Closing:
    try:
        return await performance.play()
    except LineCutError as cut:
        return cut.closing
    except WebSocketDisconnect:
        return LEFT


async def _left(socket: WebSocket, gateway: GatewayEvents) -> Closing:
    try:
        await gateway.listen(_texts(socket))
    except LineCutError as cut:
        return cut.closing
    except WebSocketDisconnect:
        pass
    return LEFT


async def _texts(socket: WebSocket) -> AsyncIterator[str]:
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        yield message.get("text") or ""


async def _close(socket: WebSocket, closing: Closing) -> None:
    if closing.end is End.LEFT:
        return
    if closing.code is None:
        await abort(socket)
    else:
        await socket.close(closing.code)
