"""A uvicorn server inside the running event loop, whose connections can be broken off as a carrier's are."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

CONNECTION = "callscope.simulator.connection"
"""The ASGI scope extension that gives applications the connection itself."""

STOP_SECONDS = 1
"""Seconds that requests in progress may take once the server is stopping."""

_LOGGER = logging.getLogger(__name__)


class _HttpConnection(HttpToolsProtocol):
    """An HTTP connection that offers :data:`CONNECTION`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they come
        super().__init__(*args, **kwargs)
        self.logger, self.access_log = _LOGGER, False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"transport": self.transport}}


class _WebSocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket connection that offers :data:`CONNECTION`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they come
        super().__init__(*args, **kwargs)
        self.logger = _LOGGER

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][CONNECTION] = {"transport": self.transport}

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI event
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            # The base class takes a refused handshake for one that was forgotten, and would log it as an error.
            self.handshake_complete = True


class _CarrierServer(uvicorn.Server):
    """A server that leaves the process's signals alone and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _transport(connection: HTTPConnection) -> asyncio.Transport:
    transport: asyncio.Transport = connection.scope["extensions"][CONNECTION]["transport"]
    return transport


def is_closing(connection: HTTPConnection) -> bool:
    """Return True if the other end is gone already."""
    return _transport(connection).is_closing()


def send_text_frame(connection: HTTPConnection, payload: bytes) -> None:
    """Send a text frame with bytes that may be no UTF-8, as no server lets an application do (RFC 6455 §5.2)."""
    size = len(payload)
    short = size < 126  # noqa: PLR2004 - the longest length that fits the first byte
    head = bytes((0x81, size)) if short else bytes((0x81, 126)) + size.to_bytes(2, "big")
    _transport(connection).write(head + payload)


async def abort(connection: HTTPConnection) -> None:
    """Break off once what was written has left this process: a peer never misses what it was sent before."""
    transport = _transport(connection)
    while not transport.is_closing() and transport.get_write_buffer_size():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    transport.abort()


async def close(socket: WebSocket, code: int | None) -> None:
    """Close a WebSocket with a code; None breaks the connection without a close frame."""
    if code is None:
        await abort(socket)
        return
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        # A gateway that leaves at this very moment changes nothing about how the carrier ended the call.
        await socket.close(code)


class Listener:
    """Serves an ASGI application on a port of this machine while the context is open."""

    def __init__(self, app: Any, *, host: str, port: int) -> None:  # noqa: ANN401 - any ASGI application
        self._host, self._port = host, port
        self._config = uvicorn.Config(
            app,
            http=_HttpConnection,
            ws=_WebSocketConnection,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )

    @property
    def address(self) -> str:
        """``host:port``; the port is known once the listener is open."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen; raises :class:`OSError` when the port is taken."""
        listening = socket.create_server((self._host, self._port), backlog=2048)
        self._port = listening.getsockname()[1]
        self._server = _CarrierServer(self._config)
        self._serving = asyncio.create_task(self._server.serve([listening]))
        await self._server.listening.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and close every connection."""
        self._server.should_exit = True
        await self._serving
