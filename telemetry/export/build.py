"""From the standard variables to running pipelines."""

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from uuid import UUID, uuid4

from opentelemetry._logs import LoggerProvider, NoOpLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from telemetry.clock import Clock, SystemClock
from telemetry.export.batches import Batches, LogIntake, SpanIntake
from telemetry.export.delta import Deltas, LowMemoryDeltas
from telemetry.export.lane import Lane
from telemetry.export.pipelines import Pipelines, Providers
from telemetry.export.plan import ExportPlan, Temporality, read_plan
from telemetry.export.reader import Cumulative, ExportingReader, Ledger
from telemetry.export.record import HealthRecord
from telemetry.export.resource import read_resource
from telemetry.export.senders import logs_sender, metrics_sender, spans_sender
from telemetry.export.signals import Signal

DEFAULT_SERIES = 100_000
"""Most attribute sets of one instrument that are exported apart; the SDK's 2000 would merge tenants without a word."""


def build_pipelines(
    environ: Mapping[str, str],
    *,
    views: Sequence[View] = (),
    metric_readers: Sequence[MetricReader] = (),
    span_processors: Sequence[SpanProcessor] = (),
    log_processors: Sequence[LogRecordProcessor] = (),
    resource_attributes: Mapping[str, str] | None = None,
    series: int = DEFAULT_SERIES,
    clock: Clock | None = None,
    phase: Callable[[], float] = random.random,
    instance: UUID | None = None,
    turn: AbstractContextManager[object] | None = None,
) -> Pipelines:
    """Build the three providers and start exporting as the ``OTEL_*`` variables in ``environ`` say.

    The readers and processors handed in see everything, exported or not; they are shut down with the rest. With no
    endpoint configured nothing is exported and no thread started. ``OTEL_SDK_DISABLED=true`` ends exporting, spans and
    logs; metrics are still made, for the readers handed in, because the service answers from them.

    A value that makes no sense raises :class:`InvalidVariableError`, which names the variable.

    Args:
        environ: the variables, usually ``os.environ``.
        views: how instruments are aggregated.
        metric_readers: readers besides the exporting one.
        span_processors: processors that see spans before the exporting one.
        log_processors: the same for log records.
        resource_attributes: what the application says of itself, such as ``service.version``.
        series: most attribute sets of one instrument that are exported apart.
        clock: for the ages in health reports.
        phase: where in its interval, between 0 and 1, the process exports metrics, so that workers take turns.
        instance: tells this process from others; random unless given.
        turn: entered while metrics are collected for export, for a reader that must know when they are.

    """
    plan = read_plan(environ)
    resource = read_resource(environ, resource_attributes or {}, instance or uuid4())
    records = {signal: HealthRecord(plan.routes[signal], clock or SystemClock()) for signal in Signal}
    lanes = _Lanes(plan, records)
    exporting = lanes.readers(series, phase(), turn or nullcontext())
    meters = _meter_provider(plan, resource, views, (*metric_readers, *exporting))
    tracers = _tracer_provider(plan, resource, meters, (*span_processors, *lanes.span_processors()))
    loggers = _logger_provider(plan, resource, meters, (*log_processors, *lanes.log_processors()))
    return Pipelines(Providers(meters, tracers, loggers, resource), lanes.made, records)


class _Lanes:
    """Makes the lanes that the plan asks for, and what connects each to its provider."""

    def __init__(self, plan: ExportPlan, records: Mapping[Signal, HealthRecord]) -> None:
        self._plan = plan
        self._records = records
        self.made: dict[Signal, Lane] = {}

    def readers(self, series: int, phase: float, turn: AbstractContextManager[object]) -> Iterator[MetricReader]:
        """The exporting reader, if metrics are exported."""
        if (route := self._plan.routes[Signal.METRICS]).enabled:
            sender, record = metrics_sender(route), self._records[Signal.METRICS]
            plan = self._plan.metrics
            ledger = _LEDGERS[plan.temporality]()
            reader = ExportingReader(sender, record, plan, ledger=ledger, series=series, phase=phase, turn=turn)
            self.made[Signal.METRICS] = Lane(reader, sender, record)
            yield reader

    def span_processors(self) -> Iterator[SpanProcessor]:
        """The exporting processor, if traces are exported."""
        if (route := self._plan.routes[Signal.TRACES]).enabled:
            sender, record = spans_sender(route), self._records[Signal.TRACES]
            batches = Batches("export traces", sender, record, self._plan.traces.batching)
            self.made[Signal.TRACES] = Lane(batches, sender, record)
            yield SpanIntake(batches)

    def log_processors(self) -> Iterator[LogRecordProcessor]:
        """The exporting processor, if logs are exported."""
        if (route := self._plan.routes[Signal.LOGS]).enabled:
            sender, record = logs_sender(route), self._records[Signal.LOGS]
            batches = Batches("export logs", sender, record, self._plan.logs.batching)
            self.made[Signal.LOGS] = Lane(batches, sender, record)
            yield LogIntake(batches)


_LEDGERS: Mapping[Temporality, Callable[[], Ledger]] = {
    Temporality.CUMULATIVE: Cumulative,
    Temporality.DELTA: Deltas,
    Temporality.LOWMEMORY: LowMemoryDeltas,
}


def _meter_provider(
    plan: ExportPlan, resource: Resource, views: Sequence[View], readers: Sequence[MetricReader]
) -> MeterProvider:
    with _enabled_sdk():
        return MeterProvider(
            metric_readers=readers,
            resource=resource,
            exemplar_filter=plan.metrics.exemplars,
            views=views,
            shutdown_on_exit=False,
        )


@contextmanager
def _enabled_sdk() -> Iterator[None]:
    """Hide ``OTEL_SDK_DISABLED`` from a provider being made, which looks for it in the process's environment."""
    hidden = os.environ.pop("OTEL_SDK_DISABLED", None)
    try:
        yield
    finally:
        if hidden is not None:
            os.environ["OTEL_SDK_DISABLED"] = hidden


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
