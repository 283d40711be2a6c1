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
from telemetry.export.signals import Protocol
from telemetry.export.watched import Exporter, WatchedSender

Sent = TypeVar("Sent")
Maker = Callable[[Destination], Sender[Sent]]


class _Unwatched:
    """The watch on an exporter that makes no requests."""

    last: Outcome | None = None


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


def metrics_sender(route: Route) -> Sender[MetricsData]:
    """What sends metrics along this route."""
    return _sender(route, metrics_over_http, metrics_over_grpc, lambda: ConsoleMetricExporter(sys.stdout))


def spans_sender(route: Route) -> Sender[list[ReadableSpan]]:
    """What sends spans along this route."""
    return _sender(route, spans_over_http, spans_over_grpc, lambda: ConsoleSpanExporter(out=sys.stdout))


def logs_sender(route: Route) -> Sender[list[ReadableLogRecord]]:
    """What sends log records along this route."""
    return _sender(route, logs_over_http, logs_over_grpc, lambda: ConsoleLogRecordExporter(sys.stdout))


def _sender(route: Route, http: Maker[Sent], grpc: Maker[Sent], console: Callable[[], Exporter[Sent]]) -> Sender[Sent]:
    senders: list[Sender[Sent]] = []
    if route.destination:
        make = grpc if route.destination.protocol is Protocol.GRPC else http
        senders.append(make(route.destination))
    if route.console:
        senders.append(WatchedSender(console(), _Unwatched()))
    return senders[0] if len(senders) == 1 else _Each(senders)
