"""A backend on loopback that keeps what arrives over OTLP/HTTP, and can answer as a troubled one does."""

import gzip
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.peers.network import HOST


class OtlpSink:
    """Listens from construction to the end of the context; `status` is what it answers."""

    def __init__(self, port: int = 0) -> None:
        self.status = HTTPStatus.OK
        self.spans: list[Span] = []
        self.metrics: list[Metric] = []
        self.logs: list[LogRecord] = []
        self.resources: list[set[str]] = []
        """The keys of the resources that metrics came from, one set for each time."""
        self.headers: list[dict[str, str]] = []
        """The headers of each request taken, with keys in lower case."""
        self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base address; signals follow as `/v1/traces`, `/v1/metrics`, `/v1/logs`."""
        return f"http://{HOST}:{self.port}"

    def take(self, path: str, body: bytes, headers: Iterable[tuple[str, str]]) -> None:
        """Keep one request's content."""
        self.headers.append({key.lower(): value for key, value in headers})
        if path.endswith("/traces"):
            traces = ExportTraceServiceRequest.FromString(body)
            self.spans += [s for r in traces.resource_spans for scope in r.scope_spans for s in scope.spans]
        elif path.endswith("/metrics"):
            metrics = ExportMetricsServiceRequest.FromString(body)
            self.resources += [{a.key for a in r.resource.attributes} for r in metrics.resource_metrics]
            self.metrics += [m for r in metrics.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
        elif path.endswith("/logs"):
            logs = ExportLogsServiceRequest.FromString(body)
            self.logs += [entry for r in logs.resource_logs for scope in r.scope_logs for entry in scope.log_records]

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


def _handler(sink: OtlpSink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if sink.status is HTTPStatus.OK:
                compressed = self.headers.get("content-encoding") == "gzip"
                sink.take(self.path, gzip.decompress(body) if compressed else body, self.headers.items())
            self.send_response(sink.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            """Stay silent: what arrived is what counts."""

    return Handler
