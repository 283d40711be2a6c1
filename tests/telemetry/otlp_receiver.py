"""Real OTLP receivers on loopback, over HTTP and gRPC, that behave as told and keep what they were sent."""

import gzip
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Request = metrics.ExportMetricsServiceRequest | traces.ExportTraceServiceRequest | logs.ExportLogsServiceRequest
Response = metrics.ExportMetricsServiceResponse | traces.ExportTraceServiceResponse | logs.ExportLogsServiceResponse


@dataclass(frozen=True)
class Accept:
    """Acknowledge everything."""


@dataclass(frozen=True)
class Refuse:
    """Answer with an error: ``status`` over HTTP, ``code`` over gRPC."""

    status: int = 503
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    message: str = "not now"


@dataclass(frozen=True)
class RejectPart:
    """Acknowledge the request, and say that some items of it were rejected."""

    items: int = 1
    message: str = "too old"


@dataclass(frozen=True)
class Hang:
    """Answer nothing until the receiver is closed or released."""


@dataclass(frozen=True)
class Redirect:
    """Point to another address (HTTP only)."""

    location: str = "https://login.example/start?token=secret"
    status: int = 302


@dataclass(frozen=True)
class WebPage:
    """Answer 200 with a page for people (HTTP only)."""


Behaviour = Accept | Refuse | RejectPart | Hang | Redirect | WebPage


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    path: str
    """The HTTP path, or the gRPC method."""
    headers: Mapping[str, str]
    """Headers or metadata, keys in lower case."""
    message: Request
    tls_peer: bool
    """Whether the client showed a certificate."""


@dataclass(frozen=True)
class TlsIdentity:
    """Files that a receiver speaks TLS with."""

    certificate: Path
    key: Path
    client_authority: Path | None = None
    """If set, clients must show a certificate signed by it."""


