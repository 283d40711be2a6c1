"""The least a gateway can be: the official SDK accepts calls, follows their sidebands and does what the model asks."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from openai import APIError, AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection, AsyncRealtimeConnectionManager
from openai.types.realtime import RealtimeAudioConfigParam
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.simulator.listener import Listener
from tests.support.patience import PATIENT_SECONDS

TRANSFER_TARGETS = {"sales": "tel:+14155550110", "support": "sip:support@pbx.example.com"}


class MiniGateway:
    """Notes everything it sees, for a test to compare with what the carrier saw."""

    def __init__(self, base_url: str, secret: str, api_key: str) -> None:
        self.client = AsyncOpenAI(
            api_key=api_key, base_url=base_url, webhook_secret=secret, max_retries=0, timeout=PATIENT_SECONDS
        )
        self.reject_with: int | None = None
        self.take: Callable[[str], Awaitable[None]] = self.accept_and_attach
        self.instructions = "You are a test."
        self.audio: RealtimeAudioConfigParam = {}
        self.greets = self.uses_tools = True
        self.refuses_transfers = False
        self.says: str | None = None
        self.responses: list[int] = []
        self.seen: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []
        self.webhooks: list[tuple[str, Any]] = []
        self.failures: list[Exception] = []
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
        await self.settled()
        await self.client.close()
        await self._listener.__aexit__(kind, error, trace)

    async def settled(self) -> None:
        """Wait until every call begun so far is over on this side, too."""
        await asyncio.gather(*self._calls.values())

    def handled(self, call_id: str) -> bool:
        """Whether everything was done that this gateway does about a call."""
        return call_id in self._calls and self._calls[call_id].done()

    async def accept_and_attach(self, call_id: str) -> None:
        await self.client.realtime.calls.accept(
            call_id, type="realtime", model="gpt-realtime-2.1", instructions=self.instructions, audio=self.audio
        )
        self.seen["accepted"] += 1
        await self.attach(call_id)

    def sideband(self, call_id: str) -> AsyncRealtimeConnectionManager:
        """The connection to a call, for whose opening a busy machine has its time."""
        # What the SDK declares of the options is not all that it passes on.
        options: Any = {"open_timeout": PATIENT_SECONDS, "ping_timeout": PATIENT_SECONDS}
        return self.client.realtime.connect(call_id=call_id, websocket_connection_options=options)

    async def attach(self, call_id: str) -> None:
        async with self.sideband(call_id) as sideband:
            self.seen["started"] += 1
            try:
                await self._follow(call_id, sideband)
            except ConnectionClosed as close:
                self.closes.append(close)
            self.seen["ended"] += 1

    async def _webhook(self, request: Request) -> Response:
        event: Any = self.client.webhooks.unwrap(await request.body(), dict(request.headers))
        self.webhooks.append((request.headers["webhook-id"], event))
        if self.responses:
            return Response(status_code=self.responses.pop(0))
        if event.data.call_id not in self._calls:
            self._calls[event.data.call_id] = asyncio.create_task(self._handle(event.data.call_id))
        return Response()

    async def _handle(self, call_id: str) -> None:
        try:
            if self.reject_with is not None:
                await self.client.realtime.calls.reject(call_id, status_code=self.reject_with)
                self.seen["rejected"] += 1
            else:
                await self.take(call_id)
        except (APIError, InvalidStatus) as error:
            self.failures.append(error)

    async def _follow(self, call_id: str, sideband: AsyncRealtimeConnection) -> None:
        if self.says is not None:
            await sideband.send_raw(self.says)
        if self.greets:
            await sideband.response.create()
        while True:
            event: dict[str, Any] = json.loads(await sideband.recv_bytes())
            self.events.append(event)
            self.seen[event["type"]] += 1
            self.heard[call_id] += 1
            if event["type"] == "response.done":
                await self._answer(call_id, sideband, event["response"])

    async def _answer(self, call_id: str, sideband: AsyncRealtimeConnection, response: dict[str, Any]) -> None:
        usage = response.get("usage") or {}
        self.seen["tokens_input"] += usage.get("input_tokens", 0)
        self.seen["tokens_output"] += usage.get("output_tokens", 0)
        for item in response["output"]:
            if item["type"] == "function_call" and self.uses_tools:
                self.seen["tools"] += 1
                try:
                    await self._use_tool(call_id, sideband, item)
                except APIError as error:
                    self.failures.append(error)

    async def _use_tool(self, call_id: str, sideband: AsyncRealtimeConnection, item: dict[str, Any]) -> None:
        if item["name"] == "end_call":
            await self.client.realtime.calls.hangup(call_id)
        elif item["name"] == "transfer_call" and not self.refuses_transfers:
            target = TRANSFER_TARGETS[json.loads(item["arguments"])["target"]]
            await self.client.realtime.calls.refer(call_id, target_uri=target)
            self.seen["referred"] += 1
        else:
            await sideband.conversation.item.create(
                item={"type": "function_call_output", "call_id": item["call_id"], "output": "{}"}
            )
            await sideband.response.create()
