"""The composition root of the library: builds the whole from the standard variables and takes it down again."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

from opentelemetry.metrics import Meter, Observation
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor

from telemetry.calls.sinks import FanOut, Sink
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Clock, SystemClock
from telemetry.export import DEFAULT_BUDGET, Pipelines, SignalHealth, build_pipelines
from telemetry.logs.sink import LogSink
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.gauges import Limits, observe, observe_calls
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.metrics.sink import MetricsSink
from telemetry.privacy import Privacy
from telemetry.recent.call_state import RecentLimits
from telemetry.recent.calls import RecentCalls
from telemetry.recent.spans import SpanRecorder, SpanRegister
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue
from telemetry.semconv.catalogue import METER_NAME, Instrument, cardinality_limit
from telemetry.traces.sink import CallTraces

DEFAULT_MAX_TENANTS = 20_000
"""Tenants that count apart; further ones count together under ``_other``."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The running whole. Use it as a context manager, or call :meth:`shutdown` in a ``finally``."""

    tracker: CallTracker
    """What call code reports to."""
    live: LiveMetricsReader
    """What the admin endpoints read from."""
    recent: RecentCalls
    """What happened in each call that runs, and in the last ones that are over."""
    spans: SpanRegister
    """The spans that have begun and not ended."""
    pipelines: Pipelines
    """Providers and exports."""
    traces: CallTraces
    labels: TenantLabels
    barrier: RecordingBarrier
    sinks: FanOut

    @property
    def meter(self) -> Meter:
        """For observables of the catalogue."""
        return self.pipelines.meter_provider.get_meter(METER_NAME)

    @property
    def sink_failures(self) -> int:
        """Events that a sink failed on."""
        return self.sinks.failures

    def observe_limits(self, limits: Limits) -> None:
        """Export capacity and leak gauges, once the limits are known."""
        observe_calls(self.meter, self.barrier, self.tracker, limits, self.labels)

    def shutdown(self, budget_seconds: float = DEFAULT_BUDGET) -> bool:
        """Export what there is and stop, all within the budget; true if all arrived. A second call does nothing.

        Spans that are open still are ended first and say so: an open span would be lost.
        """
        self.spans.close("shutdown")
        return self.pipelines.shutdown(budget_seconds)

    def __enter__(self) -> Self:
        """The telemetry, running since it was built."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut down."""
        self.shutdown()


def start_telemetry(
    environ: Mapping[str, str] | None = None,
    *,
    clock: Clock | None = None,
    privacy: Privacy | None = None,
    sinks: Sequence[Sink] = (),
    span_processors: Sequence[SpanProcessor] = (),
    log_processors: Sequence[LogRecordProcessor] = (),
    resource_attributes: Mapping[str, str] | None = None,
    recent_limits: RecentLimits | None = None,
    instance: UUID | None = None,
    max_tenants: int = DEFAULT_MAX_TENANTS,
    pause_gc: bool = False,
    strict: bool = False,
) -> Telemetry:
    """Build providers, live reader, sinks and tracker, and start exporting as the ``OTEL_*`` variables say.

    Call it in the process that does the work, never at import: what a fork inherits would be counted twice.

    Args:
        environ: the standard variables; the process's environment if not given.
        clock: where times come from.
        privacy: what may be shown of numbers.
        sinks: further sinks for the same events; each behind a boundary of its own.
        span_processors: processors that see every span.
        log_processors: processors that see every exported log record.
        resource_attributes: what the application says of itself, such as ``service.version``.
        recent_limits: how much is remembered of calls.
        instance: tells this process from others; random unless given.
        max_tenants: tenants that count apart.
        pause_gc: put the process's automatic garbage collection off while metrics are exported.
        strict: let a sink's failure surface, for tests.

    Raises:
        InvalidVariableError: a standard variable makes no sense; it says which.
    """
    clock, privacy = clock or SystemClock(), privacy or Privacy()
    barrier, labels = RecordingBarrier(), TenantLabels(max_tenants)
    register = SpanRegister()
    recorder = SpanRecorder(register)
    live = LiveMetricsReader(LiveMetricsStore(max_tenants), barrier=barrier, max_tenants=max_tenants)
    pipelines = build_pipelines(
        os.environ if environ is None else environ,
        metric_readers=[live],
        span_processors=[recorder, *span_processors],
        log_processors=log_processors,
        resource_attributes=resource_attributes,
        series=cardinality_limit(max_tenants),
        clock=clock,
        instance=instance,
        collection_lock=live.collection_lock,
        pause_gc=pause_gc,
    )
    live.start()
    meter = pipelines.meter_provider.get_meter(METER_NAME)
    traces = CallTraces(pipelines.tracer_provider.get_tracer(METER_NAME), privacy=privacy)
    recorded = MetricsSink(meter, labels=labels, barrier=barrier, contexts=traces)
    recent = RecentCalls(contexts=traces, privacy=privacy, limits=recent_limits, register=register, clock=clock)
    recorder.hand_to(recent)
    # Traces come first, so that what follows finds the call's context, and their endings last, so that it still does.
    chain = FanOut((traces, recorded, recent, *sinks, LogSink(traces), traces.endings), strict=strict)
    tracker = CallTracker(chain, clock=clock, scopes=traces)
    telemetry = Telemetry(tracker, live, recent, register, pipelines, traces, labels, barrier, chain)
    _observe_exports(telemetry)
    return telemetry


def _observe_exports(telemetry: Telemetry) -> None:
    """Register what the library says of itself."""

    def per_signal(instrument: Instrument, value: Callable[[SignalHealth], float]) -> None:
        def what() -> Iterable[Observation]:
            signals = telemetry.pipelines.health().signals
            return [Observation(value(s), {attr.SIGNAL: s.signal.value}) for s in signals if s.enabled]

        observe(telemetry.meter, telemetry.barrier, instrument, what)

    per_signal(catalogue.EXPORT_FAILURES, lambda health: health.consecutive_failures)
    per_signal(catalogue.EXPORT_AGE, lambda health: health.age_seconds)
    per_signal(catalogue.EXPORT_DROPPED, lambda health: health.dropped)
    per_signal(catalogue.EXPORT_REJECTED, lambda health: health.rejected)
    observe(
        telemetry.meter,
        telemetry.barrier,
        catalogue.SINK_FAILURES,
        lambda: [Observation(telemetry.sink_failures)],
    )
