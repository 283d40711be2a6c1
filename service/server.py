"""The HTTP server around the application: uvicorn, with the limits a service that drains within seconds needs."""

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

LET_GO_SECONDS: Final = 1
"""How long requests under way may take once the server stops; the rest of the five seconds is for calls and exports."""

SWITCH_SECONDS: Final = 0.0005
"""Longest that a thread computes while others want to: the event loop then hardly waits for an export's encoding beside
it. A switch costs some hundredths of that."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Stops in good order on SIGINT and SIGTERM, and then returns, so that whoever started it can clean up too."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or ``should_exit``; the interpreter's switch interval stays short from here on."""
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        await super().serve(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals while serving; unlike uvicorn, do not raise them once more at the end."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def server_for(app: FastAPI) -> Server:
    """A server for the application; give its ``serve`` a listening socket."""
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=LET_GO_SECONDS,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        OSError: if the address cannot be used.
    """
    return socket.create_server((host, port), backlog=2048, family=_family(host))


def address_of(listening: socket.socket) -> str:
    """The address as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
