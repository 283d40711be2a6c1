"""The providers that benchmarks measure on: our one reader, the SDK's beside it if asked for, no exported span."""

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, TraceBasedExemplarFilter, UpDownCounter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from telemetry.calls.sinks import FanOut
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Clock
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.reader import LiveMetricsReader, LiveMetricsStore
from telemetry.metrics.sink import MetricsSink
from telemetry.semconv import catalogue
from telemetry.traces.sink import CallTraces

SERIES = 1_000_000
"""Room for every series, so that no reader merges any."""


class Pipeline:
    """One side's own providers. ``SpanProcessor()``, the default, drops every span."""

    def __init__(self, clock: Clock, spans: SpanProcessor | None = None, *, beside: bool = True) -> None:
        """Build them; ``beside`` adds the SDK's own reader of totals, as an application with two readers has it."""
        max_tenants = 20_000
        self.clock = clock
        self.barrier = RecordingBarrier()
        self.labels = TenantLabels(max_tenants)
        self.live = LiveMetricsReader(LiveMetricsStore(max_tenants, series=SERIES), barrier=self.barrier)
        self.cumulative = InMemoryMetricReader(
            cardinality_limits={Counter: SERIES, UpDownCounter: SERIES, Histogram: SERIES}
        )
        self.metrics = MeterProvider(
            [self.live, self.cumulative] if beside else [self.live],
            resource=Resource({}),
            exemplar_filter=TraceBasedExemplarFilter(),
            shutdown_on_exit=False,
        )
        self.traces = TracerProvider(resource=Resource({}), sampler=ALWAYS_ON, shutdown_on_exit=False)
        self.traces.add_span_processor(spans or SpanProcessor())
        self.meter = self.metrics.get_meter(catalogue.METER_NAME)
        self.tracer = self.traces.get_tracer(catalogue.METER_NAME)

    def tracker(self, max_remembered: int = 10_000) -> CallTracker:
        """The library on these providers: metrics and traces, each behind its boundary, and no logs."""
        traces = CallTraces(self.tracer)
        metrics = MetricsSink(self.meter, labels=self.labels, barrier=self.barrier, contexts=traces)
        chain = FanOut((traces, metrics, traces.endings), strict=True)
        return CallTracker(chain, clock=self.clock, scopes=traces, max_remembered=max_remembered)
