"""OTLP over gRPC: the SDK's exporters, with every call observed.

The exporters' constructors leave no way to see an answer, but the mixin they share, which does the work, takes the
stub as an argument. Given one whose method is observed, it works as ever, and the observer sees what it does not tell:
partial success, and the status behind a failure. TLS credentials are made here because the exporters ignore a
client certificate unless a certificate authority is set too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote

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

from telemetry.export.destination import OtlpDestination, TlsFiles
from telemetry.export.outcome import (
    ExportFault,
    ExportOutcome,
    Failure,
    ObservedSender,
    RequestObserver,
    outcome_of,
    shortened,
)
from telemetry.export.signals import Compression

_CODES: Mapping[grpc.StatusCode, ExportFault] = {
    grpc.StatusCode.UNAVAILABLE: ExportFault.BUSY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ExportFault.BUSY,
    grpc.StatusCode.ABORTED: ExportFault.BUSY,
    grpc.StatusCode.OUT_OF_RANGE: ExportFault.BUSY,
    grpc.StatusCode.DATA_LOSS: ExportFault.BUSY,
    grpc.StatusCode.DEADLINE_EXCEEDED: ExportFault.TIMEOUT,
    grpc.StatusCode.CANCELLED: ExportFault.CLOSED,
    grpc.StatusCode.UNAUTHENTICATED: ExportFault.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: ExportFault.FORBIDDEN,
    grpc.StatusCode.UNIMPLEMENTED: ExportFault.NOT_FOUND,
    grpc.StatusCode.NOT_FOUND: ExportFault.NOT_FOUND,
    grpc.StatusCode.INTERNAL: ExportFault.SERVER_ERROR,
    grpc.StatusCode.INVALID_ARGUMENT: ExportFault.REFUSED_DATA,
    grpc.StatusCode.FAILED_PRECONDITION: ExportFault.REFUSED_DATA,
}
"""The codes that OTLP calls retryable all map to faults that pass."""
_TRANSPORT: tuple[tuple[str, ExportFault], ...] = (
    ("is not in peer certificate", ExportFault.WRONG_NAME),
    ("Hostname Verification", ExportFault.WRONG_NAME),
    ("CERTIFICATE_VERIFY_FAILED", ExportFault.UNTRUSTED),
    ("WRONG_VERSION_NUMBER", ExportFault.NOT_TLS),
    ("CERTIFICATE_REQUIRED", ExportFault.NO_CLIENT_CERTIFICATE),
    ("ALERT_UNKNOWN_CA", ExportFault.NO_CLIENT_CERTIFICATE),
    ("andshake failed", ExportFault.TLS),
    ("DNS resolution failed", ExportFault.UNKNOWN_HOST),
    ("Domain name not found", ExportFault.UNKNOWN_HOST),
    ("http1.x server", ExportFault.NOT_OTLP),
    ("Failed parsing HTTP/2", ExportFault.NOT_OTLP),
    ("missing selected ALPN", ExportFault.NOT_OTLP),
    ("HTTP proxy returned", ExportFault.REFUSED),
    ("Connection refused", ExportFault.REFUSED),
    (": No such file or directory", ExportFault.REFUSED),  # a Unix socket that is not there
    ("Network is unreachable", ExportFault.UNREACHABLE),
    ("No route to host", ExportFault.UNREACHABLE),
    ("Connection reset", ExportFault.DROPPED),
    ("Socket closed", ExportFault.DROPPED),
    ("imeout", ExportFault.TIMEOUT),
)
"""Words by which gRPC's core tells why there is no connection; the status is UNAVAILABLE for them all."""
_LAST_TRIED = re.compile(r"(?:ipv[46]|unix):(\S+): ")
"""The address in gRPC's words: of all that a name stands for, the one whose failure is told."""


def failure_of_call(error: BaseException) -> Failure:
    """Return why a call failed."""
    if not isinstance(error, grpc.Call):
        return Failure(ExportFault.UNSENDABLE, type(error).__name__)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return _of_transport(details)
    return Failure(_CODES.get(code, ExportFault.UNKNOWN), shortened(f"{code.name} {details}"))


def _of_transport(details: str) -> Failure:
    fault = next((fault for words, fault in _TRANSPORT if words in details), ExportFault.BUSY)
    return Failure(fault, shortened(f"UNAVAILABLE {details}") if fault is ExportFault.BUSY else _tried(details))


