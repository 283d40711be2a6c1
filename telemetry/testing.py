"""The test kit: the whole pipeline in memory, on a clock that the test moves, and what it collected as plain values.

    with TelemetryKit() as kit:
        call = kit.tracker.received("rtc_1", "acme")
        call.accepted()
        call.started()
        kit.clock.advance(90)
        call.ended(EndReason.HANGUP)
        assert kit.live("acme")["minutes_processed"] == 1.5

Everything below the events is real: the SDK's providers, the live reader, the sinks. A sink that fails raises.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, TraceBasedExemplarFilter, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricReader,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from telemetry.calls.events import Event
from telemetry.calls.sinks import FanOut
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.logs.formatter import JsonFormatter
from telemetry.logs.sink import LOGGER_NAME, LogSink
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.live_table import Distribution, LiveMetricsStore, Numbers
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.metrics.sink import MetricsSink
from telemetry.privacy import Privacy
from telemetry.recent.calls import RecentCalls
from telemetry.recent.limits import RecentLimits
from telemetry.recent.logs import RecentLogs
from telemetry.recent.spans import SpanRecorder, SpanRegister
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue
from telemetry.semconv.genai import GenAiSets
from telemetry.traces.sink import CallTraces

TIMEOUT_SECONDS = 10.0
"""The longest wait for a collection, in seconds; reached on a stalled machine only."""

ORIGIN: dict[str, str] = {attr.DIRECTION: "inbound", attr.SOURCE: "direct"}
"""The attributes of a call's direction and source, as :meth:`CallTracker.received` sets them unless told otherwise."""

_EPOCH_SECONDS = 1_800_000_000
# Start of a fake clock, in January 2027: no test depends on the day it runs.

Labels = tuple[tuple[str, object], ...]
"""A measurement's attributes as sorted pairs, to be a dictionary's key; :func:`labels` makes one."""

Value = int | float | tuple[int, float]
"""The sum of a counter; of a histogram, its count and its sum."""

_T = TypeVar("_T")


def labels(attributes: Mapping[str, object]) -> Labels:
    """Return the key of a measurement in :meth:`TelemetryKit.metrics`: ``labels({"tenant.id": "acme"})``."""
    return tuple(sorted(attributes.items()))


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self._elapsed = 0.0

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(self._elapsed, _EPOCH_SECONDS * 10**9 + round(self._elapsed * 1e9))

    def advance(self, seconds: float) -> Instant:
        """Move the clock and return the new present; a negative number moves it back."""
        self._elapsed += seconds
        return self.now()


@dataclass(frozen=True, slots=True)
class SpanTree:
    """One finished span and those below it, in the order they began."""

    name: str
    trace_id: str
    """32 hexadecimal digits."""
    attributes: Mapping[str, object]
    seconds: float
    """From its start to its end."""
    failed: bool
    """True if its status is an error."""
    events: tuple[str, ...]
    """Names of the events on it."""
    links: tuple[str, ...]
    """Trace ids it links to."""
    children: tuple["SpanTree", ...]

    def walk(self) -> Iterator["SpanTree"]:
        """Yield the span itself and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, name: str) -> list["SpanTree"]:
        """Return every span of this name, here or below."""
        return [span for span in self.walk() if span.name == name]

    def one(self, name: str) -> "SpanTree":
        """Return the only span of this name; raise ``LookupError`` if there is not exactly one."""
        found = self.all(name)
        if len(found) != 1:
            raise LookupError(f"{len(found)} spans named {name!r} among {[span.name for span in self.walk()]}")
        return found[0]


class EventLog:
    """A sink that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)