class Receiver:
    """What both kinds of receivers share: the behaviour asked for and the requests taken."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = Accept()
        self.received: list[Received] = []
        self.attempts = 0
        """All requests, whatever was answered."""
        self.endpoint = ""
        """The address to configure, without path."""
        self._changed = Condition()
        self._released = Event()

    def note_attempt(self) -> Behaviour:
        """A request has come in; how to answer it."""
        with self._changed:
            self.attempts += 1
            self._changed.notify_all()
            return self.behaviour

    def note_received(self, received: Received) -> None:
        """A request was acknowledged."""
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()

    def hang(self) -> None:
        """Block until released; with a limit, so that no test hangs for ever."""
        self._released.wait(60)

    def release(self) -> None:
        """Let requests that hang go on."""
        self._released.set()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Block until ``condition`` holds, looking again at each request; fails after ``seconds``."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), "what was waited for did not happen"

    def wait_for_attempts(self, number: int) -> None:
        """Block until so many requests have come in."""
        self.wait_until(lambda: self.attempts >= number)

    @property
    def spans(self) -> list[Span]:
        """All spans acknowledged, in order."""
        return [
            span
            for received in self.received
            if isinstance(received.message, traces.ExportTraceServiceRequest)
            for resource in received.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def log_records(self) -> list[LogRecord]:
        """All log records acknowledged, in order."""
        return [
            record
            for received in self.received
            if isinstance(received.message, logs.ExportLogsServiceRequest)
            for resource in received.message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self) -> list[Metric]:
        """All metrics acknowledged, in order; the same name comes with every export."""
        return [
            metric
            for received in self.received
            if isinstance(received.message, metrics.ExportMetricsServiceRequest)
            for resource in received.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def of(self, signal: str) -> list[Received]:
        """The acknowledged requests of one signal."""
        return [received for received in self.received if signal.rstrip("s") in received.path.lower()]


_REQUESTS: Mapping[str, type[Request]] = {
    "metrics": metrics.ExportMetricsServiceRequest,
    "traces": traces.ExportTraceServiceRequest,
    "logs": logs.ExportLogsServiceRequest,
}


def _acknowledgement(request: Request, behaviour: Behaviour) -> Response:
    items = behaviour.items if isinstance(behaviour, RejectPart) else 0
    message = behaviour.message if isinstance(behaviour, RejectPart) else ""
    match request:
        case metrics.ExportMetricsServiceRequest():
            points = metrics.ExportMetricsPartialSuccess(rejected_data_points=items, error_message=message)
            return metrics.ExportMetricsServiceResponse(partial_success=points)
        case traces.ExportTraceServiceRequest():
            spans = traces.ExportTracePartialSuccess(rejected_spans=items, error_message=message)
            return traces.ExportTraceServiceResponse(partial_success=spans)
        case _:
            records = logs.ExportLogsPartialSuccess(rejected_log_records=items, error_message=message)
            return logs.ExportLogsServiceResponse(partial_success=records)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test output clean."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        behaviour = self.receiver.note_attempt()
        match behaviour:
            case Hang():
                self.receiver.hang()
                self.close_connection = True
            case Refuse():
                self._reply(behaviour.status, behaviour.body, behaviour.headers)
            case Redirect():
                self._reply(behaviour.status, b"", {"Location": behaviour.location})
            case WebPage():
                self._reply(200, b"<html>Welcome</html>", {"Content-Type": "text/html; charset=utf-8"})
            case _:
                self._take(body, behaviour)

    def _take(self, body: bytes, behaviour: Behaviour) -> None:
        signal = self.path.partition("?")[0].rpartition("/")[2]
        if signal not in _REQUESTS:
            self._reply(404, b"404 page not found", {"Content-Type": "text/plain"})
            return
        message = _REQUESTS[signal].FromString(_DECODE[self.headers.get("content-encoding", "")](body))
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.receiver.note_received(Received(self.path, headers, message, self._has_client_certificate()))
        reply = _acknowledgement(message, behaviour).SerializeToString()
        self._reply(200, reply, {"Content-Type": "application/x-protobuf"})

    def _has_client_certificate(self) -> bool:
        return isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_DECODE: Mapping[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(("127.0.0.1", port), handler)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Shake hands in the request's own thread, so that a client that does not is no obstacle to others."""
        if self._context is None:
            super().finish_request(request, client_address)
            return
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks off is what many tests are about."""


@contextmanager
def http_receiver(tls: TlsIdentity | None = None, port: int = 0) -> Iterator[Receiver]:
    """An OTLP/HTTP receiver on a free port of the loopback interface."""
    receiver = Receiver()
    handler = type("Handler", (_Handler,), {"receiver": receiver})
    server = _Server(handler, port, _tls_context(tls) if tls else None)
    receiver.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release()
        server.shutdown()
        server.server_close()
        thread.join()


def _tls_context(tls: TlsIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.client_authority:
        context.load_verify_locations(tls.client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Servicer(metrics_grpc.MetricsServiceServicer, traces_grpc.TraceServiceServicer, logs_grpc.LogsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - one method for three services
        """Take one request as the receiver's behaviour says."""
        behaviour = self._receiver.note_attempt()
        if isinstance(behaviour, Hang):
            self._receiver.hang()
            context.abort(grpc.StatusCode.CANCELLED, "released")
        if isinstance(behaviour, Refuse):
            context.set_trailing_metadata(tuple(behaviour.headers.items()))
            context.abort(behaviour.code, behaviour.message)
        peer = bool(context.auth_context().get("x509_common_name") or context.auth_context().get("x509_pem_cert"))
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self._receiver.note_received(Received(type(request).__name__, headers, request, peer))
        return _acknowledgement(request, behaviour)


@contextmanager
def grpc_receiver(
    tls: TlsIdentity | None = None, port: int = 0, *, unix_socket: Path | None = None
) -> Iterator[Receiver]:
    """An OTLP/gRPC receiver on a free port of the loopback interface, or at a Unix socket."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    servicer = _Servicer(receiver)
    metrics_grpc.add_MetricsServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated
    traces_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated
    logs_grpc.add_LogsServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated
    address = f"127.0.0.1:{port}" if unix_socket is None else f"unix:{unix_socket}"
    bound = server.add_secure_port(address, _grpc_credentials(tls)) if tls else server.add_insecure_port(address)
    receiver.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{bound}"
    if unix_socket is not None:
        receiver.endpoint = f"unix://{unix_socket}"
    server.start()
    try:
        yield receiver
    finally:
        receiver.release()
        server.stop(grace=0).wait()


def _grpc_credentials(tls: TlsIdentity) -> grpc.ServerCredentials:
    authority = tls.client_authority.read_bytes() if tls.client_authority else None
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


RECEIVERS: Mapping[str, Callable[..., AbstractContextManager[Receiver]]] = {
    "http/protobuf": http_receiver,
    "grpc": grpc_receiver,
}
"""A receiver for each value of ``OTEL_EXPORTER_OTLP_PROTOCOL``."""
