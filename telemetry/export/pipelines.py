"""Three providers, the pipelines by which their signals leave, and one end for all of them within a budget."""

import atexit
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic
from typing import Any, Protocol
from uuid import UUID, uuid4

from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from telemetry.clock import Clock, SystemClock
from telemetry.export.batches import BatchedItems, LogQueueing, SpanQueueing
from telemetry.export.health import ExportHealth, HealthRecord, SignalHealth
from telemetry.export.metrics import MetricsExporter
from telemetry.export.outcome import ExportOutcome
from telemetry.export.plan import ExportPlan, read_plan, read_resource
from telemetry.export.scraping import ScrapeEndpoint
from telemetry.export.senders import logs_sender, metrics_sender, spans_sender
from telemetry.export.signals import Signal
from telemetry.export.thread import ExportThread
from telemetry.metrics.barrier import CollectionBarrier
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.catalogue import INSTRUMENTS, METER_NAME


class Source(Protocol):
    """Gathers one signal's items and hands them to a sender in the rounds of its thread."""

    @property
    def thread(self) -> ExportThread:
        """The thread that exports."""
        ...

    def close(self) -> None:
        """Take in nothing more."""
        ...

    def unsent(self) -> int:
        """Return the number of items taken in and neither acknowledged nor given up."""
        ...


class Closable(Protocol):
    """A sender, as far as its end goes."""

    def close(self) -> None:
        """Break off what is in progress and release the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One signal's way out."""

    source: Source
    sender: Closable
    record: HealthRecord

    def start(self) -> None:
        """Begin exporting."""
        self.source.thread.start()

    def stop(self) -> None:
        """Take in nothing more and export what there is; does not wait."""
        self.source.close()
        self.source.thread.stop()

    def join(self, seconds: float) -> bool:
        """Wait for the end of what :meth:`stop` began; false if it takes longer."""
        return self.source.thread.join(seconds)

    def break_off(self) -> None:
        """End a send in progress, if there is one, and release the connection."""
        self.sender.close()

    def give_up(self) -> str:
        """Count what has not been sent as lost; return that in words, or an empty string."""
        lost = self.source.unsent()
        self.record.end(lost)
        return f"{lost} {self.record.signal.items}" if lost else ""

    def health(self) -> SignalHealth:
        """Return the health of this signal's export."""
        return self.record.snapshot(thread_alive=self.source.thread.alive)


_logger = logging.getLogger("telemetry.export")
DEFAULT_BUDGET = 5.0
"""Seconds that ending everything may take."""
_UNTIL_BREAK_OFF = 0.8
"""Share of the budget in which the last exports may run and retry; after it, they are broken off."""
_ENDED = 0.95
"""Share of the budget by which the exports have ended or are abandoned; the rest is for the providers."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The providers of instruments, tracers and loggers. None of them is set globally."""

    meter_provider: MeterProvider
    tracer_provider: TracerProvider
    logger_provider: LoggerProvider
    resource: Resource
    """Attributes of this process, the same for all three."""


