"""Connections of strangers, bounded: how many there are, how long a request's head may be, and how long it may take.

All this comes before the application: what is refused here never reaches a route.
"""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.http.problems import PROBLEM_JSON, ProblemError, problem_response

MAX_HEAD_BYTES: Final = 64 * 1024
"""Request line and headers together; more is answered 431."""

MAX_DISCARDED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a body that still come after its response and are discarded, so that the response can be read."""

STOPPING: Final = "callscope.stopping"
"""The extension of a request's ASGI scope that has the event of the server's stop."""

BACKLOG: Final = 128
"""Connections the system keeps until they are accepted; the loop accepts as many at a time at most."""

MAX_CONNECTIONS: Final = 10_000
"""The cap where descriptors abound: each connection costs some kilobytes."""

OTHER_DESCRIPTORS: Final = 64
"""Descriptors for the database, exports, logs and libraries."""

DESCRIPTORS_A_CALL: Final = 2
"""Its session, and a request about it."""

_LINGER_SECONDS: Final = 2.0
# After a refusal: closing at once would reset the connection, and the client might never read why.


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits on connections; times in seconds."""

    connections: int
    """Open at once. One more takes the place of the one that has waited longest without a request."""
    first_byte_seconds: float = 10.0
    head_seconds: float = 10.0
    """From a request's first byte to the end of its headers."""
    body_seconds: float = 60.0
    """From the end of the headers to the end of the body."""
    read_seconds: float = 60.0
    """For a client to read what is ready for it."""


def connection_cap(calls: int) -> int:
    """Return how many connections fit below the process's soft limit of descriptors.

    Args:
        calls: Calls at once that need descriptors too.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    left = soft - BACKLOG - OTHER_DESCRIPTORS - DESCRIPTORS_A_CALL * calls
    return min(MAX_CONNECTIONS, max(left, soft // 4, 1))


@dataclass(slots=True)
class Connections:
    """The connections of one server."""

    limits: ConnectionLimits
    idle: dict["BoundedProtocol", None] = field(default_factory=dict)
    """Those without a request under way, the one that has waited longest first."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the server stops: responses without an end should end."""

    def protocol(self, **arguments: Any) -> "BoundedProtocol":  # noqa: ANN401 -- what uvicorn gives its protocols
        """Make the protocol of a connection; uvicorn calls it with what it gives any protocol."""
        return BoundedProtocol(self, **arguments)


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol with limits on connections, heads and times."""

    def __init__(self, shared: Connections, **arguments: Any) -> None:  # noqa: ANN401 -- uvicorn's own arguments
        super().__init__(**arguments)
        self._shared = shared
        self._limits = shared.limits
        self._refused = False
        self._in_body = False
        self._head_bytes = 0
        self._unparsed_bytes = 0
        self._discarded_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._read_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Take a connection; over the cap, drop the one that has waited longest, or this one if all are at work."""
        super().connection_made(transport)
        _send_at_once(transport)
        idle = self._shared.idle
        if len(self.connections) > self._limits.connections:
            next(iter(idle), self).drop()
            if self._refused:
                return
        idle[self] = None
        self._due(self._limits.first_byte_seconds, self.drop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what was kept for the connection."""
        self._shared.idle.pop(self, None)
        self._cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and start the clock for what is still to come."""
        if self._refused:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        if not self._in_body and not self._unparsed_bytes:
            self._cancel()  # the first byte is there
        self._unparsed_bytes += len(data)
        # A request that asks for another protocol is served in this one (RFC 9110 §7.8).
        with contextlib.suppress(httptools.HttpParserUpgrade):
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self._refuse_what_is_wrong()
                return
        if self._in_body:
            self._due_unless_set(self._limits.body_seconds, self._too_slow)
        elif self._unparsed_bytes > MAX_HEAD_BYTES:
            self._refuse_what_is_wrong()
        elif self._unparsed_bytes:
            self._due_unless_set(self._limits.head_seconds, self._too_slow)

    def on_message_begin(self) -> None:
        """Begin to count the head of a request."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count a part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application; the body has a time of its own."""
        self._cancel()
        self._in_body = True
        self._unparsed_bytes = self._discarded_bytes = 0
        self._shared.idle.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, or discard it if the response is given."""
        if self.cycle.response_complete:
            self._discard(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        self._cancel()
        self._in_body = False
        self._unparsed_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Count the connection among those that can be dropped, unless another request waits on it."""
        queued = bool(self.pipeline)
        super().on_response_complete()
        if not queued and not self.transport.is_closing():
            self._shared.idle[self] = None

    def shutdown(self) -> None:
        """Let go of the connection once its request is answered; uvicorn calls this for each when it stops."""
        self._shared.stopping.set()
        super().shutdown()

    def pause_writing(self) -> None:
        """Give the client a time to read what is ready."""
        super().pause_writing()
        self._read_deadline = self.loop.call_later(self._limits.read_seconds, self.drop)

    def resume_writing(self) -> None:
        """Go on writing."""
        if self._read_deadline is not None:
            self._read_deadline.cancel()
            self._read_deadline = None
        super().resume_writing()

    def drop(self) -> None:
        """Break the connection off."""
        self._refused = True
        self._shared.idle.pop(self, None)
        self.transport.abort()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head is too large")  # stops the parser; the response is given where it was fed

    def _refuse_what_is_wrong(self) -> None:
        if max(self._head_bytes, 0 if self._in_body else self._unparsed_bytes) > MAX_HEAD_BYTES:
            detail = f"Request line and headers are larger than {MAX_HEAD_BYTES // 1024} KiB."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "This is not a request in HTTP/1.1.")

    def _too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not come to its end in time.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer instead of the application, unless a response is on its way, and close."""
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._in_body:
                # An earlier request is being answered; the connection ends with that.
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.drop()
                return
        self._shared.idle.pop(self, None)
        body = problem_response("/", ProblemError(status, detail)).body
        fields = (
            b"content-type: " + PROBLEM_JSON.encode(),
            b"content-length: " + str(len(body)).encode(),
            b"connection: close",
        )
        self.transport.write(STATUS_LINE[status] + b"\r\n".join([*fields, b"", bytes(body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._due(_LINGER_SECONDS, self.drop)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.drop()

    def _due(self, seconds: float, then: Callable[[], None]) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(seconds, then)

    def _due_unless_set(self, seconds: float, then: Callable[[], None]) -> None:
        if self._deadline is None:
            self._due(seconds, then)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _send_at_once(transport: asyncio.Transport) -> None:
    """Switch off Nagle's algorithm, which holds a response's body back until its head is acknowledged, 40 ms later.

    asyncio does so itself only for sockets that name their protocol, which accepted ones do not.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
