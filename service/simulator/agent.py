"""The agent's side of a conversation: responses that are spoken, call a function, fail or are cut off."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from service.simulator import wire
from service.simulator.faults import SidebandBreak, SocketCut
from service.simulator.leg import Closing
from service.simulator.plan import TimeScale
from service.simulator.record import CallNotes, End
from service.simulator.script import (
    AgentGreets,
    AgentSpeaks,
    AgentUsesTool,
    CallerPressesKey,
    CallerSpeaks,
    CallerStaysSilent,
    ResponseFails,
    ScriptedUsage,
)
from service.simulator.wire import Event
from telemetry.clock import Clock

SILENCE_SECONDS = 0.2
"""Natural seconds of silence after which the caller's speech is taken to be over."""


class Frame(NamedTuple):
    """One message on the sideband."""

    content: str | bytes
    as_text: bool = True
    """Sent as a text frame; bytes then stand in it as they are."""


GOOD_ORDER = frozenset({1000, 1001})
"""Close codes that are no error (RFC 6455 §7.4.1)."""


def closed_with(code: int) -> Closing:
    """Return the closing of a sideband by the carrier itself."""
    return Closing(End.CLOSED, code, failed=code not in GOOD_ORDER)


class LineCutError(Exception):
    """The conversation is over where it stands."""

    def __init__(self, closing: Closing) -> None:
        super().__init__(closing.end)
        self.closing = closing


class SidebandContext:
    """One open sideband, as the conversation sees it."""

    def __init__(
        self,
        send: Callable[[Frame], Awaitable[None]],
        break_off: Callable[[SidebandBreak], Awaitable[bool]],
        record: CallNotes,
        *,
        pace: TimeScale,
        clock: Clock,
    ) -> None:
        self.record, self.pace = record, pace
        self._send, self._break_off, self._clock = send, break_off, clock
        self._opened_at = clock.now()
        self._sent = self._ids = 0
        self._breaks = deque(sorted(record.dialled.faults.breaks, key=lambda fault: fault.after_events))

    def new_id(self, prefix: str) -> str:
        """Return an id that is unique among all calls."""
        self._ids += 1
        return f"{prefix}_{self.record.dialled.call_id.removeprefix('rtc_')}_{self._ids}"

    def now(self) -> float:
        """Return the seconds since the sideband opened."""
        return self._clock.now().since(self._opened_at)

    def unix(self) -> int:
        """Return the wall-clock time in seconds."""
        return self._clock.now().unix_nanos // 1_000_000_000

    def now_ms(self) -> int:
        """Return the milliseconds on the session's audio timeline."""
        return round(self.now() * 1000)

    async def pause(self, seconds: float) -> None:
        """Let natural seconds of the conversation pass."""
        await self.pace.pause(seconds)

    async def send(self, event: Event) -> None:
        """Put an event with an id of its own on the sideband; raises :class:`LineCutError`."""
        await self.send_as_is({"event_id": self.new_id("event"), **event})

    async def send_as_is(self, event: Event) -> None:
        """Put an event on the sideband; raises :class:`LineCutError`."""
        await self.send_frame(Frame(json.dumps(event)))

    async def send_frame(self, frame: Frame) -> None:
        """Put a message on the sideband, whatever it is; raises :class:`LineCutError`."""
        await self._send(frame)
        self._sent += 1
        self.cut_if_due()
        # One that is due while no sideband is open waits for the next.
        if self._breaks and self._sent >= self._breaks[0].after_events:
            fault = self._breaks.popleft()
            if not await self._break_off(fault):
                self._breaks.appendleft(fault)

    def cut_if_due(self) -> None:
        """Raise :class:`LineCutError` when the call's faults end it after as many events."""
        cut = self.record.dialled.faults.cut
        if cut is not None and self._sent >= cut.after_events:
            raise LineCutError(_closing_of(cut))


def _closing_of(cut: SocketCut) -> Closing:
    return Closing(End.CALLER_HUNG_UP) if cut.code is None else closed_with(cut.code)


