"""OTLP over gRPC: the SDK's exporters, with every call watched.

The exporters' constructors leave no way to see an answer, but the mixin they share, which does the work, takes the
stub as an argument. Given one whose channel is intercepted, it works as ever, and the interceptor sees what it does not
tell: partial success, and the status behind a failure. TLS credentials are made here because the exporters ignore a
client certificate unless a certificate authority is set too.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.exporter import OTLPExporterMixin
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from telemetry.export.answers import outcome_of
from telemetry.export.destination import Destination
from telemetry.export.grpc_faults import failure_of_call
from telemetry.export.outcome import Outcome
from telemetry.export.signals import Compression
from telemetry.export.tls import TlsFiles
from telemetry.export.watched import Watch, WatchedSender

_COMPRESSION = {
    Compression.NONE: grpc.Compression.NoCompression,
    Compression.GZIP: grpc.Compression.Gzip,
    Compression.DEFLATE: grpc.Compression.Deflate,
}
Stub = TypeVar("Stub")


class _WatchingInterceptor(grpc.UnaryUnaryClientInterceptor):
    """Lets calls through and tells the watch what became of them."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:  # noqa: ANN401 - grpc's own
        """Make the call, and judge its end."""
        call = continuation(details, request)
        error = call.exception()
        self._watch.saw(outcome_of(call.result()) if error is None else Outcome(failure_of_call(error)))
        return call


def _watched(stub: Callable[[grpc.Channel], Stub], watch: Watch) -> Callable[[grpc.Channel], Stub]:
    """The stub's maker, over a channel whose calls are watched."""
    return lambda channel: stub(grpc.intercept_channel(channel, _WatchingInterceptor(watch)))


class _Arguments(TypedDict):
    """What the mixin is made with."""

    stub: Any  # the mixin's annotation confuses the class with its instance
    result: Any  # the same
    endpoint: str
    insecure: bool
    credentials: grpc.ChannelCredentials | None
    headers: Sequence[tuple[str, str]]
    timeout: float
    compression: grpc.Compression


def _arguments(destination: Destination, stub: Callable[[grpc.Channel], object], result: type[Enum]) -> _Arguments:
    return _Arguments(
        stub=stub,
        result=result,
        endpoint=f"{'https' if destination.secure else 'http'}://{destination.authority}",
        insecure=not destination.secure,
        credentials=_credentials(destination) if destination.secure else None,
        headers=tuple(destination.headers.items()),
        timeout=destination.timeout,
        compression=_COMPRESSION[destination.compression],
    )


def _credentials(destination: Destination) -> grpc.ChannelCredentials:
    if destination.credentials is None:
        return _from_files(destination.tls)
    credentials = destination.credentials.load()()
    if not isinstance(credentials, grpc.ChannelCredentials):
        raise TypeError(f"the credential provider made a {type(credentials).__name__}, not grpc.ChannelCredentials")
    return credentials


def _from_files(tls: TlsFiles) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_content(tls.authority),
        private_key=_content(tls.key or tls.certificate),
        certificate_chain=_content(tls.certificate),
    )


def _content(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


class _MetricExporter(OTLPMetricExporter):
    def __init__(self, watch: Watch, destination: Destination) -> None:
        MetricExporter.__init__(self)
        self._max_export_batch_size = None
        OTLPExporterMixin.__init__(
            self, **_arguments(destination, _watched(MetricsServiceStub, watch), MetricExportResult)
        )


class _SpanExporter(OTLPSpanExporter):
    def __init__(self, watch: Watch, destination: Destination) -> None:
        OTLPExporterMixin.__init__(self, **_arguments(destination, _watched(TraceServiceStub, watch), SpanExportResult))


class _LogExporter(OTLPLogExporter):
    def __init__(self, watch: Watch, destination: Destination) -> None:
        OTLPExporterMixin.__init__(
            self, **_arguments(destination, _watched(LogsServiceStub, watch), LogRecordExportResult)
        )


def metrics_over_grpc(destination: Destination) -> WatchedSender[MetricsData]:
    """A sender of collected metrics."""
    watch = Watch()
    return WatchedSender(_MetricExporter(watch, destination), watch)


def spans_over_grpc(destination: Destination) -> WatchedSender[list[ReadableSpan]]:
    """A sender of spans."""
    watch = Watch()
    return WatchedSender(_SpanExporter(watch, destination), watch)


def logs_over_grpc(destination: Destination) -> WatchedSender[list[ReadableLogRecord]]:
    """A sender of log records."""
    watch = Watch()
    return WatchedSender(_LogExporter(watch, destination), watch)
