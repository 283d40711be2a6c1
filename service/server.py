"""The HTTP server around the application: uvicorn, with the limits a service that drains within seconds needs."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib.util import find_spec
from types import FrameType
from typing import Any, Final, TypeVar, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.connections import BACKLOG, STOPPING, ConnectionLimits, Connections, connection_cap

LET_GO_SECONDS: Final = 1
"""Seconds that requests under way may take once the server stops; the rest of the five is for calls and exports."""

SWITCH_SECONDS: Final = 0.0005
"""Longest that a thread computes while others want to: the event loop then hardly waits for an export's encoding beside
it. A switch costs some hundredths of that."""

YOUNG_OBJECTS: Final = 10_000
"""Objects made, less those freed, after which young garbage is looked for: a call makes a thousand, nearly all of which
are freed without that. The interpreter's 700 costs a call half a millisecond; a search among so many takes one."""

DEFAULT_CALLS: Final = 100
"""Calls at once that descriptors are kept for, unless the server is told otherwise."""

_uvicorn: Final = logging.getLogger("uvicorn.error")
_logger: Final = logging.getLogger(__name__)


def _rename(record: logging.LogRecord) -> bool:
    """Give a line of uvicorn this module's name: the library calls the logger of everything it says an error's."""
    record.name = __name__
    return True


SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end on the fastest event loop there is: uvloop's where it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:  # it does not exist for Windows and PyPy
        return None
    import uvloop  # noqa: PLC0415 -- see above

    return uvloop.new_event_loop


class Server(uvicorn.Server):
    """Stops in good order on SIGINT and SIGTERM, and then returns, so that whoever started it can clean up too."""

    when_serving: Callable[[], None] | None = None
    """Called once connections are answered; not at all if the application does not start."""

    when_told: Callable[[], object] | None = None
    """Called when a signal asks for a stop, while requests are still answered."""

    drain_seconds: float = 0.0
    """Seconds from there to the stop itself: time for load balancers to look elsewhere."""

    has_process: bool = False
    """The process is there for this server, which may then change how its interpreter collects garbage and switches
    threads, until the server ends. A server beside something else, as in a test, leaves both alone."""

    failure: Exception | None = None
    """The error that kept the application from starting; None while it has not been tried, or did start."""

    _told = False
    _loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then answer.

        Raises:
            SystemExit: if it does not start; ``failure`` has the cause, and nothing is logged of it.
        """
        before, _uvicorn.disabled = _uvicorn.disabled, True  # it would print the whole stack
        try:
            await super().startup(sockets)
        finally:
            _uvicorn.disabled = before
        for listening in sockets or ():
            _logger.info("serving %s", address_of(listening))
        if self.has_process:
            # What exists by now stays: no collection of garbage need look at it again, which takes 0.2 s each time.
            gc.collect()
            gc.freeze()
        if self.started and self.when_serving is not None:
            self.when_serving()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- a signal handler's signature
        """Stop in good order at the first signal; a second one changes nothing.

        uvicorn takes a second SIGINT for leave to skip the application's end, in which calls are handed over.
        """
        self.stop_soon()

    def stop_soon(self) -> None:
        """Stop once whoever watches has had time to see that no more calls should be sent; once is enough."""
        if self._told:
            return
        self._told = True
        if self.when_told is not None:
            self.when_told()
        if self.drain_seconds and self._loop is not None:
            # From a signal handler nothing else wakes the loop.
            self._loop.call_soon_threadsafe(self._loop.call_later, self.drain_seconds, self._stop)
        else:
            self._stop()

    def _stop(self) -> None:
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or ``should_exit``."""
        self._loop = asyncio.get_running_loop()
        _uvicorn.addFilter(_rename)
        try:
            with _interpreter_that_serves() if self.has_process else contextlib.nullcontext():
                await super().serve(sockets)
        finally:
            _uvicorn.removeFilter(_rename)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals while serving; unlike uvicorn, do not raise them once more at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _interpreter_that_serves() -> Iterator[None]:
    """Switch threads often and look for garbage seldom while the block runs; then as before."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(min(interval, SWITCH_SECONDS))
    gc.set_threshold(YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def server_for(
    app: ASGIApp,
    *,
    calls: int = DEFAULT_CALLS,
    trusted_proxies: Sequence[str] = (),
    limits: ConnectionLimits | None = None,
) -> Server:
    """Return a server for the application; give its ``serve`` a listening socket.

    Args:
        app: What it serves.
        calls: Calls at once that need descriptors beside the connections.
        trusted_proxies: Addresses and networks whose ``X-Forwarded-For`` says who the client is.
        limits: What connections may take, instead of what the process's descriptors allow.
    """
    shared = Connections(limits or ConnectionLimits(connection_cap(calls)))

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("extensions", {})[STOPPING] = shared.stopping
        try:
            await app(scope, receive, send)
        except Exception as error:
            if scope["type"] == "lifespan":
                server.failure = error
            raise

    server = Server(
        uvicorn.Config(
            watched,
            # Uvicorn calls it like the class it expects.
            http=cast("type[asyncio.Protocol]", shared.protocol),
            ws="none",
            lifespan="on",
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            timeout_graceful_shutdown=LET_GO_SECONDS,
        )
    )
    return server


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one.

    Raises:
        OSError: if the address cannot be used.
    """
    return socket.create_server((host, port), backlog=BACKLOG, family=_family(host))


def demand_address(host: str, port: int) -> None:
    """Raise OSError if the address cannot be listened on; nobody can connect to it meanwhile."""
    family = _family(host)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server that is to come
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((host, port))


def address_of(listening: socket.socket) -> str:
    """Return the address as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ignore_signals() -> None:
    """Let no signal cut short what is left to do; the process ends within seconds."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
