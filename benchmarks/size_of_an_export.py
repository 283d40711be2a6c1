"""What a tenant costs a backend: series in Prometheus' counting, points and bytes of an export.

Each tenant has had calls that ended well, that failed, that were turned away and that used a tool: all that a tenant in
everyday use has. Gauges of the process itself are counted apart.
"""

import gzip
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from benchmarks import verdict
from benchmarks.scripted_call import through_the_library
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import EndReason, RejectionReason
from telemetry.setup import start_telemetry
from telemetry.testing import FakeClock

TENANTS = 1_000


class Received:
    """The bytes on the wire, and the metrics in them."""

    def __init__(self) -> None:
        self.bytes = 0
        self.requests = 0
        self.metrics: list[Metric] = []

    def take(self, body: bytes) -> None:
        """Count one request."""
        self.bytes += len(body)
        self.requests += 1
        told = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
        self.metrics += [m for r in told.resource_metrics for scope in r.scope_metrics for m in scope.metrics]

    def series(self) -> tuple[int, int]:
        """Return the series with a tenant and those without: a histogram has one a bucket, its sum and its count."""
        found = {True: 0, False: 0}
        for metric in self.metrics:
            data = getattr(metric, str(metric.WhichOneof("data")))
            for point in data.data_points:
                of_a_tenant = any(attribute.key == "tenant.id" for attribute in point.attributes)
                found[of_a_tenant] += len(point.bucket_counts) + 2 if metric.HasField("histogram") else 1
        return found[True], found[False]


@contextmanager
def backend() -> Iterator[tuple[Received, str]]:
    """Yield what arrives, and the address it is sent to."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield received, f"http://127.0.0.1:{server.server_address[1]}/v1/metrics"
    finally:
        server.shutdown()
        server.server_close()


def everyday(tracker: CallTracker, clock: FakeClock, tenant: str) -> None:
    """Let a tenant have one call of each kind."""
    through_the_library(tracker, f"{tenant}-well", tenant, lambda: clock.advance(0.5))
    failed = tracker.received(f"{tenant}-failed", tenant)
    failed.accepted()
    failed.started()
    with failed.tool("lookup", "t1"):
        clock.advance(1)
    failed.ended(EndReason.ERROR, error_type="ws_1006")
    tracker.received(f"{tenant}-full", tenant).rejected(RejectionReason.CAPACITY)


def main() -> None:
    """Count, and say what was found."""
    tenants = int(sys.argv[1]) if len(sys.argv) > 1 else TENANTS
    print(f"One export of {tenants:,} tenants in everyday use")
    logging.disable(logging.WARNING)  # the failed calls are told of, a line each
    clock = FakeClock()
    with backend() as (received, address):
        telemetry = start_telemetry(
            {
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": address,
                "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
            },
            clock=clock,
        )
        for number in range(tenants):
            everyday(telemetry.tracker, clock, f"tenant-{number:05}")
        telemetry.shutdown(60)
    of_tenants, of_the_process = received.series()
    verdict.figure("series, a tenant and process", of_tenants / tenants, "")
    verdict.figure("series of the process itself", of_the_process, "")
    verdict.figure("bytes on the wire (gzip), a tenant", received.bytes / tenants, " B")
    verdict.figure("the export", received.bytes / 1e6, " MB")
    verdict.figure("requests", received.requests, "")


if __name__ == "__main__":
    main()
