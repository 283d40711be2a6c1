"""What the gateway says on the sideband, and the carrier's immediate answer to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from service.simulator import wire
from service.simulator.stage import Stage


class GatewayEvents:
    """Client events as they arrive; the conversation waits here for those it needs."""

    def __init__(self, stage: Stage, session: Mapping[str, Any]) -> None:
        self._stage = stage
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
        """A response is being generated; it serves whatever request was open."""
        self.active_response, self.cancelled = response_id, False
        self._requested.clear()

    def response_ended(self) -> None:
        """No response is being generated."""
        self.active_response = None

    def expect_output(self, tool_call_id: str) -> None:
        """A function was called; its output may come from now on."""
        self._awaited[tool_call_id] = asyncio.Event()

    async def output_and_request(self, tool_call_id: str, within: float) -> bool:
        """Whether the function's output and then a request to go on came within so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._awaited[tool_call_id].wait()
                await self._requested.wait()
        except TimeoutError:
            return False
        return True

    async def request(self, within: float) -> bool:
        """Whether the gateway asked for a response within so many seconds."""
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
            await self._stage.send(wire.error("invalid_event", "The event is malformed or its type unknown."))
        else:
            await handler(event)

    async def _item_created(self, event: Mapping[str, Any]) -> None:
        item = {"id": self._stage.new_id("item"), "object": "realtime.item", "status": "completed"}
        item |= event.get("item") or {}
        await self._stage.send(wire.item_added(item, event.get("previous_item_id")))
        await self._stage.send(wire.item_done(item, event.get("previous_item_id")))
        if item.get("type") == "function_call_output" and item.get("call_id") in self._awaited:
            self._awaited[item["call_id"]].set()

    async def _response_requested(self, event: Mapping[str, Any]) -> None:
        if self.active_response is None:
            self._requested.set()
            return
        message = f"Conversation already has an active response in progress: {self.active_response}."
        code = "conversation_already_has_active_response"
        await self._stage.send(wire.error(code, message, cause=event.get("event_id")))

    async def _response_cancelled(self, event: Mapping[str, Any]) -> None:
        if self.active_response is not None:
            self.cancelled = True
            return
        message = "Cancellation failed: no active response found"
        await self._stage.send(wire.error("response_cancel_not_active", message, cause=event.get("event_id")))

    async def _session_updated(self, event: Mapping[str, Any]) -> None:
        self._session |= event.get("session") or {}
        await self._stage.send({"type": "session.updated", "session": self._session})
