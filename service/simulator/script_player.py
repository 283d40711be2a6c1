"""Plays a call's script step by step: the caller's part here, the agent's with :mod:`service.simulator.agent`."""

import asyncio
from typing import assert_never

from service.simulator import script as say
from service.simulator import wire
from service.simulator.agent import Agent
from service.simulator.context import Frame, GatewayEvents, SidebandContext, closed_with
from service.simulator.leg import Closing
from service.simulator.record import End

SILENCE_SECONDS = 0.2
"""Natural seconds of silence after which the caller's speech is taken to be over."""
AUDIO_TOKENS_A_SECOND = 10
"""Tokens of a second of speech that is transcribed."""
EXPIRED = "Your session hit the maximum duration of 60 minutes."
"""The carrier's words when a session reaches its longest duration."""
APOLOGY = say.AgentSpeaks("I am sorry, that is not possible right now.")
"""The agent's words when the gateway answers that it could not end or transfer the call."""


class ScriptPlayer:
    """Plays the script of one call."""

    def __init__(self, context: SidebandContext, gateway: GatewayEvents) -> None:
        self._context, self._gateway = context, gateway
        self._agent = Agent(context, gateway)
        self._caller = Caller(context, gateway, self._agent)

    async def play(self) -> Closing:
        """Play the whole script; raises :class:`service.simulator.context.LineCutError` where it stops short."""
        self._context.cut_if_due()
        await self._context.send({"type": "session.created", "session": self._gateway.session})
        script = self._context.record.dialled.script
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
            case _:
                await self._beside(step)

    async def _beside(self, step: say.SessionWarns | say.SendsUnusable | say.Pause) -> None:
        """Play a step that is neither the caller's nor the agent's doing."""
        match step:
            case say.SessionWarns():
                await self._error(step.code, step.message)
            case say.SendsUnusable():
                self._context.record.count("unusable_messages")
                as_text = step.as_text or isinstance(step.message, str)
                await self._context.send_frame(Frame(step.message, as_text=as_text))
            case say.Pause():
                await self._context.pause(step.seconds)
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
                self._gateway.unresponsive = True
                await asyncio.Event().wait()
                return Closing(End.CALLER_HUNG_UP)
            case _:
                assert_never(ending)

    async def _wait_for_gateway(self, tool_use: say.AgentUsesTool) -> Closing:
        """Wait for the gateway to end the call; a caller it fails or keeps waiting hangs up."""
        tool_call_id = await self._agent.call_function(tool_use)
        if await self._gateway.output_and_request(tool_call_id, self._context.time_scale.caller_timeout):
            await self._agent.speak(APOLOGY)
        return Closing(End.CALLER_HUNG_UP)

    async def _error(self, code: str, message: str) -> None:
        self._context.record.count("session_errors")
        await self._context.send(wire.error(code, message))


class Caller:
    """The person on the line."""

    def __init__(self, context: SidebandContext, gateway: GatewayEvents, agent: Agent) -> None:
        self._context, self._gateway, self._agent = context, gateway, agent
        self._last_item: str | None = None

    async def speak(self, step: say.CallerSpeaks) -> None:
        """Say something, over the agent's voice if it is still audible."""
        item_id = self._context.new_id("item")
        await self._context.send(wire.speech_started(item_id, self._context.now_ms()))
        await self._agent.cut_off()
        await self._context.pause(step.seconds)
        self._context.record.count("turns")
        self._agent.caller_finished()
        await self._context.pause(SILENCE_SECONDS)
        await self._context.send(wire.speech_stopped(item_id, self._context.now_ms()))
        await self._commit(item_id)
        if self._gateway.transcribes:
            await self._transcribe(item_id, step)

    async def press_key(self, step: say.CallerPressesKey) -> None:
        """Press a key."""
        self._context.record.count("keys_pressed")
        await self._context.send_as_is(wire.dtmf(step.digit, self._context.unix()))

    async def stay_silent(self, step: say.CallerStaysSilent) -> None:
        """Say nothing until the carrier remarks on it."""
        started, item_id = self._context.now_ms(), self._context.new_id("item")
        await self._context.pause(step.seconds)
        self._context.record.count("silences")
        await self._context.send(wire.silence(item_id, started, self._context.now_ms()))
        await self._commit(item_id)

    async def _commit(self, item_id: str) -> None:
        previous, self._last_item = self._last_item, item_id
        item = wire.caller_item(item_id)
        await self._context.send(wire.committed(item_id, previous))
        await self._context.send(wire.item_added(item, previous))
        await self._context.send(wire.item_done(item, previous))

    async def _transcribe(self, item_id: str, step: say.CallerSpeaks) -> None:
        heard, written = round(step.seconds * AUDIO_TOKENS_A_SECOND), len(step.transcript.split())
        self._context.record.count("tokens_transcription", heard + written)
        await self._context.send(wire.transcription(item_id, step.transcript, heard, written))
