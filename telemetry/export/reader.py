"""Metrics on their way out: collected at an interval and sent in chunks by a thread of their own.

The SDK's periodic reader loses its thread at the first exception that is not a timeout, throws the export's result
away, and starts its clock with the process, so that workers started together export together.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from threading import local
from typing import Any, ClassVar, Protocol

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
    _Gauge,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    CardinalityLimits,
    Metric,
    MetricReader,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)

from telemetry.export.gc_pause import gc_pause, no_gc_pause
from telemetry.export.health import HealthRecord
from telemetry.export.outcome import ExportOutcome, Sender
from telemetry.export.plan import MetricsPlan
from telemetry.export.thread import ExportThread


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some points of one metric, with the headings they stand under."""

    resource: ResourceMetrics
    """Without its scopes."""
    scope: ScopeMetrics
    """Without its metrics."""
    metric: Metric

    @property
    def points(self) -> int:
        return len(self.metric.data.data_points)


def chunks(data: MetricsData, size: int) -> Iterator[MetricsData]:
    """The same metrics in parts of at most ``size`` points each, none of them empty.

    A part nobody holds on to is freed when the next one is asked for, if nobody holds on to ``data`` either. Freeing a
    large collection at once stops every thread for as long as it takes.
    """
    waiting = deque(_pieces(data))
    del data
    chunk: list[_Piece] = []
    while waiting:
        for piece in _cut(waiting.popleft(), size):
            if sum(other.points for other in chunk) + piece.points > size:
                yield _assembled(chunk)
                chunk = []
            chunk.append(piece)
    if chunk:
        yield _assembled(chunk)


def point_count(data: MetricsData) -> int:
    """The number of data points."""
    return sum(piece.points for piece in _pieces(data))


def _pieces(data: MetricsData) -> Iterator[_Piece]:
    """Each metric whole, under headings of its own that hold nothing else."""
    for resource in data.resource_metrics:
        resource_heading = replace(resource, scope_metrics=[])
        for scope in resource.scope_metrics:
            scope_heading = replace(scope, metrics=[])
            for metric in scope.metrics:
                yield _Piece(resource_heading, scope_heading, metric)


def _cut(piece: _Piece, size: int) -> Iterator[_Piece]:
    points = piece.metric.data.data_points
    for start in range(0, len(points), size):
        part = replace(piece.metric.data, data_points=points[start : start + size])  # type: ignore[arg-type]  # of its kind
        yield replace(piece, metric=replace(piece.metric, data=part))


def _assembled(pieces: list[_Piece]) -> MetricsData:
    return MetricsData([_resource(list(group)) for _, group in groupby(pieces, lambda piece: id(piece.resource))])


def _resource(pieces: list[_Piece]) -> ResourceMetrics:
    scopes = [_scope(list(group)) for _, group in groupby(pieces, lambda piece: id(piece.scope))]
    return replace(pieces[0].resource, scope_metrics=scopes)


def _scope(pieces: list[_Piece]) -> ScopeMetrics:
    return replace(pieces[0].scope, metrics=[piece.metric for piece in pieces])


CHUNK = 2_000
"""Most data points in one request: about half a megabyte of histograms, encoded in some tens of milliseconds."""


class DeltaLedger(Protocol):
    """Decides what of a collection is due, given what has been acknowledged before."""

    collects: ClassVar[Mapping[type, AggregationTemporality]]
    """Instruments to be collected other than as totals."""

    def due(self, collected: MetricsData) -> MetricsData:
        """Return what to send of everything collected."""
        ...

    def acknowledge(self, sent: MetricsData) -> None:
        """A part of what was due has arrived."""
        ...

    def end_round(self) -> None:
        """Nothing more of this collection will arrive; it need not be kept."""
        ...


class Cumulative:
    """Sends everything as collected: totals so far, which make up by themselves for what failed to arrive."""

    collects: ClassVar[Mapping[type, AggregationTemporality]] = {}

    def due(self, collected: MetricsData) -> MetricsData:
        """All of it."""
        return collected

    def acknowledge(self, sent: MetricsData) -> None:
        """Nothing to remember."""

    def end_round(self) -> None:
        """Nothing to forget."""


class ExportingReader(MetricReader):
    """Collects and exports metrics. Network input and output happen outside of every lock of the SDK."""

    def __init__(
        self,
        sender: Sender[MetricsData],
        record: HealthRecord,
        plan: MetricsPlan,
        *,
        ledger: DeltaLedger,
        series: int,
        phase: float,
        collection_lock: AbstractContextManager[object],
        pause_gc: bool = False,
    ) -> None:
        super().__init__(
            preferred_temporality=dict(ledger.collects),
            preferred_aggregation={Histogram: plan.histograms},
            cardinality_limits=_limits(series),
        )
        self._sender = sender
        self._record = record
        self._timeout = plan.timeout
        self._ledger = ledger
        self._collection_lock = collection_lock
        self._pause = gc_pause if pause_gc else no_gc_pause
        self._collected = local()
        self._unsent = 0
        first = plan.interval * phase
        self.thread = ExportThread(
            "export metrics", self._export_round, record.broken, interval=plan.interval, first=first
        )

    def close(self) -> None:
        """Do nothing: the last round collects what there is by then."""

    def unsent(self) -> int:
        """Return the latest round's data points that have not arrived; the next round repeats them."""
        return self._unsent

    def _export_round(self) -> bool:
        with self._pause() as end_if_long:
            total = self._export(end_if_long)
        if total is None:
            self._record.idle()
            return True
        self._record.exported(total)
        return total.delivered

    def _export(self, pause: Callable[[], None]) -> ExportOutcome | None:
        """Collect and send in chunks; those acknowledged before one fails count as arrived. None: nothing to send."""
        due = self._ledger.due(self._collect_all())
        self._unsent = point_count(due)
        parts = chunks(due, CHUNK)
        del due
        total = None
        for chunk in parts:
            outcome = self._sender.send(chunk)
            total = total + outcome if total else outcome
            if outcome.failure:
                break
            self._ledger.acknowledge(chunk)
            self._unsent -= point_count(chunk)
            pause()
        self._ledger.end_round()
        return total

    def _collect_all(self) -> MetricsData:
        with self._collection_lock:
            self.collect(timeout_millis=self._timeout * 1000)
        data, self._collected.data = getattr(self._collected, "data", None), None
        return data or MetricsData([])

    def _receive_metrics(self, metrics_data: MetricsData, *_: object, **__: object) -> None:
        """Keep what this thread's :meth:`collect` found; somebody else's call leaves the export thread's alone."""
        self._collected.data = metrics_data

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Collect and export now; true only if it arrived."""
        return self.thread.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        """Nothing to do: the pipelines end the thread, before they end the provider."""


def _limits(series: int) -> CardinalityLimits:
    """The same limit for every kind of instrument, for the SDK's own would merge tenants beyond 2000 unasked."""
    kinds: tuple[Any, ...] = (
        Counter,
        UpDownCounter,
        Histogram,
        _Gauge,
        ObservableCounter,
        ObservableUpDownCounter,
        ObservableGauge,
    )
    return dict.fromkeys(kinds, series)
