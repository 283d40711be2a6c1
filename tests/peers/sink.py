"""A backend on loopback that keeps what arrives over OTLP/HTTP, and can answer as a troubled one does."""

import gzip
from collections.abc import Mapping
from http import HTTPStatus

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.peers.posts import PostServer


class OtlpSink(PostServer):
    """Keeps what comes while `status`, which is what it answers, is 200; signals follow its address as `/v1/traces`."""

    content_type = "application/x-protobuf"

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.status = HTTPStatus.OK
        self.spans: list[Span] = []
        self.metrics: list[Metric] = []
        self.logs: list[LogRecord] = []
        self.resources: list[set[str]] = []
        """The keys of the resources that metrics came from, one set for each time."""
        self.headers: list[dict[str, str]] = []
        """The headers of each request taken, with keys in lower case."""

    def posted(self, path: str, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """Keep one request's content."""
        status = self.status
        if status is HTTPStatus.OK:
            self.headers.append(dict(headers))
            self._keep(path, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
        return status

    def _keep(self, path: str, body: bytes) -> None:
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
