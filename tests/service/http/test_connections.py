"""The server before the application: how many connections, how long a head, how much time strangers get."""

import asyncio
import contextlib
import json
import logging
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from service.http.connections import MAX_HEAD_BYTES, ConnectionLimits, connection_cap
from service.server import run, server_for
from tests.support.server import serving

WAIT_SECONDS = 30.0


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body, or at once without reading it under /early."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A bare connection."""
    where = urlsplit(url)
    assert where.hostname is not None
    with socket.create_connection((where.hostname, where.port or 0), timeout=WAIT_SECONDS) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes, in whatever way."""
    told = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while chunk := connection.recv(65536):
            told += chunk
    return told


def status_of(answer: bytes) -> int:
    """The status of an answer."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture
def url() -> Iterator[str]:
    """A server with short times."""
    limits = ConnectionLimits(20, first_byte_seconds=0.3, head_seconds=0.3, body_seconds=0.3)
    with serving(echo, limits=limits) as base:
        yield base


HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x-a: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        HEAD + b"".join(b"x-%d: %s\r\n" % (i, b"a" * 1000) for i in range(80)) + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        HEAD + b"x-a: " + b"a" * 5_000_000,
        HEAD + b"x-" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000,
    ],
    ids=["one-header", "many-headers", "request-line", "no-end", "name-without-end", "tiny-headers"],
)
def test_a_head_over_64_kib_is_answered_431(url: str, head: bytes) -> None:
    """However it is made up, whether it ends or not, the answer can be read and the server goes on."""
    with connected(url) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(head)
        answer = everything(connection)
    assert status_of(answer) == 431
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 431
    with connected(url) as connection:
        connection.sendall(HEAD + b"connection: close\r\n\r\n")
        assert status_of(everything(connection)) == 200


def test_a_head_that_fits_is_taken(url: str) -> None:
    """Just under the limit, in one piece or in many, is no fault; also the second on a connection."""
    head = HEAD + b"x-a: " + b"a" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"
    with connected(url) as connection:
        for pieces in (1, 7):
            size = len(head) // pieces + 1
            for start in range(0, len(head), size):
                connection.sendall(head[start : start + size])
            assert b"200 OK" in connection.recv(65536)


def test_who_sends_nothing_is_let_go(url: str) -> None:
    """A connection without a first byte is closed without an answer."""
    with connected(url) as connection:
        assert everything(connection) == b""


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\nhost:", HEAD, b"\r\n"])
def test_a_head_that_does_not_end_is_answered_408(url: str, part: bytes) -> None:
    """The head has a time, however much of it came."""
    with connected(url) as connection:
        connection.sendall(part)
        assert status_of(everything(connection)) == 408


def test_a_head_that_trickles_is_answered_408(url: str) -> None:
    """A byte now and then buys no time."""
    with connected(url) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for byte in HEAD * 10:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        assert status_of(everything(connection)) == 408


def test_a_body_that_does_not_end_is_answered_408(url: str) -> None:
    """The body has a time of its own, and the application hears that its client is gone."""
    with connected(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n123")
        assert status_of(everything(connection)) == 408


def test_an_answer_before_the_body_can_be_read(url: str) -> None:
    """An application that answers early is heard while the body still comes, which is read to nowhere."""
    with connected(url) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(HEAD + b"\r\n")
        assert b"200 OK" in connection.recv(65536)


def test_what_is_no_http_is_answered_400(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """TLS, HTTP/2 or noise at the port is answered, and writes no line to the log."""
    with caplog.at_level(logging.INFO):
        for noise in (b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"hello\r\n\r\n"):
            with connected(url) as connection:
                connection.sendall(noise)
                assert status_of(everything(connection)) == 400
    assert not caplog.records


def test_a_wish_for_another_protocol_is_served_in_this_one(url: str) -> None:
    """Clients that offer HTTP/2 or WebSocket on a plain connection get their answer."""
    for offered in (b"h2c", b"websocket"):
        with connected(url) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: "
                + offered
                + b"\r\ncontent-length: 3\r\n\r\nabc"
            )
            assert b"200 OK" in connection.recv(65536)


def test_a_keep_alive_request_does_not_wait_for_an_acknowledgement() -> None:
    """Accepted connections send at once: the option is set on the server's end of each."""
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            (connection,) = server.server_state.connections
            end = connection.transport.get_extra_info("socket")
            seen.append(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await echo(scope, receive, send)

    from tests.support.server import AppServer  # noqa: PLC0415 -- its insides are looked at here alone

    running = AppServer(app)
    server = running._server
    running.start()
    try:
        with connected(running.url) as connection:
            connection.sendall(HEAD + b"connection: close\r\n\r\n")
            assert status_of(everything(connection)) == 200
    finally:
        running.stop()
    assert seen == [1]


def test_idle_connections_over_the_cap_make_room() -> None:
    """With every place taken by silence, one who asks is answered; those who wait longest are let go first."""
    with serving(echo, limits=ConnectionLimits(5)) as url, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(url)) for _ in range(12)]
        client = HTTPConnection(urlsplit(url).netloc, timeout=WAIT_SECONDS)
        stack.callback(client.close)
        for _ in range(3):
            client.request("GET", "/")
            assert client.getresponse().read() == b"0"
        assert everything(silent[0]) == b""


def test_the_cap_leaves_descriptors_to_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is below the soft limit by what calls, the backlog and all else need, and never nothing."""
    for soft, calls, cap in ((1024, 100, 632), (1024, 10_000, 256), (256, 100, 64), (1_000_000, 1, 10_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connection_cap(calls) == cap
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert connection_cap(1) == 10_000


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
from service.server import listen, run, server_for, address_of
from tests.service.http.test_connections import echo
with listen("127.0.0.1", 0) as listening:
    print(address_of(listening), flush=True)
    run(server_for(echo).serve([listening]))
"""


def test_1100_idle_connections_leave_the_server_answering() -> None:
    """Under a soft limit of 1,024 descriptors it goes on answering, and writes nothing about it."""
    needed = 1_400
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= needed, "this test needs descriptors"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    server = subprocess.Popen(  # noqa: S603 -- our own interpreter
        [sys.executable, "-c", LIMITED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with contextlib.ExitStack() as stack:
            for _ in range(1_100):
                stack.enter_context(connected(url))
            for _ in range(20):
                with connected(url) as connection:
                    connection.sendall(HEAD + b"connection: close\r\n\r\n")
                    assert status_of(everything(connection)) == 200
    finally:
        server.terminate()
        told, complained = server.communicate(timeout=WAIT_SECONDS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (told, complained) == ("", "")


def test_the_fastest_loop_is_used() -> None:
    """Where uvloop is installed the service runs on it."""

    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(loop()) == "uvloop"


def test_a_forwarded_address_counts_only_from_a_proxy_that_is_named() -> None:
    """Nobody can name an address of their own choice, unless they are a proxy that is trusted."""
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked.append(scope["client"][0])
        await echo(scope, receive, send)

    for trusted in ((), ("10.0.0.0/8",), ("127.0.0.1",), ("127.0.0.0/8", "192.0.2.7")):
        with serving(app, trusted_proxies=trusted) as url, connected(url) as connection:
            connection.sendall(HEAD + b"x-forwarded-for: 203.0.113.9, 192.0.2.7\r\nconnection: close\r\n\r\n")
            everything(connection)
    assert asked == ["127.0.0.1", "127.0.0.1", "192.0.2.7", "203.0.113.9"]
    assert server_for(app).config.proxy_headers is False
