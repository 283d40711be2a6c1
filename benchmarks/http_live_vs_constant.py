"""Compares requests a second of the live endpoint with those of a route that answers a constant, in one app.

Both routes are behind the same admin check and take the same parameter, with 10,000 tenants known; once idle and once
with 100 calls a second going through the same process. A real uvicorn server in a process of its own; the client writes
to bare sockets, so that it costs a fraction of what it measures. Slices alternate between the routes, so that what else
the machine does falls on both.
"""

import asyncio
import socket
import statistics
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response

from benchmarks import verdict
from service.api.live import EXAMPLE, live_router
from service.api.scope import AskedScope
from service.http.security import AdminAttempts, require_admin
from service.http.tokens import HEADER, AdminTokens
from telemetry.calls.call import Call
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import EndReason
from telemetry.setup import start_telemetry

TENANTS = 10_000
CALLS_PER_SECOND = 100
CALL_SECONDS = 2
CONNECTIONS = 16
SLICE_SECONDS = 0.5
TURNS = 16
RATIO = 0.8
TOKEN = "benchmark"  # noqa: S105 -- of a server that lives for seconds
LIVE, CONSTANT = "/api/v1/metrics/live", "/constant"


class Everyone:
    """Knows every tenant."""

    async def knows(self, tenant_id: str) -> bool:  # noqa: ARG002 -- the protocol's signature
        """Yes."""
        return True


def serve() -> None:
    """The server's process: prints its port; a line on its input starts the traffic."""
    listening = socket.create_server(("127.0.0.1", 0))
    served = app()
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(served, log_level="warning", access_log=False)).run([listening])


def app() -> FastAPI:
    """The two routes, and the tenants."""
    telemetry = start_telemetry({})
    tracker = telemetry.tracker
    for number in range(TENANTS):
        run_call(tracker, f"rtc_first_{number}", f"tenant-{number}").ended(EndReason.HANGUP)
    telemetry.live.refresh(60)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with telemetry:
            traffic = asyncio.create_task(run_traffic_when_told(tracker))
            yield
            traffic.cancel()

    built = FastAPI(lifespan=lifespan)
    admin = require_admin(AdminTokens([TOKEN]), AdminAttempts())
    built.include_router(live_router(live=telemetry.live, tenants=Everyone(), admin=admin))

    @built.get(CONSTANT, dependencies=[Depends(admin)])
    async def constant(scope: AskedScope = None) -> Response:  # noqa: ARG001 -- read, as the live route reads it
        return JSONResponse(EXAMPLE)

    return built


async def run_traffic_when_told(tracker: CallTracker) -> None:
    """Wait for a line on the input, then run calls for good."""
    if await asyncio.to_thread(sys.stdin.readline):
        await run_traffic(tracker)


def run_call(tracker: CallTracker, call_id: str, tenant_id: str) -> Call:
    """Bring a call to where it runs."""
    call = tracker.received(call_id, tenant_id)
    call.accepted()
    call.started()
    return call


async def run_traffic(tracker: CallTracker) -> None:
    """Calls of changing tenants, evenly spaced: each is heard once while it runs, and ends after a while."""
    running: deque[Call] = deque()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    number = 0
    while True:
        running.append(run_call(tracker, f"rtc_{number}", f"tenant-{number % TENANTS}"))
        running[len(running) // 2].heartbeat()
        if len(running) > CALLS_PER_SECOND * CALL_SECONDS:
            running.popleft().ended(EndReason.HANGUP)
        number += 1
        await asyncio.sleep(begun + number / CALLS_PER_SECOND - loop.time())


@dataclass(slots=True)
class Count:
    """What one slice got."""

    answers: int = 0
    current: int = 0
    """Answers that showed everything recorded before them."""


class Connection(asyncio.Protocol):
    """Sends one request after another over one connection and counts the answers."""

    def __init__(self, request: bytes, count: Count) -> None:
        self._request = request
        self._count = count
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count an answer that is whole, and ask again."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.partition(b"content-length: ")[2].partition(b"\r")[0]):
            return
        assert head.startswith(b"HTTP/1.1 200 "), head
        self._count.answers += 1
        self._count.current += b"x-metrics-age-ms: 0\r" in head
        self._received = b""
        if self._transport is not None:
            self._transport.write(self._request)

    def close(self) -> None:
        """Ask no more."""
        if self._transport is not None:
            self._transport.close()


async def slice_of(port: int, path: str) -> Count:
    """Ask for ``path`` over all connections for the time of one slice."""
    count = Count()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{HEADER}: {TOKEN}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(request, count), "127.0.0.1", port) for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(SLICE_SECONDS)
    for _, connection in made:
        connection.close()
    return count


async def compare(port: int, when: str) -> None:
    """Alternate between the routes, and print what they reach at the median."""
    live: list[Count] = []
    constant: list[Count] = []
    for _ in range(TURNS):
        constant.append(await slice_of(port, CONSTANT))
        live.append(await slice_of(port, LIVE))
    a_second = [statistics.median(count.answers for count in counts) / SLICE_SECONDS for counts in (live, constant)]
    current = sum(count.current for count in live) / sum(count.answers for count in live)
    verdict.figure(f"{when}: a constant", a_second[1], " /s")
    verdict.figure(f"{when}: live metrics", a_second[0], " /s")
    verdict.figure(f"{when}: share of live answers that showed everything", current * 100, " %")
    verdict.at_least(f"{when}: live / constant", a_second[0] / a_second[1], RATIO)


@contextmanager
def server() -> Iterator[subprocess.Popen[str]]:
    """The server in a process of its own."""
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 -- this very file
        try:
            yield process
        finally:
            process.terminate()


async def measure(process: subprocess.Popen[str]) -> None:
    """Both comparisons."""
    assert process.stdout is not None
    assert process.stdin is not None
    port = int(process.stdout.readline())
    await slice_of(port, LIVE)
    await compare(port, "idle")
    process.stdin.write("traffic\n")
    process.stdin.flush()
    await asyncio.sleep(CALL_SECONDS)
    await compare(port, f"{CALLS_PER_SECOND} calls a second")


def main() -> None:
    """Compare, or be the server that is compared."""
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    print(f"/metrics/live against a constant, {TENANTS} tenants, {CONNECTIONS} connections")
    with server() as process:
        asyncio.run(measure(process))


if __name__ == "__main__":
    main()
