"""The one test item of each signal that is sent to see whether anything arrives."""

from time import time_ns

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

SCOPE = InstrumentationScope("callscope.doctor")
"""The instrumentation scope by which a backend's user finds the test items."""
POINT = "callscope.doctor.checks"
"""The name of the test counter."""
SPAN = "callscope doctor"
"""The name of the test span."""
LOG = "callscope doctor: a test record"
"""The body of the test log record."""
_NANOSECONDS = 1_000_000


def a_point(resource: Resource, temporality: AggregationTemporality) -> MetricsData:
    """One counter that says one."""
    now = time_ns()
    data = Sum([NumberDataPoint({}, now - _NANOSECONDS, now, 1)], temporality, is_monotonic=True)
    metric = Metric(POINT, "Test points sent by callscope doctor.", "{check}", data)
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(SCOPE, [metric], "")], "")])


def a_span(resource: Resource) -> list[ReadableSpan]:
    """One span, a trace of its own."""
    ids, now = RandomIdGenerator(), time_ns()
    context = SpanContext(
        ids.generate_trace_id(), ids.generate_span_id(), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return [
        ReadableSpan(
            SPAN,
            context,
            resource=resource,
            instrumentation_scope=SCOPE,
            start_time=now - _NANOSECONDS,
            end_time=now,
        )
    ]


def a_log_record(resource: Resource) -> list[ReadableLogRecord]:
    """One record at the level of information."""
    now = time_ns()
    record = LogRecord(
        timestamp=now, observed_timestamp=now, severity_number=SeverityNumber.INFO, severity_text="INFO", body=LOG
    )
    return [ReadableLogRecord(record, resource, SCOPE)]
