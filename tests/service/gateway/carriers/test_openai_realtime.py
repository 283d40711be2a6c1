"""The requests that every call makes of the carrier, as they are on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai import AsyncOpenAI

from service.gateway.carriers.carrier import CarrierError, Tool
from service.gateway.carriers.openai_realtime import CarrierTimeouts, OpenAIRealtimeCarrier
from service.gateway.carriers.proxy import http_client
from telemetry.semconv.attributes import CallId

CALL = CallId("rtc_u1:9")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Answers every request with the same bytes, or with silence."""

    answer: bytes
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    serving: list[Any] = field(default_factory=list)
    """A task a connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append(Request(line, headers, body))
            writer.write(self.answer)
            await writer.drain()


@asynccontextmanager
async def asked(
    answer: bytes, *, path: str = "/v1", timeouts: CarrierTimeouts | None = None
) -> AsyncIterator[tuple[OpenAIRealtimeCarrier, Server]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    http = http_client(None)
    client = AsyncOpenAI(api_key="sk-test", base_url=f"http://127.0.0.1:{server.port}{path}", http_client=http)
    carrier = OpenAIRealtimeCarrier(client, http, "gpt-realtime", timeouts)
    try:
        yield carrier, server
    finally:
        await carrier.close()
        await asyncio.wait_for(asyncio.gather(*server.serving), 60)
        listening.close()
        await listening.wait_closed()


async def test_an_accept_says_what_the_session_is_to_be() -> None:
    """Model, instructions and tools; the caller's words as text only where they are wanted."""
    tool = Tool("look_up", "Looks it up.", {"type": "object"})
    async with asked(OK) as (carrier, server):
        await carrier.accept(CALL, "You answer.", [tool])
        await carrier.accept(CALL, "You answer.", (), transcribe=True)
    first, second = server.requests
    assert first.line == "POST /v1/realtime/calls/rtc_u1%3A9/accept HTTP/1.1"
    assert first.headers["authorization"] == "Bearer sk-test"
    assert first.headers["content-type"] == "application/json"
    assert json.loads(first.body) == {
        "type": "realtime",
        "model": "gpt-realtime",
        "instructions": "You answer.",
        "tools": [
            {"type": "function", "name": "look_up", "description": "Looks it up.", "parameters": {"type": "object"}}
        ],
        "tool_choice": "auto",
    }
    assert "transcription" in json.loads(second.body)["audio"]["input"]


async def test_a_base_address_keeps_its_query() -> None:
    """As the SDK has it for what is asked through it."""
    async with asked(OK, path="/openai/v1?api-version=2") as (carrier, server):
        await carrier.accept(CALL, "You answer.", ())
        with pytest.raises(CarrierError):
            async with carrier.session(CALL, fresh=False):
                pass
    assert [request.line.split()[1] for request in server.requests] == [
        "/openai/v1/realtime/calls/rtc_u1%3A9/accept?api-version=2",
        "/openai/v1/realtime?api-version=2&call_id=rtc_u1%3A9",
    ]


async def test_a_sideband_brings_the_key_and_asks_for_no_compression() -> None:
    """A handshake that is refused tells its status."""
    async with asked(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n") as (carrier, server):
        with pytest.raises(CarrierError) as refused:
            async with carrier.session(CALL, fresh=False):
                pass
    assert refused.value.status == 404
    headers = server.requests[0].headers
    assert headers["authorization"] == "Bearer sk-test"
    assert "sec-websocket-extensions" not in headers


async def test_no_redirect_gets_the_key() -> None:
    """Wherever a handshake is sent to, it ends there."""
    async with asked(OK) as (_, elsewhere):
        location = f"location: ws://127.0.0.1:{elsewhere.port}/v1/realtime".encode()
        async with asked(b"HTTP/1.1 302 Found\r\n" + location + b"\r\ncontent-length: 0\r\n\r\n") as (carrier, _server):
            with pytest.raises(CarrierError) as refused:
                async with carrier.session(CALL, fresh=False):
                    pass
    assert refused.value.status == 302
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [400, 404, 409, 429, 500])
async def test_a_refused_accept_tells_its_status_and_is_asked_once(status: int) -> None:
    """Accepting twice might do harm."""
    async with asked(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status) as (carrier, server):
        with pytest.raises(CarrierError) as refused:
            await carrier.accept(CALL, "You answer.", ())
    assert (refused.value.status, refused.value.error_type) == (status, str(status))
    assert len(server.requests) == 1


async def test_silence_is_a_time_out() -> None:
    """Of the accept as of the handshake."""
    async with asked(b"", timeouts=CarrierTimeouts(0.05, 0.05)) as (carrier, _server):
        with pytest.raises(CarrierError, match="timeout"):
            await carrier.accept(CALL, "You answer.", ())
        with pytest.raises(CarrierError, match="timeout"):
            async with carrier.session(CALL, fresh=False):
                pass


async def test_nobody_there_is_a_lost_connection() -> None:
    """Of the accept as of the handshake."""
    async with asked(OK) as (_, gone):
        pass
    http = http_client(None)
    client = AsyncOpenAI(api_key="sk-test", base_url=f"http://127.0.0.1:{gone.port}/v1", http_client=http)
    carrier = OpenAIRealtimeCarrier(client, http, "gpt-realtime")
    with pytest.raises(CarrierError, match="connection"):
        await carrier.accept(CALL, "You answer.", ())
    with pytest.raises(CarrierError, match="connection"):
        async with carrier.session(CALL, fresh=False):
            pass
    await carrier.close()


@pytest.mark.parametrize("call_id", ["", ".", ".."])
async def test_an_id_that_would_lead_elsewhere_is_refused(call_id: str) -> None:
    """Nobody is asked."""
    async with asked(OK) as (carrier, server):
        with pytest.raises(CarrierError, match="invalid_call_id"):
            await carrier.accept(CallId(call_id), "You answer.", ())
        with pytest.raises(CarrierError, match="invalid_call_id"):
            async with carrier.session(CallId(call_id), fresh=False):
                pass
    assert server.requests == []