class GatewayEvents:
    """Client events as they arrive; the conversation waits here for those it needs."""

    def __init__(self, context: SidebandContext, session: Mapping[str, Any]) -> None:
        self._context = context
        self._session = dict(session)
        self.active_response: str | None = None
        """The response being generated."""
        self.cancelled = False
        """The gateway asked to cancel the active response."""
        self.deaf = False
        """The carrier answers nothing any more."""
        self._requested = asyncio.Event()
        self._awaited: dict[str, asyncio.Event] = {}
        self._handlers = {
            "conversation.item.create": self._item_created,
            "response.create": self._response_requested,
            "response.cancel": self._response_cancelled,
            "session.update": self._session_updated,
        }

    @property
    def session(self) -> Mapping[str, Any]:
        """The session object as it stands."""
        return self._session

    @property
    def transcribes(self) -> bool:
        """The gateway switched the transcription of the caller on."""
        return self._session["audio"]["input"].get("transcription") is not None

    async def listen(self, messages: AsyncIterator[str]) -> None:
        """Handle messages until the gateway closes the sideband."""
        async for message in messages:
            if not self.deaf:
                await self._handle(message)

    def response_began(self, response_id: str) -> None:
        """Note that a response is being generated; it serves whatever request was open."""
        self.active_response, self.cancelled = response_id, False
        self._requested.clear()

    def response_ended(self) -> None:
        """Note that no response is being generated."""
        self.active_response = None

    def expect_output(self, tool_call_id: str) -> None:
        """Note that a function was called; its output may come from now on."""
        self._awaited[tool_call_id] = asyncio.Event()

    async def output_and_request(self, tool_call_id: str, within: float) -> bool:
        """Wait so many seconds for a function's output, then a request to go on; returns False if they do not come."""
        try:
            async with asyncio.timeout(within):
                await self._awaited[tool_call_id].wait()
                await self._requested.wait()
        except TimeoutError:
            return False
        return True

    async def request(self, within: float) -> bool:
        """Wait so many seconds for the gateway to ask for a response; returns False if it does not."""
        try:
            async with asyncio.timeout(within):
                await self._requested.wait()
        except TimeoutError:
            return False
        return True

    async def _handle(self, message: str) -> None:
        try:
            event = json.loads(message)
            handler = self._handlers[event["type"]]
        except (ValueError, KeyError, TypeError):
            await self._context.send(wire.error("invalid_event", "The event is malformed or its type unknown."))
        else:
            await handler(event)

    async def _item_created(self, event: Mapping[str, Any]) -> None:
        item = {"id": self._context.new_id("item"), "object": "realtime.item", "status": "completed"}
        item |= event.get("item") or {}
        await self._context.send(wire.item_added(item, event.get("previous_item_id")))
        await self._context.send(wire.item_done(item, event.get("previous_item_id")))
        if item.get("type") == "function_call_output" and item.get("call_id") in self._awaited:
            self._awaited[item["call_id"]].set()

    async def _response_requested(self, event: Mapping[str, Any]) -> None:
        if self.active_response is None:
            self._requested.set()
            return
        message = f"SimulatedConversation already has an active response in progress: {self.active_response}."
        code = "conversation_already_has_active_response"
        await self._context.send(wire.error(code, message, cause=event.get("event_id")))

    async def _response_cancelled(self, event: Mapping[str, Any]) -> None:
        if self.active_response is not None:
            self.cancelled = True
            return
        message = "Cancellation failed: no active response found"
        await self._context.send(wire.error("response_cancel_not_active", message, cause=event.get("event_id")))

    async def _session_updated(self, event: Mapping[str, Any]) -> None:
        self._session |= event.get("session") or {}
        await self._context.send({"type": "session.updated", "session": self._session})


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
        if await self._gateway.request(within=self._context.pace.greeting):
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
        if not await self._gateway.output_and_request(tool_call_id, self._context.pace.patience):
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


AUDIO_TOKENS_A_SECOND = 10
"""Tokens of a second of speech that is transcribed."""


class Caller:
    """The person on the line."""

    def __init__(self, context: SidebandContext, gateway: GatewayEvents, agent: Agent) -> None:
        self._context, self._gateway, self._agent = context, gateway, agent
        self._last_item: str | None = None

    async def speak(self, step: CallerSpeaks) -> None:
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

    async def press_key(self, step: CallerPressesKey) -> None:
        """Press a key."""
        self._context.record.count("keys_pressed")
        await self._context.send_as_is(wire.dtmf(step.digit, self._context.unix()))

    async def stay_silent(self, step: CallerStaysSilent) -> None:
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

    async def _transcribe(self, item_id: str, step: CallerSpeaks) -> None:
        heard, written = round(step.seconds * AUDIO_TOKENS_A_SECOND), len(step.transcript.split())
        self._context.record.count("tokens_transcription", heard + written)
        await self._context.send(wire.transcription(item_id, step.transcript, heard, written))
