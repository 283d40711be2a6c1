"""Metrics on their way out: collected at an interval and sent in chunks by a thread of their own.

The SDK's periodic reader loses its thread at the first exception that is not a timeout, throws the export's result
away, and starts its clock with the process, so that workers started together export together.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
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
from opentelemetry.sdk.metrics.export import AggregationTemporality, CardinalityLimits, MetricReader, MetricsData

from telemetry.export.chunks import chunks, point_count
from telemetry.export.lull import lull
from telemetry.export.outcome import Outcome, Sender
from telemetry.export.plan import MetricsPlan
from telemetry.export.record import HealthRecord
from telemetry.export.thread import ExportThread

CHUNK = 2_000
"""Most data points in one request: about half a megabyte of histograms, encoded in some tens of milliseconds."""


class Ledger(Protocol):
    """Decides what of a collection is due, given what has been acknowledged before."""

    collects: ClassVar[Mapping[type, AggregationTemporality]]
    """What is to be collected other than as totals."""

    def due(self, collected: MetricsData) -> MetricsData:
        """What to send of everything collected."""
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
        ledger: Ledger,
        series: int,
        phase: float,
        turn: AbstractContextManager[object],
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
        self._turn_to_collect = turn
        self._collected = local()
        self._unsent = 0
        first = plan.interval * phase
        self.thread = ExportThread("export metrics", self._turn, record.broken, interval=plan.interval, first=first)

    def close(self) -> None:
        """Nothing to refuse: the last turn collects what there is by then."""

    def unsent(self) -> int:
        """Data points of the latest turn that have not arrived: repeated by the next turn, lost after the last one."""
        return self._unsent

    def _turn(self) -> bool:
        with lull() as end_if_long:
            total = self._export(end_if_long)
        if total is None:
            self._record.idle()
            return True
        self._record.exported(total)
        return total.delivered

    def _export(self, pause: Callable[[], None]) -> Outcome | None:
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
        with self._turn_to_collect:
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
