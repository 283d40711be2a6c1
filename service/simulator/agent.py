"""The agent's side of a conversation: responses that are spoken, call a function, fail or are cut off."""

from dataclasses import dataclass, replace

from service.simulator import wire
from service.simulator.context import GatewayEvents, LineCutError, SidebandContext
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
