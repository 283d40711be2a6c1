"""Serves an ASGI app as in production: the service's own server, a real socket, a port the system chooses."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, Final

from starlette.types import ASGIApp

from service.server import listen, server_for
from tests.peers.waiting import until

TLS: Final = ssl.create_default_context()
"""One for every client of the tests: each would spend 25 ms on certificates that it never needs over plain HTTP."""

TIMEOUT_SECONDS = 120.0
"""How long an answer, or a stop, may take on a busy machine; it matters only where there is none."""


class AppServer:
    """One app behind a server that runs in a thread of this process; :func:`serving` starts and stops it."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:  # noqa: ANN401 -- what server_for takes
        self._socket = listen("127.0.0.1", 0)
        self._server = server_for(app, **options)
        self._thread = Thread(target=self._server.run, args=([self._socket],), name="test-server", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve; raises ``RuntimeError`` if the app's lifespan does not start."""
        self._thread.start()
        until(lambda: self._server.started or not self._thread.is_alive(), "the app to start")
        if not self._server.started:
            raise RuntimeError("the app did not start; its log says why")

    def stop(self) -> None:
        """Let the app's lifespan end and close the socket."""
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECONDS)
        self._socket.close()
        if self._thread.is_alive():
            raise TimeoutError("the app did not stop")


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[str]:  # noqa: ANN401 -- what server_for takes
    """Serve ``app`` while the block runs; gives its base URL."""
    server = AppServer(app, **options)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