class Pipelines:
    """Everything that exports. Begins on construction; :meth:`shutdown` ends it."""

    def __init__(
        self,
        providers: Providers,
        live: LiveMetricsReader,
        pipelines: Mapping[Signal, Pipeline],
        records: Mapping[Signal, HealthRecord],
        scraped: ScrapeEndpoint | None = None,
    ) -> None:
        self.live = live
        self.scraped = scraped
        """The endpoint that Prometheus reads from; ``None``: there is none."""
        self.meter_provider = providers.meter_provider
        self.tracer_provider = providers.tracer_provider
        self.logger_provider = providers.logger_provider
        self.resource = providers.resource
        self._pipelines = pipelines
        self._records = records
        self._ending = Lock()
        self._all_arrived: bool | None = None
        atexit.register(self.shutdown)
        for pipeline in pipelines.values():
            pipeline.start()
        if scraped is not None:
            scraped.start()

    def health(self) -> ExportHealth:
        """Return the health of each signal's export; cheap and never blocking."""
        return ExportHealth(**{signal: self._health(signal, record) for signal, record in self._records.items()})

    def _health(self, signal: Signal, record: HealthRecord) -> SignalHealth:
        if signal in self._pipelines:
            return self._pipelines[signal].health()
        scraped = self.scraped if signal is Signal.METRICS else None
        return record.snapshot(thread_alive=scraped is not None and scraped.alive)

    def flush(self, budget_seconds: float = DEFAULT_BUDGET) -> bool:
        """Export now whatever there is, all signals at once; true only if all of it arrived in time."""
        deadline = monotonic() + budget_seconds
        requested = [(pipeline, pipeline.source.thread.ask()) for pipeline in self._pipelines.values()]
        arrived = [pipeline.source.thread.wait(number, deadline - monotonic()) for pipeline, number in requested]
        return all(arrived)

    def shutdown(self, budget_seconds: float = DEFAULT_BUDGET) -> bool:
        """Export what there is and end everything, all signals together within ``budget_seconds``.

        True if all arrived. What did not is counted as dropped and logged in one line. Threads still waiting for a
        silent server are left behind as daemons. A second call does nothing and says what the first said.
        """
        with self._ending:
            if self._all_arrived is None:
                self._all_arrived = self._end(budget_seconds)
            return self._all_arrived

    def _end(self, budget_seconds: float) -> bool:
        atexit.unregister(self.shutdown)
        start = monotonic()
        if self.scraped is not None:
            self.scraped.close()
        arrived = self._end_pipelines(start, budget_seconds)
        self._end_providers(start + budget_seconds - monotonic())
        return arrived

    def _end_pipelines(self, start: float, seconds: float) -> bool:
        for pipeline in self._pipelines.values():
            pipeline.stop()
        late = [
            pipeline
            for pipeline in self._pipelines.values()
            if not pipeline.join(start + seconds * _UNTIL_BREAK_OFF - monotonic())
        ]
        for pipeline in self._pipelines.values():
            pipeline.break_off()
        for pipeline in late:
            pipeline.join(start + seconds * _ENDED - monotonic())
        return self._report([lost for pipeline in self._pipelines.values() if (lost := pipeline.give_up())])

    def _report(self, lost: list[str]) -> bool:
        if lost:
            _logger.warning("Ended without exporting %s.", ", ".join(lost))
        return not lost

    def _end_providers(self, seconds: float) -> None:
        """Shut down the providers and what was handed in with them, without letting that use up more than is left."""
        ending = Thread(target=self._shut_down_providers, name="end telemetry", daemon=True)
        ending.start()
        ending.join(max(0.0, seconds))

    def _shut_down_providers(self) -> None:
        """Shut down those providers that have an end: the SDK's do, the no-op ones need none."""
        for provider in (self.tracer_provider, self.logger_provider, self.meter_provider):
            if isinstance(provider, SdkTracerProvider | SdkLoggerProvider | SdkMeterProvider):
                _shut_down(provider)


def _shut_down(provider: SdkTracerProvider | SdkLoggerProvider | SdkMeterProvider) -> None:
    try:
        provider.shutdown()
    except Exception:
        _logger.exception("The %s could not be shut down.", type(provider).__name__)


def build_pipelines(
    environ: Mapping[str, str],
    *,
    store: LiveMetricsStore | None = None,
    barrier: CollectionBarrier | None = None,
    views: Sequence[View] = (),
    metric_readers: Sequence[MetricReader] = (),
    span_processors: Sequence[SpanProcessor] = (),
    log_processors: Sequence[LogRecordProcessor] = (),
    resource_attributes: Mapping[str, str | int] | None = None,
    clock: Clock | None = None,
    phase: Callable[[], float] = random.random,
    instance: UUID | None = None,
) -> Pipelines:
    """Build the three providers and start exporting as the ``OTEL_*`` variables in ``environ`` say.

    The readers and processors handed in see everything, exported or not; they are shut down with the rest. With no
    endpoint configured nothing is exported and no thread started. ``OTEL_SDK_DISABLED=true`` ends exporting, spans and
    logs; metrics are still made, because the service answers from them.

    A name or number that makes no sense is warned of and ignored; what cannot work, such as an endpoint that is no URL
    or a TLS file that is missing, raises :class:`InvalidVariableError`, which names the variable.

    Args:
        environ: the variables, usually ``os.environ``.
        store: where metrics are folded, with its limit of series; one of its own if not given.
        barrier: keeps a collection from seeing half an event.
        views: how instruments are aggregated.
        metric_readers: readers of the application's own. Each stores all measurements once more, and holds the SDK's
            collection lock while it collects.
        span_processors: processors that see spans before the exporting one.
        log_processors: the same for log records.
        resource_attributes: what the application says of itself, such as ``service.version``.
        clock: for the ages in health reports.
        phase: where in its interval, between 0 and 1, the process exports metrics, so that workers take turns.
        instance: tells this process from others; random unless given.

    """
    plan = read_plan(environ)
    resource = read_resource(environ, resource_attributes or {}, instance or uuid4())
    clock = clock or SystemClock()
    records = {signal: HealthRecord(plan.routes[signal], clock) for signal in Signal}
    histograms = plan.metrics.histograms
    live = LiveMetricsReader(store or LiveMetricsStore(), barrier=barrier, histograms=histograms, clock=clock)
    pipelines = _PipelineBuilder(plan, records)
    pipelines.add_metrics(live, resource, phase())
    meters = _meter_provider(plan, resource, (*_own_views(plan), *views), (live, *metric_readers))
    tracers = _tracer_provider(plan, resource, meters, (*span_processors, *pipelines.span_processors()))
    loggers = _logger_provider(plan, resource, meters, (*log_processors, *pipelines.log_processors()))
    providers = Providers(meters, tracers, loggers, resource)
    return Pipelines(providers, live, pipelines.made, records, _scrape_endpoint(plan, live, resource, records))


