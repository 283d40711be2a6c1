"""How large a span or a log record may grow: the ``OTEL_*_LIMIT`` variables."""

from opentelemetry.sdk._logs import LogRecordLimits
from opentelemetry.sdk.trace import SpanLimits

from telemetry.export.environment import Environment

_COUNT = 128
"""Most attributes, events and links of one span or record, unless set otherwise."""


def read_span_limits(environment: Environment) -> SpanLimits:
    """The limits on spans, their events and their links."""
    return SpanLimits(
        max_attributes=_count(environment, "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_span_attributes=_count(environment, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_event_attributes=_count(environment, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_link_attributes=_count(environment, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_events=_count(environment, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
        max_links=_count(environment, "OTEL_SPAN_LINK_COUNT_LIMIT"),
        max_attribute_length=_length(environment, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        max_span_attribute_length=_length(
            environment, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        ),
    )


def read_log_limits(environment: Environment) -> LogRecordLimits:
    """The limits on log records."""
    return LogRecordLimits(
        max_attributes=_count(environment, "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_attribute_length=_length(environment, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        max_log_record_attributes=_count(
            environment, "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"
        ),
        max_log_record_attribute_length=_length(
            environment, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        ),
    )


def _count(environment: Environment, *names: str) -> int:
    variable = environment.find(*names)
    return variable.whole(at_least=0) if variable else _COUNT


def _length(environment: Environment, *names: str) -> int:
    """A value's longest length in characters; without a limit, the SDK's word for none."""
    variable = environment.find(*names)
    return variable.whole(at_least=0) if variable else SpanLimits.UNSET
