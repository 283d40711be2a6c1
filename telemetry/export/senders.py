"""The sender a route asks for: over HTTP, over gRPC, to the console, or to the console besides."""

import sys
from collections.abc import Callable, Sequence
from copy import copy
from typing import Generic, TypeVar, cast

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.trace import Status
from opentelemetry.util.types import AnyValue, Attributes

from telemetry.export.destination import OtlpDestination
from telemetry.export.outcome import Batch_contra, Exporter, ExportOutcome, ObservedSender, RequestObserver, Sender
from telemetry.export.over_grpc import logs_over_grpc, metrics_over_grpc, spans_over_grpc
from telemetry.export.over_http import logs_over_http, metrics_over_http, spans_over_http
from telemetry.export.plan import Route
from telemetry.export.signals import Protocol
from telemetry.privacy import scrub_attributes, scrub_text, scrub_value

Item = TypeVar("Item")


class ScrubbedSpan(ReadableSpan):
    """A span as it may leave: attributes and events cleaned, the status without its description.

    The description is an exception's message wherever instrumentations set one; ``error.type`` says what kind it was.
    """

    def __init__(self, span: ReadableSpan) -> None:
        super().__init__(
            name=scrub_text(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=_attributes(span.attributes),
            events=[Event(e.name, _attributes(e.attributes), e.timestamp) for e in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
        self._original = span

    @property
    def dropped_attributes(self) -> int:
        """Number of attributes that the SDK left out of the span, for its limit."""
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        """Number of events left out."""
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        """Number of links left out."""
        return self._original.dropped_links


class Scrubbing(Generic[Item]):
    """A sender that cleans what it hands on. What waits for another attempt is cleaned again then."""

    def __init__(self, sender: Sender[list[Item]], clean: Callable[[Item], Item]) -> None:
        self._sender = sender
        self._clean = clean

    def send(self, batch: list[Item]) -> ExportOutcome:
        """Send the cleaned batch."""
        return self._sender.send([self._clean(item) for item in batch])

    def close(self) -> None:
        """Close the sender."""
        self._sender.close()


def scrubbed_record(record: ReadableLogRecord) -> ReadableLogRecord:
    """Return a log record as it may leave."""
    written = copy(record.log_record)
    written.body = cast("AnyValue", scrub_value(written.body))
    written.attributes = cast("dict[str, AnyValue]", scrub_attributes(written.attributes))
    return ReadableLogRecord(
        log_record=written,
        resource=record.resource,
        instrumentation_scope=record.instrumentation_scope,
        limits=record.limits,
    )


def _attributes(attributes: Attributes) -> Attributes:
    return cast("Attributes", scrub_attributes(attributes))


Sent = TypeVar("Sent")


class _Each(Generic[Batch_contra]):
    """Sends every batch to several senders. The first one's outcome counts; the console is a mere onlooker."""

    def __init__(self, senders: Sequence[Sender[Batch_contra]]) -> None:
        self._senders = senders

    def send(self, batch: Batch_contra) -> ExportOutcome:
        """Send to all."""
        first, *_ = [sender.send(batch) for sender in self._senders]
        return first

    def close(self) -> None:
        """Close all."""
        for sender in self._senders:
            sender.close()


def metrics_to(destination: OtlpDestination) -> ObservedSender[MetricsData]:
    """Return a sender of metrics to this destination."""
    return metrics_over_grpc(destination) if _by_grpc(destination) else metrics_over_http(destination)


def spans_to(destination: OtlpDestination) -> ObservedSender[list[ReadableSpan]]:
    """Return a sender of spans to this destination."""
    return spans_over_grpc(destination) if _by_grpc(destination) else spans_over_http(destination)


def logs_to(destination: OtlpDestination) -> ObservedSender[list[ReadableLogRecord]]:
    """Return a sender of log records to this destination."""
    return logs_over_grpc(destination) if _by_grpc(destination) else logs_over_http(destination)


def metrics_sender(route: Route) -> Sender[MetricsData]:
    """Return a sender of metrics along this route."""
    return _sender(route, metrics_to, lambda: ConsoleMetricExporter(sys.stdout))


def spans_sender(route: Route) -> Sender[list[ReadableSpan]]:
    """Return a sender of spans along this route, cleaned of personal data."""
    return Scrubbing(_sender(route, spans_to, lambda: ConsoleSpanExporter(out=sys.stdout)), ScrubbedSpan)


def logs_sender(route: Route) -> Sender[list[ReadableLogRecord]]:
    """Return a sender of log records along this route, cleaned of personal data."""
    return Scrubbing(_sender(route, logs_to, lambda: ConsoleLogRecordExporter(sys.stdout)), scrubbed_record)


def _by_grpc(destination: OtlpDestination) -> bool:
    return destination.protocol is Protocol.GRPC


def _sender(
    route: Route, to: Callable[[OtlpDestination], Sender[Sent]], console: Callable[[], Exporter[Sent]]
) -> Sender[Sent]:
    senders: list[Sender[Sent]] = [to(route.destination)] if route.destination else []
    if route.console:
        senders.append(ObservedSender(console(), RequestObserver()))
    return senders[0] if len(senders) == 1 else _Each(senders)