def _tried(details: str) -> str:
    found = _LAST_TRIED.search(details)
    return f"tried {unquote(found[1])}" if found else ""


_COMPRESSION = {
    Compression.NONE: grpc.Compression.NoCompression,
    Compression.GZIP: grpc.Compression.Gzip,
    Compression.DEFLATE: grpc.Compression.Deflate,
}


class _ObservedStub:
    """A stub that tells the observer what became of each call.

    Not an interceptor: that one looks its method up in the channel at every call, and gRPC (1.80) dies of a
    segmentation fault where the channel was closed meanwhile, as a stop closes it. A method that was looked up when
    the channel was new raises ``ValueError`` then.
    """

    def __init__(self, stub: Any, observer: RequestObserver) -> None:  # noqa: ANN401 - generated without types
        self._export = stub.Export
        self._observer = observer

    def Export(self, request: Any, **options: Any) -> Any:  # noqa: ANN401, N802 - the method's generated signature
        """Make the call, and tell the observer its outcome.

        Raises:
            grpc.RpcError: The call failed.
            ValueError: The channel is closed.
        """
        try:
            answer = self._export(request, **options)
        except grpc.RpcError as error:
            self._observer.saw(ExportOutcome(failure_of_call(error)))
            raise
        self._observer.saw(outcome_of(answer))
        return answer


def _observed(
    stub: Callable[[grpc.Channel], object], observer: RequestObserver
) -> Callable[[grpc.Channel], _ObservedStub]:
    """Return a maker of the stub over a channel, with its calls observed."""
    return lambda channel: _ObservedStub(stub(channel), observer)


class _GrpcArguments(TypedDict):
    """Arguments of the mixin's constructor."""

    stub: Any  # the mixin's annotation confuses the class with its instance
    result: Any  # the same
    endpoint: str
    insecure: bool
    credentials: grpc.ChannelCredentials | None
    headers: Sequence[tuple[str, str]]
    timeout: float
    compression: grpc.Compression


def _arguments(
    destination: OtlpDestination, stub: Callable[[grpc.Channel], object], result: type[Enum]
) -> _GrpcArguments:
    return _GrpcArguments(
        stub=stub,
        result=result,
        endpoint=destination.url
        if destination.is_socket
        else f"{'https' if destination.secure else 'http'}://{destination.authority}",
        insecure=not destination.secure,
        credentials=_credentials(destination) if destination.secure else None,
        headers=tuple(destination.headers.items()),
        timeout=destination.timeout,
        compression=_COMPRESSION[destination.compression],
    )


def _credentials(destination: OtlpDestination) -> grpc.ChannelCredentials:
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
    def __init__(self, observer: RequestObserver, destination: OtlpDestination) -> None:
        MetricExporter.__init__(self)
        self._max_export_batch_size = None
        OTLPExporterMixin.__init__(
            self, **_arguments(destination, _observed(MetricsServiceStub, observer), MetricExportResult)
        )


class _SpanExporter(OTLPSpanExporter):
    def __init__(self, observer: RequestObserver, destination: OtlpDestination) -> None:
        OTLPExporterMixin.__init__(
            self, **_arguments(destination, _observed(TraceServiceStub, observer), SpanExportResult)
        )


class _LogExporter(OTLPLogExporter):
    def __init__(self, observer: RequestObserver, destination: OtlpDestination) -> None:
        OTLPExporterMixin.__init__(
            self, **_arguments(destination, _observed(LogsServiceStub, observer), LogRecordExportResult)
        )


def metrics_over_grpc(destination: OtlpDestination) -> ObservedSender[MetricsData]:
    """Return a sender of collected metrics."""
    observer = RequestObserver()
    return ObservedSender(_MetricExporter(observer, destination), observer)


def spans_over_grpc(destination: OtlpDestination) -> ObservedSender[list[ReadableSpan]]:
    """Return a sender of spans."""
    observer = RequestObserver()
    return ObservedSender(_SpanExporter(observer, destination), observer)


def logs_over_grpc(destination: OtlpDestination) -> ObservedSender[list[ReadableLogRecord]]:
    """Return a sender of log records."""
    observer = RequestObserver()
    return ObservedSender(_LogExporter(observer, destination), observer)
