"""A server on loopback that takes POST requests."""

import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self

from tests.peers.network import HOST


class PostServer:
    """Listens from construction to the end of the context; a subclass says what becomes of a request."""

    content_type: ClassVar[str | None] = None
    """That of its answers, none of which has a body."""

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def posted(self, path: str, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """Take one request, whose headers have keys in lower case; returns what it is answered."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its base address, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: PostServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            self.send_response(server.posted(self.path, headers, body))
            if server.content_type is not None:
                self.send_header("content-type", server.content_type)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            """Stay silent: what arrived is what counts."""

    return Handler
