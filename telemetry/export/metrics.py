"""Metrics on their way out: read from the table of series at an interval and sent in parts by a thread of their own.

The SDK's periodic reader loses its thread at the first exception that is not a timeout, throws the export's result
away, and starts its clock with the process, so that workers started together export together.
"""

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.export.health import HealthRecord
from telemetry.export.outcome import ExportOutcome, Sender
from telemetry.export.plan import MetricsPlan, Temporality
from telemetry.export.points import Points
from telemetry.export.thread import ExportThread
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.reader import LiveMetricsReader

PART = 2_000
"""Most data points in one request: about half a megabyte of histograms, encoded in some tens of milliseconds."""


class MetricsExporter:
    """Folds, and exports the moment of that fold. Network input and output happen outside of every lock."""

    def __init__(
        self,
        live: LiveMetricsReader,
        sender: Sender[MetricsData],
        record: HealthRecord,
        plan: MetricsPlan,
        *,
        resource: Resource,
        phase: float,
    ) -> None:
        self._live = live
        self._table = live.store.series
        self._sender = sender
        self._record = record
        self._plan = plan
        self._resource = resource
        self._deltas = plan.temporality is not Temporality.CUMULATIVE
        self._table.keep_pending = self._deltas
        self._unsent = 0
        self._exemplars_since = 0
        first = plan.interval * phase
        self.thread = ExportThread("export metrics", self._round, record.broken, interval=plan.interval, first=first)
        live.flush_by(self.thread.flush)

    def close(self) -> None:
        """Do nothing: the last round collects what there is by then."""

    def unsent(self) -> int:
        """Return the latest round's data points that have not arrived: the next round repeats them."""
        return self._unsent

    def _round(self) -> bool:
        # At the end time is short, and nothing is left that the export could slow down.
        pace = iter if self.thread.ending else yielding
        self._live.fold(self._plan.timeout)
        self._table.observe(pace)
        with self._table.pinned(deltas=self._deltas) as pin:
            points = Points(
                self._table,
                pin,
                self._plan.temporality,
                self._resource,
                exemplars_since=self._exemplars_since,
                pace=pace,
            )
            self._unsent = points.count()
            total = self._send(points)
        if total is None:
            self._record.idle()
            return True
        if total.delivered:
            self._exemplars_since = pin.number
        self._record.exported(total)
        return total.delivered

    def _send(self, points: Points) -> ExportOutcome | None:
        """Send in parts; those acknowledged before one fails count as arrived. ``None``: there was nothing to send."""
        total = None
        for part in points.parts(PART):
            try:
                outcome = self._sender.send(part.data)
            except BaseException:
                points.give_back(part)
                raise
            total = total + outcome if total else outcome
            if outcome.failure:
                points.give_back(part)
                break
            points.acknowledge(part)
            self._unsent -= part.points
        return total
