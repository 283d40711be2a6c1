"""The least a gateway can be: the official SDK accepts calls, follows their sidebands and does what the model asks."""

import asyncio
import json
from collections import Counter
from types import TracebackType
from typing import Any, Self

from openai import APIError, AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.simulator.listener import Listener

TRANSFER_TARGETS = {"sales": "tel:+14155550110"}


class MiniGateway:
    """Notes everything it sees, for a test to compare with what the carrier saw."""

    def __init__(self, base_url: str, secret: str) -> None:
        self.client = AsyncOpenAI(
            api_key="sk-test", base_url=base_url, webhook_secret=secret, max_retries=0, timeout=1.0
        )
        self.reject_with: int | None = None
        self.instructions = "You are a test."
        self.greets = self.uses_tools = True
        self.audio: dict[str, Any] = {}
        self.seen: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.webhooks: list[Any] = []
        self.answers: list[int] = []
        self.closes: list[ConnectionClosed] = []
        self._calls: dict[str, asyncio.Task[None]] = {}
        route = Route("/api/v1/openai/webhook", self._webhook, methods=["POST"])
        self._listener = Listener(Starlette(routes=[route]), host="127.0.0.1", port=0)

    @property
    def address(self) -> str:
        return f"http://{self._listener.address}"

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._calls.values())
        await self.client.close()
        await self._listener.__aexit__(kind, error, trace)

    async def settled(self) -> None:
        """Wait until every call begun so far is over on this side, too."""
        await asyncio.gather(*self._calls.values())

    async def _webhook(self, request: Request) -> Response:
        event: Any = self.client.webhooks.unwrap(await request.body(), dict(request.headers))
        self.webhooks.append(event)
        if self.answers:
            return Response(status_code=self.answers.pop(0))
        if event.data.call_id not in self._calls:
            self._calls[event.data.call_id] = asyncio.create_task(self._handle(event.data.call_id))
        return Response()

    async def _handle(self, call_id: str) -> None:
        try:
            if self.reject_with is not None:
                await self.client.realtime.calls.reject(call_id, status_code=self.reject_with)
                self.seen["rejected"] += 1
            else:
                await self._take(call_id)
        except (APIError, InvalidStatus) as error:
            self.failures.append(error)

    async def _take(self, call_id: str) -> None:
        extra: dict[str, Any] = {"audio": self.audio} if self.audio else {}
        await self.client.realtime.calls.accept(
            call_id, type="realtime", model="gpt-realtime-2.1", instructions=self.instructions, **extra
        )
        self.seen["accepted"] += 1
        async with self.client.realtime.connect(call_id=call_id) as sideband:
            self.seen["started"] += 1
            try:
                await self._follow(call_id, sideband)
            except ConnectionClosed as close:
                self.closes.append(close)
            self.seen["ended"] += 1

    async def _follow(self, call_id: str, sideband: Any) -> None:
        if self.greets:
            await sideband.response.create()
        while True:
            event = (await sideband.recv()).to_dict()
            self.events.append(event)
            self.seen[event["type"]] += 1
            if event["type"] == "response.done":
                self._count_tokens(event["response"])
                for item in event["response"]["output"]:
                    if item["type"] == "function_call" and self.uses_tools:
                        await self._use_tool(call_id, sideband, item)

    def _count_tokens(self, response: dict[str, Any]) -> None:
        usage = response.get("usage") or {}
        self.seen["tokens_input"] += usage.get("input_tokens", 0)
        self.seen["tokens_output"] += usage.get("output_tokens", 0)

    async def _use_tool(self, call_id: str, sideband: Any, item: dict[str, Any]) -> None:
        self.seen["tools"] += 1
        if item["name"] == "end_call":
            await self.client.realtime.calls.hangup(call_id)
        elif item["name"] == "transfer_call":
            target = TRANSFER_TARGETS[json.loads(item["arguments"])["target"]]
            await self.client.realtime.calls.refer(call_id, target_uri=target)
            self.seen["referred"] += 1
        else:
            output = {"type": "function_call_output", "call_id": item["call_id"], "output": "{}"}
            await sideband.conversation.item.create(item=output)
            await sideband.response.create()
