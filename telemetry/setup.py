"""The library's composition root: builds everything from the standard variables and takes it down again."""

import os
import weakref
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
from telemetry.recent.calls import RecentCalls
from telemetry.recent.limits import RecentLimits
from telemetry.recent.spans import SpanRecorder, SpanRegister
from telemetry.semconv import attributes as attr
from telemetry.semconv import own_health
from telemetry.semconv.catalogue import METER_NAME, cardinality_limit, scope_version
from telemetry.semconv.genai import OPT_IN, chosen_sets
from telemetry.semconv.instrument import Instrument
from telemetry.traces.sink import CallTraces

DEFAULT_MAX_TENANTS = 20_000
"""Tenants with numbers of their own; further ones count together under ``_other``."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The running telemetry. Use it as a context manager, or call :meth:`shutdown` in a ``finally``."""

    tracker: CallTracker
    """The object that call code reports to."""
    live: LiveMetricsReader
    """The live numbers, as the admin endpoints read them."""
    recent: RecentCalls
    """The history of each running call and of the last ones that are over."""
    spans: SpanRegister
    """The spans that are open."""
    pipelines: Pipelines
    """The providers and their exports."""
    traces: CallTraces
    labels: TenantLabels
    barrier: RecordingBarrier
    sinks: FanOut

    @property
    def meter(self) -> Meter:
        """The meter of the catalogue's instruments."""
        return self.pipelines.meter_provider.get_meter(METER_NAME, scope_version())

    @property
    def sink_failures(self) -> int:
        """Events that a sink failed on."""
        return self.sinks.failures

    def observe_limits(self, limits: Limits) -> None:
        """Register the gauges of capacity and of silent calls, once the limits are known."""
        observe_calls(self.meter, self.live, self.tracker, limits, self.labels)

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Observation]]) -> None:
        """Register an observable of the catalogue that the application reads."""
        observe(self.meter, self.live, instrument, read)

    def shutdown(self, budget_seconds: float = DEFAULT_BUDGET) -> bool:
        """Export what is left and stop within the budget; return True if all arrived. A second call does nothing.

        Open spans are ended first, marked ``callscope.span.closed``, because an open span is never exported.
        """
        self.spans.close("shutdown")
        return self.pipelines.shutdown(budget_seconds)

    def __enter__(self) -> Self:
        """Return the telemetry, which runs already."""
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
    resource_attributes: Mapping[str, str | int] | None = None,
    recent_limits: RecentLimits | None = None,
    instance: UUID | None = None,
    max_tenants: int = DEFAULT_MAX_TENANTS,
    strict: bool = False,
) -> Telemetry:
    """Build providers, live reader, sinks and tracker, and start exporting as the ``OTEL_*`` variables say.

    Call it in the process that does the work, never at import: a child forked afterwards records nothing. It says so
    in one log line and counts each event it reports in ``sink_failures``.

    Args:
        environ: the standard variables; the process's environment unless given.
        clock: the source of time; the machine's clocks unless given.
        privacy: the key for hashes of numbers; random unless given.
        sinks: further sinks for the same events; each behind a boundary of its own.
        span_processors: processors that see every span.
        log_processors: processors that see every exported log record.
        resource_attributes: further resource attributes, such as ``service.version``.
        recent_limits: bounds of the history of calls.
        instance: ``service.instance.id`` of this process; random unless given.
        max_tenants: tenants with numbers of their own; further ones count together under ``_other``.
        strict: raise a sink's failure instead of counting it, for tests.

    Raises:
        InvalidVariableError: a standard variable has a value that cannot be used; the message names it.
    """
    environ = os.environ if environ is None else environ
    clock, privacy = clock or SystemClock(), privacy or Privacy()
    barrier, labels = RecordingBarrier(), TenantLabels(max_tenants)
    register = SpanRegister()
    recorder = SpanRecorder(register)
    pipelines = build_pipelines(
        environ,
        store=LiveMetricsStore(max_tenants, series=cardinality_limit(max_tenants)),
        barrier=barrier,
        span_processors=[recorder, *span_processors],
        log_processors=log_processors,
        resource_attributes=resource_attributes,
        clock=clock,
        instance=instance,
    )
    live = pipelines.live
    live.start()
    meter = pipelines.meter_provider.get_meter(METER_NAME, scope_version())
    traces = CallTraces(pipelines.tracer_provider.get_tracer(METER_NAME, scope_version()), privacy=privacy)
    recorded = MetricsSink(
        meter,
        labels=labels,
        barrier=barrier,
        contexts=traces,
        genai_sets=chosen_sets(environ.get(OPT_IN)),
        unsampled=live.store.unsampled,
    )
    recent = RecentCalls(contexts=traces, privacy=privacy, limits=recent_limits, register=register, clock=clock)
    recorder.hand_to(recent)
    # Traces come first, so that what follows finds the call's context, and their endings last, so that it still does.
    chain = FanOut((traces, recorded, recent, *sinks, LogSink(traces, clock=clock), traces.endings), strict=strict)
    tracker = CallTracker(chain, clock=clock, scopes=traces)
    telemetry = Telemetry(tracker, live, recent, register, pipelines, traces, labels, barrier, chain)
    _observe_exports(telemetry)
    _refuse_after_fork(chain, tracker)
    return telemetry


def _observe_exports(telemetry: Telemetry) -> None:
    """Register the library's metrics of itself."""

    def per_signal(instrument: Instrument, value: Callable[[SignalHealth], float]) -> None:
        def what() -> Iterable[Observation]:
            signals = telemetry.pipelines.health().signals
            return [Observation(value(s), {attr.SIGNAL: s.signal.value}) for s in signals if s.enabled]

        observe(telemetry.meter, telemetry.live, instrument, what)

    per_signal(own_health.EXPORT_FAILURES, lambda health: health.consecutive_failures)
    per_signal(own_health.EXPORT_AGE, lambda health: health.age_seconds)
    per_signal(own_health.EXPORT_DROPPED, lambda health: health.dropped)
    per_signal(own_health.EXPORT_REJECTED, lambda health: health.rejected)
    observe(
        telemetry.meter,
        telemetry.live,
        own_health.SINK_FAILURES,
        lambda: [Observation(telemetry.sink_failures)],
    )


def _refuse_after_fork(sinks: FanOut, tracker: CallTracker) -> None:
    """Have a forked child refuse reports instead of recording them where no exporter's thread runs."""
    # Weakly: what is registered for a fork cannot be taken back, and must not keep stopped telemetry alive.
    references = weakref.ref(sinks), weakref.ref(tracker)

    def refuse() -> None:
        for reference in references:
            forked = reference()
            if forked is not None:
                forked.after_fork()

    os.register_at_fork(after_in_child=refuse)
