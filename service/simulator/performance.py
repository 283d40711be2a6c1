"""Plays one call's script on an open sideband, event by event in the carrier's order."""

import asyncio
from typing import assert_never

from service.simulator import script as say
from service.simulator import wire
from service.simulator.agent import Agent
from service.simulator.caller import Caller
from service.simulator.gateway_events import GatewayEvents
from service.simulator.leg import Closing
from service.simulator.record import End
from service.simulator.stage import Stage, closed_with

EXPIRED = "Your session hit the maximum duration of 60 minutes."
"""The carrier's words when a session reaches its longest duration."""

APOLOGY = say.AgentSpeaks("I am sorry, that is not possible right now.")
"""What the agent says when the gateway answers that it could not end or transfer the call."""


class Performance:
    """The conversation of one call."""

    def __init__(self, stage: Stage, gateway: GatewayEvents) -> None:
        self._stage, self._gateway = stage, gateway
        self._agent = Agent(stage, gateway)
        self._caller = Caller(stage, gateway, self._agent)

    async def play(self) -> Closing:
        """The whole script; raises :class:`service.simulator.stage.LineCutError` where it stops short."""
        self._stage.cut_if_due()
        await self._stage.send({"type": "session.created", "session": self._gateway.session})
        script = self._stage.record.dialled.script
        for step in script.steps:
            await self._play(step)
        return await self._end(script.ending)

    async def _play(self, step: say.Step) -> None:
        match step:
            case say.CallerSpeaks():
                await self._caller.speak(step)
            case say.AgentSpeaks():
                await self._agent.speak(step)
            case say.AgentGreets():
                await self._agent.greet(step)
            case say.AgentUsesTool():
                await self._agent.use_tool(step)
            case say.CallerPressesKey():
                await self._caller.press_key(step)
            case say.CallerStaysSilent():
                await self._caller.stay_silent(step)
            case say.ResponseFails():
                await self._agent.fail(step)
            case say.SessionWarns():
                await self._error(step.code, step.message)
            case say.Pause():
                await self._stage.pause(step.seconds)
            case _:
                assert_never(step)

    async def _end(self, ending: say.Ending) -> Closing:
        match ending:
            case say.CallerHangsUp():
                return Closing(End.CALLER_HUNG_UP)
            case say.AgentHangsUp():
                return await self._wait_for_gateway(say.AgentUsesTool(say.END_TOOL, usage=ending.usage))
            case say.AgentTransfers():
                return await self._wait_for_gateway(ending.as_tool_use())
            case say.SessionExpires():
                await self._error("session_expired", EXPIRED)
                return Closing(End.EXPIRED, 1000, failed=True)
            case say.SidebandCloses():
                return closed_with(ending.code)
            case say.LineGoesDead():
                self._gateway.deaf = True
                await asyncio.Event().wait()
                return Closing(End.CALLER_HUNG_UP)
            case _:
                assert_never(ending)

    async def _wait_for_gateway(self, tool_use: say.AgentUsesTool) -> Closing:
        """The gateway is expected to end the call; a caller it fails or keeps waiting hangs up."""
        tool_call_id = await self._agent.call_function(tool_use)
        if await self._gateway.output_and_request(tool_call_id, self._stage.pace.patience):
            await self._agent.speak(APOLOGY)
        return Closing(End.CALLER_HUNG_UP)

    async def _error(self, code: str, message: str) -> None:
        self._stage.record.count("session_errors")
        await self._stage.send(wire.error(code, message))
