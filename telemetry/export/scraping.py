"""The endpoint that Prometheus scrapes: ``/metrics`` on a port of its own, served by threads of its own.

``OTEL_METRICS_EXPORTER=prometheus`` asks for it. It listens where ``OTEL_EXPORTER_PROMETHEUS_HOST`` and ``_PORT`` say,
on this machine and 9464 unless set; further workers of a machine take the ports after it. With a token set, a scrape
needs it as a bearer token.
"""

import hmac
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from socketserver import TCPServer
from threading import BoundedSemaphore, Lock, Thread
from time import monotonic
from typing import Any, Final

from opentelemetry.sdk.resources import Resource

from telemetry.export.exposition import Exposition
from telemetry.export.plan import ScrapeAddress
from telemetry.export.thread import suppress_instrumentation
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.reader import LiveMetricsReader

PORTS: Final = 64
"""Ports tried from the one that is set on: as many workers of one machine find a place."""

CONNECTIONS: Final = 8
"""Most connections at once; further ones are closed unanswered. A Prometheus needs one."""

IDLE_SECONDS: Final = 10.0
"""Longest that a connection may say or take nothing."""

SCRAPE_SECONDS: Final = 60.0
"""Longest that one scrape may take, whoever is slow; Prometheus gives up after ten seconds unless told otherwise."""

PIECE: Final = 32_768
"""Characters that are written together."""

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_logger = logging.getLogger("telemetry.export")


class ScrapeEndpoint:
    """Serves the table of series.

    Raises:
        OSError: none of the ports can be listened on.

    """

    def __init__(
        self, live: LiveMetricsReader, address: ScrapeAddress, resource: Resource, scraped: Callable[[], None]
    ) -> None:
        self._live = live
        self._resource = resource
        self._scraped = scraped
        self._token = address.token
        self._one_at_a_time = Lock()
        self._server = _listening(address, self)
        self._thread = Thread(target=self._server.serve_forever, name="prometheus endpoint", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def alive(self) -> bool:
        """True while it serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more; what is being written is broken off with its connection."""
        if self.alive:
            self._server.shutdown()
        self._server.server_close()

    def allows(self, authorization: str) -> bool:
        """Return true if this header lets a scrape through."""
        return self._token is None or hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode())

    def parts(self, *, open_metrics: bool) -> Iterator[str]:
        """Yield the present moment as text, in parts. One scrape at a time: they cost a core while they last."""
        table = self._live.store.series
        with self._one_at_a_time, suppress_instrumentation():
            self._live.fold()
            table.observe(yielding)
            with table.pinned() as pin:
                text = Exposition(table, pin, self._resource, open_metrics=open_metrics, pace=yielding)
                yield from text.parts()
            self._scraped()


class _ScrapeServer(ThreadingHTTPServer):
    """Bounds its threads, and says nothing of connections that break."""

    daemon_threads = True
    # A port that another worker listens on is taken, and the next one is tried.
    allow_reuse_address = True
    allow_reuse_port = False

    def __init__(self, address: tuple[str, int], endpoint: ScrapeEndpoint) -> None:
        self.endpoint = endpoint
        self._free = BoundedSemaphore(CONNECTIONS)
        if ":" in address[0]:
            self.address_family = AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # bytes elsewhere

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- the base class's own
        """Serve a connection in a thread, if there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- the base class's own
        """Serve one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 -- the base class's own
        """Note a connection that broke off."""
        _logger.debug("A connection to the Prometheus endpoint broke off.")


class _Handler(BaseHTTPRequestHandler):
    """Answers ``GET /metrics``."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: _ScrapeServer

    def do_GET(self) -> None:
        """Write the metrics in parts, or say why not."""
        if self.path.partition("?")[0] != "/metrics":
            self._refuse(HTTPStatus.NOT_FOUND)
        elif not self.server.endpoint.allows(self.headers.get("authorization", "")):
            self._refuse(HTTPStatus.UNAUTHORIZED)
        else:
            self._write()

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("www-authenticate", "Bearer")
        self.send_header("content-length", "0")
        self.end_headers()

    def _write(self) -> None:
        open_metrics = "application/openmetrics-text" in self.headers.get("accept", "")
        compressed = "gzip" in self.headers.get("accept-encoding", "")
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", OPEN_METRICS if open_metrics else TEXT)
        self.send_header("transfer-encoding", "chunked")
        if compressed:
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        parts = self.server.endpoint.parts(open_metrics=open_metrics)
        pieces = _pieces(_before(monotonic() + SCRAPE_SECONDS, parts))
        try:
            for piece in _gzipped(pieces) if compressed else pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        except Exception:
            # Without the last chunk the scrape is known to be incomplete, and Prometheus takes none of it.
            self.close_connection = True
            raise
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
        """Say nothing of each scrape."""


def _listening(address: ScrapeAddress, endpoint: ScrapeEndpoint) -> _ScrapeServer:
    """Return a server on the first port that is free."""
    last = address.port if address.port == 0 else min(address.port + PORTS - 1, 65_535)
    for port in range(address.port, last):
        try:
            return _ScrapeServer((address.host, port), endpoint)
        except OSError as error:
            _logger.debug("Port %d is taken: %s", port, error)
    return _ScrapeServer((address.host, last), endpoint)


def _before(deadline: float, parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if monotonic() > deadline:
            raise TimeoutError("the scrape takes too long")
        yield part


def _pieces(parts: Iterable[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PIECE:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    if size:
        yield "".join(waiting).encode()


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