class _Lines(logging.Handler):
    """A handler that keeps each record as the JSON object it would be on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


class TelemetryKit:
    """A tracker whose telemetry stays in memory. Use it as a context manager, or call :meth:`close`."""

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        privacy: Privacy | None = None,
        max_tenants: int = 1_000,
        max_open: int = 100_000,
        max_remembered: int = 10_000,
        further_readers: Iterable[MetricReader] = (),
        sampler: Sampler = ALWAYS_ON,
        recent_limits: RecentLimits | None = None,
        genai_sets: GenAiSets = GenAiSets.V1_41,
    ) -> None:
        self.clock = clock or FakeClock()
        self._genai_sets = genai_sets
        self.tenant_labels = TenantLabels(max_tenants)
        self.barrier = RecordingBarrier(TIMEOUT_SECONDS)
        limit = catalogue.cardinality_limit(max_tenants)
        self.store = LiveMetricsStore(max_tenants, series=limit)
        self.reader = LiveMetricsReader(self.store, barrier=self.barrier)
        self._cumulative = InMemoryMetricReader(
            cardinality_limits={Counter: limit, UpDownCounter: limit, Histogram: limit}
        )
        self.meter_provider = MeterProvider(
            [self._cumulative, self.reader, *further_readers],
            resource=Resource({}),
            exemplar_filter=TraceBasedExemplarFilter(),
            shutdown_on_exit=False,
        )
        self._finished = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(resource=Resource({}), sampler=sampler, shutdown_on_exit=False)
        self.open_spans = SpanRegister()
        recorder = SpanRecorder(self.open_spans)
        self.tracer_provider.add_span_processor(recorder)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._finished))
        self.meter = self.meter_provider.get_meter(catalogue.METER_NAME, catalogue.scope_version())
        privacy = privacy or Privacy()
        self.traces = CallTraces(
            self.tracer_provider.get_tracer(catalogue.METER_NAME, catalogue.scope_version()), privacy=privacy
        )
        self.recent = RecentCalls(
            contexts=self.traces,
            privacy=privacy,
            limits=recent_limits,
            register=self.open_spans,
            clock=self.clock,
            epoch="kit",
        )
        recorder.hand_to(self.recent)
        self._events = EventLog()
        self._lines = _Lines()
        self.tracker = CallTracker(
            self._sink(), clock=self.clock, scopes=self.traces, max_open=max_open, max_remembered=max_remembered
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Shut the providers down; what was collected stays readable."""
        self.meter_provider.shutdown()
        self.tracer_provider.shutdown()

    @property
    def events(self) -> list[Event]:
        """Every event so far, in order."""
        return list(self._events.events)

    def metrics(self) -> dict[str, dict[Labels, Value]]:
        """Return the measurements by instrument and attributes."""
        return plain_metrics(self._cumulative.get_metrics_data())

    def live(self, tenant_id: str | None = None) -> Numbers:
        """Return the twelve fields of one tenant or of all; raise ``LookupError`` for a tenant never seen."""
        return _seen(tenant_id, self._refreshed().live(tenant_id))

    def numbers(self, tenant_id: str | None = None) -> Numbers:
        """Return every field of the live view; raise ``LookupError`` for a tenant never seen."""
        return _seen(tenant_id, self._refreshed().numbers(tenant_id))

    def distributions(self, tenant_id: str | None = None) -> dict[str, Distribution]:
        """Return the live view's histograms; raise ``LookupError`` for a tenant never seen."""
        return _seen(tenant_id, self._refreshed().distributions(tenant_id))

    def spans(self) -> list[SpanTree]:
        """Return the finished spans as trees, roots in the order they began; raise ``LookupError`` for an orphan."""
        return span_trees(self._finished.get_finished_spans())

    def logs(self) -> list[dict[str, object]]:
        """Return every log line, parsed."""
        return list(self._lines.lines)

    def _refreshed(self) -> LiveMetricsStore:
        age = self.reader.refresh(TIMEOUT_SECONDS)
        if age:
            raise TimeoutError(f"the live view could not be brought up to date, it is {age:.1f} s old")
        return self.store

    def _sink(self) -> FanOut:
        metrics = MetricsSink(
            self.meter,
            labels=self.tenant_labels,
            barrier=self.barrier,
            contexts=self.traces,
            genai_sets=self._genai_sets,
            unsampled=self.store.unsampled,
        )
        logger = logging.Logger(LOGGER_NAME, logging.DEBUG)  # noqa: LOG001 -- one of its own: nothing global is touched
        logger.addHandler(self._lines)
        logger.addHandler(RecentLogs(self.recent))
        lines = LogSink(self.traces, logger, clock=self.clock)
        sinks = (self._events, self.traces, metrics, self.recent, lines, self.traces.endings)
        return FanOut(sinks, strict=True)


@contextmanager
def capture() -> Iterator[TelemetryKit]:
    """Yield a kit with the defaults and close it at the end."""
    with TelemetryKit() as kit:
        yield kit


def plain_metrics(data: MetricsData | None) -> dict[str, dict[Labels, Value]]:
    """Return a collection as plain values, by instrument and attributes."""
    collected: dict[str, dict[Labels, Value]] = {}
    for resource_metrics in data.resource_metrics if data else ():
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                collected[metric.name] = dict(_plain(point) for point in metric.data.data_points)
    return collected


def span_trees(finished: Iterable[ReadableSpan]) -> list[SpanTree]:
    """Return finished spans as trees, roots in the order they began; raise ``LookupError`` if a parent is missing."""
    spans = sorted(finished, key=lambda span: span.start_time or 0)
    known = {_id(span) for span in spans}
    below: dict[int | None, list[ReadableSpan]] = {}
    for span in spans:
        parent = None if span.parent is None else span.parent.span_id
        if parent is not None and parent not in known:
            raise LookupError(f"span {span.name!r} is an orphan: its parent has not ended")
        below.setdefault(parent, []).append(span)
    return _trees(below, None)


def _seen(tenant_id: str | None, found: _T | None) -> _T:
    if found is None:
        raise LookupError(f"nothing has been recorded of tenant {tenant_id!r}")
    return found


def _plain(point: object) -> tuple[Labels, Value]:
    if isinstance(point, HistogramDataPoint):
        return labels(point.attributes or {}), (point.count, point.sum)
    if isinstance(point, NumberDataPoint):
        return labels(point.attributes or {}), point.value
    raise TypeError(f"no instrument here makes a {type(point).__name__}")


def _id(span: ReadableSpan) -> int:
    return int(span.context.span_id)


def _trees(below: Mapping[int | None, list[ReadableSpan]], parent: int | None) -> list[SpanTree]:
    return [
        SpanTree(
            span.name,
            format(span.context.trace_id, "032x"),
            dict(span.attributes or {}),
            ((span.end_time or 0) - (span.start_time or 0)) / 1e9,
            failed=not span.status.is_ok,
            events=tuple(event.name for event in span.events),
            links=tuple(format(link.context.trace_id, "032x") for link in span.links),
            children=tuple(_trees(below, _id(span))),
        )
        for span in below.get(parent, ())
    ]
