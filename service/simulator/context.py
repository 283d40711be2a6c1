"""One sideband as the conversation on it sees it: what it sends, and what the gateway asks for."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from service.simulator import wire
from service.simulator.faults import SidebandBreak, SocketCut
from service.simulator.leg import Closing
from service.simulator.record import CallNotes, End
from service.simulator.timing import TimeScale, set_within
from service.simulator.wire import Event
from telemetry.clock import Clock

GOOD_ORDER = frozenset({1000, 1001})
"""Close codes that are no error (RFC 6455 §7.4.1)."""


class Frame(NamedTuple):
    """One message on the sideband."""

    content: str | bytes
    as_text: bool = True
    """Sent as a text frame; bytes then stand in it as they are."""


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
        time_scale: TimeScale,
        clock: Clock,
    ) -> None:
        self.record, self.time_scale = record, time_scale
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
        await self.time_scale.pause(seconds)

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

    async def break_off(self) -> None:
        """Break the sideband off at once, while the call goes on."""
        await self._break_off(SidebandBreak(0))

    def cut_if_due(self) -> None:
        """Raise :class:`LineCutError` when the call's faults end it after as many events."""
        cut = self.record.dialled.faults.cut
        if cut is not None and self._sent >= cut.after_events:
            raise LineCutError(_closing_of(cut))


class GatewayEvents:
    """Client events as they arrive; the conversation waits here for those it needs."""

    def __init__(self, context: SidebandContext, session: Mapping[str, Any]) -> None:
        self._context = context
        self._session = dict(session)
        self.active_response: str | None = None
        """The response being generated."""
        self.cancelled = False
        """True if the gateway asked to cancel the active response."""
        self.unresponsive = False
        """True if the carrier answers nothing any more."""
        self._requested = asyncio.Event()
        self._items: set[str] = set()
        self._outputs = 0
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
            self._context.record.heard_from_gateway()
            if not self.unresponsive:
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
        return await set_within(within, self._awaited[tool_call_id], self._requested)

    async def request(self, within: float) -> bool:
        """Wait so many seconds for the gateway to ask for a response; returns False if it does not."""
        return await set_within(within, self._requested)

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
        if str(item["id"]) in self._items:
            await self._context.send(
                wire.error("item_exists", "There is an item with this id.", cause=event.get("event_id"))
            )
            return
        if await self._arrives(item):
            await self._take(item, event)

    async def _arrives(self, item: Mapping[str, Any]) -> bool:
        """Return True unless the sideband breaks before the item is read."""
        fault = self._context.record.dialled.faults.output
        if fault is None or item.get("type") != "function_call_output":
            return True
        self._outputs += 1
        if self._outputs > fault.times:
            return True
        # What the carrier says of the item is then heard by nobody.
        await self._context.break_off()
        return fault.processed

    async def _take(self, item: dict[str, Any], event: Mapping[str, Any]) -> None:
        self._items.add(str(item["id"]))
        await self._context.send(wire.item_added(item, event.get("previous_item_id")))
        await self._context.send(wire.item_done(item, event.get("previous_item_id")))
        if item.get("type") == "function_call_output" and item.get("call_id") in self._awaited:
            if self._awaited[item["call_id"]].is_set():
                self._context.record.violated("second output of a tool call")
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


def closed_with(code: int) -> Closing:
    """Return the closing of a sideband by the carrier itself."""
    return Closing(End.CLOSED, code, failed=code not in GOOD_ORDER)


def _closing_of(cut: SocketCut) -> Closing:
    return Closing(End.CALLER_HUNG_UP) if cut.code is None else closed_with(cut.code)