class _PipelineBuilder:
    """Makes the pipelines that the plan asks for, and what connects each to its provider."""

    def __init__(self, plan: ExportPlan, records: Mapping[Signal, HealthRecord]) -> None:
        self._plan = plan
        self._records = records
        self.made: dict[Signal, Pipeline] = {}

    def add_metrics(self, live: LiveMetricsReader, resource: Resource, phase: float) -> None:
        """Export from the live reader's table, if metrics are exported."""
        if (route := self._plan.routes[Signal.METRICS]).pushed:
            sender, record = metrics_sender(route), self._records[Signal.METRICS]
            exporter = MetricsExporter(live, sender, record, self._plan.metrics, resource=resource, phase=phase)
            self.made[Signal.METRICS] = Pipeline(exporter, sender, record)

    def span_processors(self) -> Iterator[SpanProcessor]:
        """Yield the exporting processor, if traces are exported."""
        if (route := self._plan.routes[Signal.TRACES]).enabled:
            sender, record = spans_sender(route), self._records[Signal.TRACES]
            batches = BatchedItems("export traces", sender, record, self._plan.traces.batching)
            self.made[Signal.TRACES] = Pipeline(batches, sender, record)
            yield SpanQueueing(batches)

    def log_processors(self) -> Iterator[LogRecordProcessor]:
        """Yield the exporting processor, if logs are exported."""
        if (route := self._plan.routes[Signal.LOGS]).enabled:
            sender, record = logs_sender(route), self._records[Signal.LOGS]
            batches = BatchedItems("export logs", sender, record, self._plan.logs.batching)
            self.made[Signal.LOGS] = Pipeline(batches, sender, record)
            yield LogQueueing(batches)


def _scrape_endpoint(
    plan: ExportPlan, live: LiveMetricsReader, resource: Resource, records: Mapping[Signal, HealthRecord]
) -> ScrapeEndpoint | None:
    """Return the endpoint to scrape, if it is asked for. Where metrics are pushed too, their health is the push's."""
    route = plan.routes[Signal.METRICS]
    if route.scraped is None:
        return None
    record = records[Signal.METRICS]
    scraped = _nothing if route.pushed else lambda: record.exported(ExportOutcome())
    return ScrapeEndpoint(live, route.scraped, resource, scraped)


def _nothing() -> None:
    """Take no note of a scrape."""


def _own_views(plan: ExportPlan) -> Iterator[View]:
    """Yield what keeps the catalogue's histograms in their own buckets, which the live view needs."""
    if not isinstance(plan.metrics.histograms, ExplicitBucketHistogramAggregation):
        for instrument in INSTRUMENTS:
            if instrument.boundaries:
                aggregation = ExplicitBucketHistogramAggregation(instrument.boundaries)
                yield View(instrument_name=instrument.name, meter_name=METER_NAME, aggregation=aggregation)


def _meter_provider(
    plan: ExportPlan, resource: Resource, views: Sequence[View], readers: Sequence[MetricReader]
) -> MeterProvider:
    return _CountingMeterProvider(
        metric_readers=readers,
        resource=resource,
        exemplar_filter=plan.metrics.exemplars,
        views=views,
        shutdown_on_exit=False,
    )


class _CountingMeterProvider(SdkMeterProvider):
    """Counts whatever ``OTEL_SDK_DISABLED`` says in the process's environment, for the service answers from it.

    The SDK reads the variable in the constructor and keeps the answer in an attribute of its own; there is no argument.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 -- passed on
        super().__init__(**options)
        self._disabled = False


def _tracer_provider(
    plan: ExportPlan, resource: Resource, meters: MeterProvider, processors: Sequence[SpanProcessor]
) -> TracerProvider:
    if plan.disabled:
        return NoOpTracerProvider()
    provider = SdkTracerProvider(
        sampler=plan.traces.sampler,
        resource=resource,
        span_limits=plan.traces.limits,
        meter_provider=meters,
        shutdown_on_exit=False,
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def _logger_provider(
    plan: ExportPlan, resource: Resource, meters: MeterProvider, processors: Sequence[LogRecordProcessor]
) -> LoggerProvider:
    if plan.disabled:
        return NoOpLoggerProvider()
    provider = SdkLoggerProvider(
        resource=resource, log_record_limits=plan.logs.limits, meter_provider=meters, shutdown_on_exit=False
    )
    for processor in processors:
        provider.add_log_record_processor(processor)
    return provider
