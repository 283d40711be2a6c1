"""What an export in progress does to the event loop, here and with the SDK's own periodic reader.

10,000 tenants are known. In an event loop run 100 calls a second, a live read every 5 ms, and a heartbeat that measures
how late it is woken; meanwhile a thread exports everything over HTTP to a server that takes it. Each side runs in a
process of its own, with the same live reader, the same instruments and the switch interval that the service sets. What
the same run shows before the first export is what machine and calls alone make of it.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from statistics import quantiles
from threading import Thread

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import CardinalityLimits, PeriodicExportingMetricReader

from benchmarks import verdict
from benchmarks.scripted_call import through_the_library
from service.server import SWITCH_SECONDS
from telemetry.calls.sinks import FanOut
from telemetry.calls.tracker import CallTracker
from telemetry.clock import SystemClock
from telemetry.export import build_pipelines
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.reader import LiveMetricsReader, LiveMetricsStore
from telemetry.metrics.sink import MetricsSink
from telemetry.semconv import catalogue

TENANTS = 10_000
CALLS_PER_SECOND = 100
READ_EVERY = 0.005
STALL_INTERVAL = 0.001
EXPORTS = 4
SERIES = 100_000
BEFORE_SECONDS = 15.0
NEVER = 3_600_000
"""Milliseconds between exports that nobody asks for."""
READ_MS = 5.0
"""A live read's 99.9th percentile should not be longer than without an export by more than this."""
LATE_MS = 8.0
"""The same of the event loop's lateness."""

LIMITS: CardinalityLimits = {sdk.Counter: SERIES, sdk.UpDownCounter: SERIES, sdk.Histogram: SERIES}


@dataclass(slots=True)
class Seen:
    """What one side went through while it exported, in milliseconds."""

    exports: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    reads_before: list[float] = field(default_factory=list)
    """Those before the first export: what the machine and the calls alone make of a read."""
    stalls_before: list[float] = field(default_factory=list)


class Container:
    """Every tenant known, on providers that export as one of the sides does."""

    def __init__(self, side: str, endpoint: str) -> None:
        barrier = RecordingBarrier()
        provider, self.live, self.export = SIDES[side](LiveMetricsStore(series=SERIES), barrier, endpoint)
        sink = MetricsSink(provider.get_meter(catalogue.METER_NAME), labels=TenantLabels(2 * TENANTS), barrier=barrier)
        self._tracker = CallTracker(FanOut([sink], strict=True), clock=SystemClock())
        self._numbers = count()
        for tenant in range(TENANTS):
            self.call(tenant)
        assert self.live.refresh(60) == 0

    def call(self, tenant: int) -> None:
        """A whole call of this tenant's."""
        through_the_library(self._tracker, f"rtc_{next(self._numbers)}", f"tenant-{tenant}", lambda: None)


Side = tuple[MeterProvider, LiveMetricsReader, Callable[[], bool]]


def ours(store: LiveMetricsStore, barrier: RecordingBarrier, endpoint: str) -> Side:
    """The library's pipelines."""
    environ = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint, "OTEL_METRIC_EXPORT_INTERVAL": str(NEVER)}
    pipelines = build_pipelines(environ, store=store, barrier=barrier)
    return pipelines.meter_provider, pipelines.live, lambda: pipelines.flush(60)


def plain(store: LiveMetricsStore, barrier: RecordingBarrier, endpoint: str) -> Side:
    """The SDK's periodic reader with its own exporter, beside the same live reader."""
    live = LiveMetricsReader(store, barrier=barrier)
    exporter = OTLPMetricExporter(endpoint, compression=Compression.Gzip, timeout=60)
    periodic = PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER, cardinality_limits=LIMITS)
    provider = sdk.MeterProvider([live, periodic], shutdown_on_exit=False)
    return provider, live, lambda: periodic.force_flush(60_000)


