"""Plays a call's script step by step, the caller's part and the agent's."""

import asyncio
from dataclasses import dataclass, replace
from typing import assert_never

from service.simulator import script as say
from service.simulator import wire
from service.simulator.context import Frame, GatewayEvents, LineCutError, SidebandContext, closed_with
from service.simulator.leg import Closing
from service.simulator.record import End
from service.simulator.script import AgentGreets, AgentSpeaks, AgentUsesTool, ResponseFails, ScriptedUsage


@dataclass(slots=True)
class SpokenResponse:
    """A response the caller is hearing."""

    response_id: str
    item_id: str
    speech: AgentSpeaks
    started_ms: int
    generated: bool = False


class Agent:
    """The model, as the sideband shows it."""

    def __init__(self, context: SidebandContext, gateway: GatewayEvents) -> None:
        self._context, self._gateway = context, gateway
        self._audible: SpokenResponse | None = None
        self._speech_ended_at: float | None = None

    def caller_finished(self) -> None:
        """Note that the caller finished speaking: the time to the answer runs."""
        self._speech_ended_at = self._context.now()

    async def greet(self, step: AgentGreets) -> None:
        """Speak first, if the gateway asks for it."""
        if await self._gateway.request(within=self._context.time_scale.greeting_timeout):
            await self.speak(step.speech)

    async def speak(self, speech: AgentSpeaks) -> None:
        """Say something; returns at the end of the playback, or where the caller is about to cut it off."""
        playback = await self._begin(speech)
        cut = speech.speak_seconds if speech.cut_after is None else min(speech.cut_after, speech.speak_seconds)
        generate = min(speech.generate_seconds, speech.speak_seconds)
        if cut < generate:
            await self._context.pause(cut)
            return
        await self._context.pause(generate)
        await self._generated(playback)
        await self._context.pause(cut - generate)
        if speech.cut_after is None:
            await self._played(playback)

    async def cut_off(self) -> None:
        """Drop what was not yet heard, as the caller talks over the agent."""
        playback, self._audible = self._audible, None
        if playback is None:
            return
        self._context.record.count("interruptions")
        heard_ms = self._context.now_ms() - playback.started_ms
        await self._context.send(wire.playback("cleared", playback.response_id))
        await self._context.send(wire.truncated(playback.item_id, heard_ms))
        if not playback.generated:
            await self._cancelled(playback, "turn_detected")

    async def use_tool(self, step: AgentUsesTool) -> None:
        """Call a function and wait for its output; a gateway that never answers loses the caller."""
        tool_call_id = await self.call_function(step)
        if not await self._gateway.output_and_request(tool_call_id, self._context.time_scale.caller_timeout):
            raise LineCutError(Closing(End.CALLER_HUNG_UP))

    async def call_function(self, step: AgentUsesTool) -> str:
        """Send a response that is nothing but a function call; returns its id."""
        response_id = await self._respond(step.think_seconds)
        item_id, tool_call_id = self._context.new_id("item"), self._context.new_id("call")
        begun = wire.function_item(item_id, "in_progress", step.name, tool_call_id, "")
        called = wire.function_item(item_id, "completed", step.name, tool_call_id, step.arguments)
        self._gateway.expect_output(tool_call_id)
        await self._context.send(wire.output_item("added", response_id, begun))
        await self._context.send(wire.arguments_done(response_id, called))
        await self._context.send(wire.output_item("done", response_id, called))
        self._context.record.count("tool_calls")
        await self._done(wire.response(response_id, "completed", output=[called]), step.usage)
        return tool_call_id

    async def fail(self, step: ResponseFails) -> None:
        """Send a response that the model could not give."""
        response_id = await self._respond(step.think_seconds)
        what = {"type": "server_error", "code": step.code, "message": step.message}
        details = {"type": "failed", "error": what}
        self._context.record.count("responses_failed")
        await self._done(wire.response(response_id, "failed", status_details=details), None)

    async def _respond(self, think_seconds: float) -> str:
        response_id = self._context.new_id("resp")
        self._gateway.response_began(response_id)
        await self._context.send(wire.response_created(response_id))
        await self._context.pause(think_seconds)
        return response_id

    async def _begin(self, speech: AgentSpeaks) -> SpokenResponse:
        response_id, item_id = await self._respond(speech.think_seconds), self._context.new_id("item")
        item = wire.agent_item(item_id, "in_progress")
        await self._context.send(wire.output_item("added", response_id, item))
        await self._context.send(wire.item_added(item, None))
        await self._context.send(
            wire.content("content_part.added", response_id, item_id, part={"type": "audio", "transcript": ""})
        )
        self._audible = SpokenResponse(response_id, item_id, speech, self._context.now_ms())
        self._heard()
        await self._context.send(wire.playback("started", response_id))
        await self._context.send(wire.content("output_audio_transcript.delta", response_id, item_id, delta=speech.text))
        return self._audible

    def _heard(self) -> None:
        waiting_since, self._speech_ended_at = self._speech_ended_at, None
        self._context.record.heard(None if waiting_since is None else self._context.now() - waiting_since)

    async def _generated(self, playback: SpokenResponse) -> None:
        playback.generated = True
        response_id, item_id, text = playback.response_id, playback.item_id, playback.speech.text
        if self._gateway.cancelled:
            await self._cancelled(playback, "client_cancelled")
            return
        item = wire.agent_item(item_id, "completed", text)
        await self._context.send(wire.content("output_audio.done", response_id, item_id))
        await self._context.send(wire.content("output_audio_transcript.done", response_id, item_id, transcript=text))
        part = {"type": "audio", "transcript": text}
        await self._context.send(wire.content("content_part.done", response_id, item_id, part=part))
        await self._context.send(wire.output_item("done", response_id, item))
        await self._context.send(wire.item_done(item, None))
        await self._done(wire.response(response_id, "completed", output=[item]), playback.speech.usage)

    async def _cancelled(self, playback: SpokenResponse, reason: str) -> None:
        details = {"type": "cancelled", "reason": reason}
        usage = playback.speech.usage
        spent = replace(usage, output_audio=usage.output_audio // 2)
        await self._done(wire.response(playback.response_id, "cancelled", status_details=details), spent)

    async def _played(self, playback: SpokenResponse) -> None:
        self._audible = None
        await self._context.send(wire.playback("stopped", playback.response_id))

    async def _done(self, final: wire.Event, usage: ScriptedUsage | None) -> None:
        self._gateway.response_ended()
        if usage is not None:
            self._context.record.spent(usage)
            final = final | {"usage": wire.usage(usage)}
        await self._context.send(wire.response_done(final))
        await self._context.send(wire.rate_limits(49950))


SILENCE_SECONDS = 0.2
"""Natural seconds of silence after which the caller's speech is taken to be over."""
AUDIO_TOKENS_A_SECOND = 10
"""Tokens of a second of speech that is transcribed."""
EXPIRED = "Your session hit the maximum duration of 60 minutes."
"""The carrier's words when a session reaches its longest duration."""
APOLOGY = say.AgentSpeaks("I am sorry, that is not possible right now.")
"""The agent's words when the gateway answers that it could not end or transfer the call."""
SMALL_TALK = (
    say.CallerSpeaks("And another thing.", 3.0),
    say.AgentSpeaks("Tell me about it.", speak_seconds=2.0),
    say.Pause(1.0),
)
"""One turn of a call that does not want to end."""


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
            case _:
                return await self._go_on(ending)

    async def _go_on(self, ending: say.RunsIntoLimit | say.LineGoesDead) -> Closing:
        """Play an ending that comes when the gateway has had enough."""
        match ending:
            case say.RunsIntoLimit():
                await self._run_on(ending)
            case say.LineGoesDead():
                self._gateway.unresponsive = True
                await asyncio.Event().wait()
            case _:
                assert_never(ending)
        return Closing(End.CALLER_HUNG_UP)

    async def _run_on(self, ending: say.RunsIntoLimit) -> None:
        """Talk on, or say nothing, for as long as the caller stays."""
        if ending.limit == "silence":
            await self._context.pause(ending.seconds)
            return
        last = self._context.now() + ending.seconds * self._context.time_scale.scale
        while self._context.now() < last:
            for step in SMALL_TALK:
                await self._play(step)

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
