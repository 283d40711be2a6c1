"""Sends telemetry of the shapes the service sends, with the standard SDK and exporters and without the service."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcTraces
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpTraces
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Status, StatusCode

from telemetry.semconv.attributes import ATTRIBUTES, CAPACITY_SCOPE, TENANT_ID, CapacityScope, MetricKey
from telemetry.semconv.catalogue import INSTRUMENTS, METER_NAME
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from telemetry.semconv.instrument import Instrument, Kind

Attributes = Mapping[str, str | int | float | bool]
Exporters = tuple[MetricExporter, SpanExporter, LogRecordExporter]


NEVER = 3_600_000
"""Milliseconds between exports nobody asked for."""


class OtlpEmitter:
    """A stand-in for the service. It records on the catalogue's instruments; the context's end sends all of it."""

    def __init__(
        self,
        endpoint: str = "",
        *,
        grpc: bool = False,
        metrics_url: str = "",
        signals: Sequence[str] = (),
        instance: str | None = None,
    ) -> None:
        metrics, traces, logs = _over_grpc(endpoint) if grpc else _over_http(endpoint, metrics_url)
        wanted = signals or (["metrics"] if metrics_url else ["metrics", "traces", "logs"])
        named = {} if instance is None else {"service.instance.id": instance}
        resource = Resource.create({"service.name": "callscope", **named})
        reader = PeriodicExportingMetricReader(metrics, export_interval_millis=NEVER)
        self._meters = MeterProvider([reader] if "metrics" in wanted else [], resource, shutdown_on_exit=False)
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        if "traces" in wanted:
            self._tracers.add_span_processor(BatchSpanProcessor(traces))
        if "logs" in wanted:
            self._loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
        self._observed: dict[str, list[Observation]] = {}
        self._record = {instrument.name: self._recorder(instrument) for instrument in INSTRUMENTS}

    def record(self, name: str, amount: float, attributes: Attributes) -> None:
        """Measure on one instrument of the catalogue, whatever its kind."""
        self._record[name](amount, attributes)

    def call(
        self,
        *,
        tenant: str,
        seconds: float = 10,
        error: str = "",
        root: Attributes | None = None,
        turn: Attributes | None = None,
        turn_seconds: float = 0,
        event: str = "",
        log: str = "call ended",
        during: Callable[[], None] = lambda: None,
    ) -> str:
        """One call with one turn: its trace, its log line and its measurements. Answers the trace's id.

        `during` is called when the turn is over and the call is not; `event` names one of the turn's span.
        """
        tracer = self._tracers.get_tracer(METER_NAME)
        labels = {"tenant.id": tenant}
        with tracer.start_as_current_span("call", attributes={**labels, **(root or {})}) as span:
            began = time.time_ns()
            spoken = tracer.start_span("turn", attributes={**labels, **(turn or {})}, start_time=began)
            if event:
                spoken.add_event(event)
            spoken.end(began + int(turn_seconds * 1e9))
            during()
            if error:
                span.set_status(Status(StatusCode.ERROR, error))
            self.record("voice.call.accepted", 1, labels)
            self.record("voice.call.duration", seconds, {**labels, "voice.call.end.reason": "completed"})
            self.log(log, labels)
            return trace.format_trace_id(span.get_span_context().trace_id)

    def everything(self, tenant: str) -> str:
        """A measurement on every instrument, with legal attribute values, in one trace. Answers the trace's id."""
        with self._tracers.get_tracer(METER_NAME).start_as_current_span("call") as span:
            for instrument in INSTRUMENTS:
                for scope in CapacityScope if CAPACITY_SCOPE in instrument.attributes else [""]:
                    labels: dict[str, str] = {key: _example(key) for key in instrument.attributes}
                    chosen: dict[str, str] = {TENANT_ID: tenant, CAPACITY_SCOPE: str(scope)}
                    self.record(instrument.name, 0.5, labels | {k: v for k, v in chosen.items() if k in labels})
            return trace.format_trace_id(span.get_span_context().trace_id)

    def log(self, body: str, attributes: Attributes) -> None:
        """One log line, in the current span's context."""
        record = LogRecord(timestamp=time.time_ns(), body=body, attributes=dict(attributes))
        self._loggers.get_logger(METER_NAME).emit(record)

    def flush(self) -> None:
        """Send what has been recorded so far."""
        for provider in (self._meters, self._tracers, self._loggers):
            provider.force_flush()

    def __enter__(self) -> Self:
        """Everything recorded in the context is sent by its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send and shut down."""
        self._meters.shutdown()
        self._tracers.shutdown()
        self._loggers.shutdown()

    def _recorder(self, instrument: Instrument) -> Callable[[float, Attributes], None]:
        meter, name, unit = self._meters.get_meter(METER_NAME), instrument.name, instrument.unit
        match instrument.kind:
            case Kind.COUNTER:
                return meter.create_counter(name, unit).add
            case Kind.UP_DOWN_COUNTER:
                return meter.create_up_down_counter(name, unit).add
            case Kind.HISTOGRAM:
                bounds = instrument.boundaries
                return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds).record
            case Kind.OBSERVABLE_GAUGE:
                meter.create_observable_gauge(name, [self._observations(name)], unit)
            case Kind.OBSERVABLE_COUNTER:
                meter.create_observable_counter(name, [self._observations(name)], unit)
        return lambda amount, attributes: self._observed.setdefault(name, []).append(Observation(amount, attributes))

    def _observations(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: list(self._observed.get(name, []))


def _example(key: MetricKey) -> str:
    values = next(known.values for known in (*ATTRIBUTES, *GENAI_ATTRIBUTES) if known.key == key)
    return values[0] if values else "example"


def _over_http(endpoint: str, metrics_url: str) -> Exporters:
    return (
        HttpMetrics(metrics_url or f"{endpoint}/v1/metrics"),
        HttpTraces(f"{endpoint}/v1/traces"),
        HttpLogs(f"{endpoint}/v1/logs"),
    )


def _over_grpc(endpoint: str) -> Exporters:
    return GrpcMetrics(endpoint), GrpcTraces(endpoint), GrpcLogs(endpoint)
