"""The agent's side of a conversation: responses that are spoken, call a function, fail or are cut off."""

from dataclasses import dataclass, replace

from service.simulator import wire
from service.simulator.gateway_events import GatewayEvents
from service.simulator.leg import Closing
from service.simulator.record import End
from service.simulator.script import AgentGreets, AgentSpeaks, AgentUsesTool, ResponseFails, TokenUsage
from service.simulator.stage import LineCutError, Stage


@dataclass(slots=True)
class Playback:
    """A response the caller is hearing."""

    response_id: str
    item_id: str
    speech: AgentSpeaks
    started_ms: int
    generated: bool = False


class Agent:
    """The model, as the sideband shows it."""

    def __init__(self, stage: Stage, gateway: GatewayEvents) -> None:
        self._stage, self._gateway = stage, gateway
        self._audible: Playback | None = None
        self._speech_ended_at: float | None = None

    def asked(self) -> None:
        """The caller finished speaking: the time to the answer runs."""
        self._speech_ended_at = self._stage.now()

    async def greet(self, step: AgentGreets) -> None:
        """Speak first, if the gateway asks for it."""
        if await self._gateway.request(within=self._stage.pace.greeting):
            await self.speak(step.speech)

    async def speak(self, speech: AgentSpeaks) -> None:
        """Say something; returns at the end of the playback, or where the caller is about to cut it off."""
        playback = await self._begin(speech)
        cut = speech.speak_seconds if speech.cut_after is None else min(speech.cut_after, speech.speak_seconds)
        generate = min(speech.generate_seconds, speech.speak_seconds)
        if cut < generate:
            await self._stage.pause(cut)
            return
        await self._stage.pause(generate)
        await self._generated(playback)
        await self._stage.pause(cut - generate)
        if speech.cut_after is None:
            await self._played(playback)

    async def cut_off(self) -> None:
        """The caller talks over the agent: what was not yet heard is dropped."""
        playback, self._audible = self._audible, None
        if playback is None:
            return
        self._stage.record.count("interruptions")
        heard_ms = self._stage.now_ms() - playback.started_ms
        await self._stage.send(wire.playback("cleared", playback.response_id))
        await self._stage.send(wire.truncated(playback.item_id, heard_ms))
        if not playback.generated:
            await self._cancelled(playback, "turn_detected")

    async def use_tool(self, step: AgentUsesTool) -> None:
        """Call a function and wait for its output; a gateway that never answers loses the caller."""
        tool_call_id = await self.call_function(step)
        if not await self._gateway.output_and_request(tool_call_id, self._stage.pace.patience):
            raise LineCutError(Closing(End.CALLER_HUNG_UP))

    async def call_function(self, step: AgentUsesTool) -> str:
        """A response that is nothing but a function call; its id."""
        response_id = await self._respond(step.think_seconds)
        item_id, tool_call_id = self._stage.new_id("item"), self._stage.new_id("call")
        begun = wire.function_item(item_id, "in_progress", step.name, tool_call_id, "")
        called = wire.function_item(item_id, "completed", step.name, tool_call_id, step.arguments)
        self._gateway.expect_output(tool_call_id)
        await self._stage.send(wire.output_item("added", response_id, begun))
        await self._stage.send(wire.arguments_done(response_id, called))
        await self._stage.send(wire.output_item("done", response_id, called))
        self._stage.record.count("tool_calls")
        await self._done(wire.response(response_id, "completed", output=[called]), step.usage)
        return tool_call_id

    async def fail(self, step: ResponseFails) -> None:
        """A response the model could not give."""
        response_id = await self._respond(step.think_seconds)
        what = {"type": "server_error", "code": step.code, "message": step.message}
        details = {"type": "failed", "error": what}
        self._stage.record.count("responses_failed")
        await self._done(wire.response(response_id, "failed", status_details=details), None)

    async def _respond(self, think_seconds: float) -> str:
        response_id = self._stage.new_id("resp")
        self._gateway.response_began(response_id)
        await self._stage.send(wire.response_created(response_id))
        await self._stage.pause(think_seconds)
        return response_id

    async def _begin(self, speech: AgentSpeaks) -> Playback:
        response_id, item_id = await self._respond(speech.think_seconds), self._stage.new_id("item")
        item = wire.agent_item(item_id, "in_progress")
        await self._stage.send(wire.output_item("added", response_id, item))
        await self._stage.send(wire.item_added(item, None))
        await self._stage.send(
            wire.content("content_part.added", response_id, item_id, part={"type": "audio", "transcript": ""})
        )
        self._audible = Playback(response_id, item_id, speech, self._stage.now_ms())
        self._heard()
        await self._stage.send(wire.playback("started", response_id))
        await self._stage.send(wire.content("output_audio_transcript.delta", response_id, item_id, delta=speech.text))
        return self._audible

    def _heard(self) -> None:
        asked, self._speech_ended_at = self._speech_ended_at, None
        self._stage.record.heard(None if asked is None else self._stage.now() - asked)

    async def _generated(self, playback: Playback) -> None:
        playback.generated = True
        response_id, item_id, text = playback.response_id, playback.item_id, playback.speech.text
        if self._gateway.cancelled:
            await self._cancelled(playback, "client_cancelled")
            return
        item = wire.agent_item(item_id, "completed", text)
        await self._stage.send(wire.content("output_audio.done", response_id, item_id))
        await self._stage.send(wire.content("output_audio_transcript.done", response_id, item_id, transcript=text))
        part = {"type": "audio", "transcript": text}
        await self._stage.send(wire.content("content_part.done", response_id, item_id, part=part))
        await self._stage.send(wire.output_item("done", response_id, item))
        await self._stage.send(wire.item_done(item, None))
        await self._done(wire.response(response_id, "completed", output=[item]), playback.speech.usage)

    async def _cancelled(self, playback: Playback, reason: str) -> None:
        details = {"type": "cancelled", "reason": reason}
        usage = playback.speech.usage
        spent = replace(usage, output_audio=usage.output_audio // 2)
        await self._done(wire.response(playback.response_id, "cancelled", status_details=details), spent)

    async def _played(self, playback: Playback) -> None:
        self._audible = None
        await self._stage.send(wire.playback("stopped", playback.response_id))

    async def _done(self, final: wire.Event, usage: TokenUsage | None) -> None:
        self._gateway.response_ended()
        if usage is not None:
            self._stage.record.spent(usage)
            final = final | {"usage": wire.usage(usage)}
        await self._stage.send(wire.response_done(final))
        await self._stage.send(wire.rate_limits(49950))
