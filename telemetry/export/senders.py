"""The sender a route asks for: over HTTP, over gRPC, to the console, or to the console besides."""

import sys
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from telemetry.export.destination import Destination
from telemetry.export.outcome import Batch_contra, Outcome, Sender
from telemetry.export.over_grpc import logs_over_grpc, metrics_over_grpc, spans_over_grpc
from telemetry.export.over_http import logs_over_http, metrics_over_http, spans_over_http
from telemetry.export.plan import Route
from telemetry.export.scrubbed import ScrubbedSpan, Scrubbing, scrubbed_record
from telemetry.export.signals import Protocol
from telemetry.export.watched import Exporter, Watch, WatchedSender

Sent = TypeVar("Sent")


class _Each(Generic[Batch_contra]):
    """Sends every batch to several senders. The first one's outcome counts; the console is a mere onlooker."""

    def __init__(self, senders: Sequence[Sender[Batch_contra]]) -> None:
        self._senders = senders

    def send(self, batch: Batch_contra) -> Outcome:
        """Send to all."""
        first, *_ = [sender.send(batch) for sender in self._senders]
        return first

    def close(self) -> None:
        """Close all."""
        for sender in self._senders:
            sender.close()


def metrics_to(destination: Destination) -> WatchedSender[MetricsData]:
    """What sends metrics to this destination."""
    return metrics_over_grpc(destination) if _by_grpc(destination) else metrics_over_http(destination)


def spans_to(destination: Destination) -> WatchedSender[list[ReadableSpan]]:
    """What sends spans to this destination."""
    return spans_over_grpc(destination) if _by_grpc(destination) else spans_over_http(destination)


def logs_to(destination: Destination) -> WatchedSender[list[ReadableLogRecord]]:
    """What sends log records to this destination."""
    return logs_over_grpc(destination) if _by_grpc(destination) else logs_over_http(destination)


def metrics_sender(route: Route) -> Sender[MetricsData]:
    """What sends metrics along this route."""
    return _sender(route, metrics_to, lambda: ConsoleMetricExporter(sys.stdout))


def spans_sender(route: Route) -> Sender[list[ReadableSpan]]:
    """What sends spans along this route, cleaned of personal data."""
    return Scrubbing(_sender(route, spans_to, lambda: ConsoleSpanExporter(out=sys.stdout)), ScrubbedSpan)


def logs_sender(route: Route) -> Sender[list[ReadableLogRecord]]:
    """What sends log records along this route, cleaned of personal data."""
    return Scrubbing(_sender(route, logs_to, lambda: ConsoleLogRecordExporter(sys.stdout)), scrubbed_record)


def _by_grpc(destination: Destination) -> bool:
    return destination.protocol is Protocol.GRPC


def _sender(
    route: Route, to: Callable[[Destination], Sender[Sent]], console: Callable[[], Exporter[Sent]]
) -> Sender[Sent]:
    senders: list[Sender[Sent]] = [to(route.destination)] if route.destination else []
    if route.console:
        senders.append(WatchedSender(console(), Watch()))
    return senders[0] if len(senders) == 1 else _Each(senders)