SIDES: dict[str, Callable[[LiveMetricsStore, RecordingBarrier, str], Side]] = {"ours": ours, "plain": plain}


async def observer(container: Container) -> Seen:
    """Export several times, with everything else going on in the event loop."""
    seen = Seen()
    others = [asyncio.create_task(work) for work in (measure_stalls(seen), read(container, seen), run_calls(container))]
    await asyncio.sleep(BEFORE_SECONDS)
    seen.reads_before, seen.reads = seen.reads, []
    seen.stalls_before, seen.stalls = seen.stalls, []
    for _ in range(EXPORTS):
        began = time.perf_counter()
        assert await asyncio.to_thread(container.export)
        seen.exports.append((time.perf_counter() - began) * 1e3)
    for other in others:
        other.cancel()
    return seen


async def measure_stalls(seen: Seen) -> None:
    """Note how late every heartbeat is woken."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(STALL_INTERVAL)
        seen.stalls.append((time.perf_counter() - began - STALL_INTERVAL) * 1e3)


async def read(container: Container, seen: Seen) -> None:
    """Read live numbers as the admin endpoint does."""
    while True:
        await asyncio.sleep(READ_EVERY)
        began = time.perf_counter()
        await container.live.refreshed()
        assert container.live.store.live("tenant-7") is not None
        seen.reads.append((time.perf_counter() - began) * 1e3)


async def run_calls(container: Container) -> None:
    """Calls of changing tenants, evenly spaced."""
    for tenant in count():
        container.call(tenant % TENANTS)
        await asyncio.sleep(1 / CALLS_PER_SECOND)


class Taker(BaseHTTPRequestHandler):
    """Acknowledges everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read and acknowledge."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
        """Say nothing."""


@contextmanager
def server() -> Iterator[str]:
    """The address of a server in this process, where only the sides' processes are measured."""
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}/v1/metrics"
    finally:
        serving.shutdown()
        serving.server_close()


def measured(side: str, endpoint: str) -> Seen:
    """What one side went through, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.exporting_against_the_plain_sdk", side, endpoint]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 -- this very file
    return Seen(**json.loads(done.stdout))


def main() -> None:
    """Measure both sides and say what was found."""
    print(f"Exporting {TENANTS:,} tenants with {CALLS_PER_SECOND} calls a second going through")
    with server() as endpoint:
        sides = {side: measured(side, endpoint) for side in SIDES}
    for side, seen in sides.items():
        verdict.figure(f"{side}: an export takes, at most", max(seen.exports), " ms")
        verdict.figure(f"{side}: event loop late, 99th percentile", quantiles(seen.stalls, n=100)[98], " ms")
        verdict.figure(f"{side}: event loop late, at most", max(seen.stalls), " ms")
        verdict.figure(f"{side}: live read, 99th percentile", quantiles(seen.reads, n=100)[98], " ms")
        verdict.figure(f"{side}: live read, at most", max(seen.reads), " ms")
    late = {side: highest(seen.stalls) - highest(seen.stalls_before) for side, seen in sides.items()}
    read = {side: highest(seen.reads) - highest(seen.reads_before) for side, seen in sides.items()}
    verdict.figure("plain: event loop late, 99.9th percentile, by the export", late["plain"], " ms")
    verdict.figure("plain: live read, 99.9th percentile, by the export", read["plain"], " ms")
    verdict.at_most("ours: event loop late, 99.9th percentile, by the export", late["ours"], LATE_MS, " ms")
    verdict.at_most("ours: live read, 99.9th percentile, by the export", read["ours"], READ_MS, " ms")


def highest(milliseconds: list[float]) -> float:
    """Return the 99.9th percentile."""
    return quantiles(milliseconds, n=1000)[998]


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.setswitchinterval(SWITCH_SECONDS)
        print(json.dumps(asdict(asyncio.run(observer(Container(*sys.argv[1:]))))))
        sys.stdout.flush()
    else:
        main()
