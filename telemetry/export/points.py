"""Data points of one moment of the table of series, in parts of bounded size, as a temporality wants them.

Totals make up by themselves for what failed to arrive. A delta is what no server has acknowledged: a part that fails
to arrive is given back to its series, and what comes next carries it too. See
``docs/decisions/0003-one-reader.md``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource

from telemetry.export.plan import Temporality
from telemetry.metrics.series import Descriptor, Extent, Pin, Series, SeriesTable

_STRETCH: Final = 50
# Series read in one go, with the table's lock held: some tenths of a millisecond.

_DELTA, _CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE

Pace = Callable[[Iterable[int]], Iterable[int]]
"""Passes on what it is given, with pauses in which other threads get their turn."""


def is_delta(descriptor: Descriptor, temporality: Temporality) -> bool:
    """Return true if a stream's points are deltas: counters and histograms, as the specification's preferences say."""
    if temporality is Temporality.CUMULATIVE or not descriptor.grows:
        return False
    return temporality is Temporality.DELTA or not descriptor.observable


@dataclass(slots=True)
class ExportPart:
    """Some of the points."""

    data: MetricsData
    points: int
    taken: list[tuple[Series, Any]] = field(default_factory=list)
    """Of each delta, the series and the amount that was taken from it."""


@dataclass(slots=True)
class _Piece:
    """Points of one metric that stand together in a part."""

    descriptor: Descriptor
    points: list[Any]
    delta: bool

    def metric(self) -> Metric:
        descriptor, temporality = self.descriptor, _DELTA if self.delta else _CUMULATIVE
        data: Any
        if descriptor.data is Gauge:
            data = Gauge(self.points)
        elif descriptor.data is Sum:
            data = Sum(self.points, temporality, descriptor.monotonic)
        else:
            kind = Histogram if descriptor.data is Histogram else ExponentialHistogram
            data = kind(self.points, temporality)
        return Metric(descriptor.name, descriptor.description, descriptor.unit, data)


class Points:
    """The points of one pinned moment.

    Args:
        table: where the series are.
        pin: the moment.
        temporality: what counters and histograms say.
        resource: who is speaking.
        exemplars_since: the number of the fold whose exemplars have been exported already.
        pace: lets others work while many series are read.

    """

    def __init__(
        self,
        table: SeriesTable,
        pin: Pin,
        temporality: Temporality,
        resource: Resource,
        *,
        exemplars_since: int = 0,
        pace: Pace = iter,
    ) -> None:
        self._table = table
        self._pin = pin
        self._temporality = temporality
        self._resource = resource
        self._since = exemplars_since
        self._pace = pace

    def count(self) -> int:
        """Return the number of points that :meth:`parts` has to tell."""
        number = 0
        for extent, delta, first in self._stretches():
            with self._table.lock:
                states = self._pin.series(extent, first, _STRETCH)
                number += sum(not delta or state.pending is not None for _, state in states)
        return number

    def parts(self, size: int) -> Iterator[ExportPart]:
        """Yield all points in parts of at most ``size`` points each, none of them empty."""
        pieces: list[_Piece] = []
        taken: list[tuple[Series, Any]] = []
        room = size
        for extent, delta, first in self._stretches():
            offset, end = first, min(first + _STRETCH, extent.size)
            while offset < end:
                count = min(end - offset, room)
                points = self._read(extent, offset, count, taken, delta=delta)
                offset += count
                if not points:
                    continue
                room -= len(points)
                if pieces and pieces[-1].descriptor is extent.stream.descriptor:
                    pieces[-1].points += points
                else:
                    pieces.append(_Piece(extent.stream.descriptor, points, delta))
                if not room:
                    yield self._assembled(pieces, size, taken)
                    pieces, taken, room = [], [], size
        if pieces:
            yield self._assembled(pieces, size - room, taken)

    def acknowledge(self, part: ExportPart) -> None:
        """Take note that a part has arrived."""
        with self._table.lock:
            for series, _ in part.taken:
                series.until = self._pin.time

    def give_back(self, part: ExportPart) -> None:
        """Return to the series what has not arrived."""
        with self._table.lock:
            for series, amount in part.taken:
                series.give_back(amount)

    def _stretches(self) -> Iterator[tuple[Extent, bool, int]]:
        for extent in self._pin.extents:
            delta = is_delta(extent.stream.descriptor, self._temporality)
            for first in self._pace(range(0, extent.size, _STRETCH)):
                yield extent, delta, first

    def _read(
        self, extent: Extent, first: int, count: int, taken: list[tuple[Series, Any]], *, delta: bool
    ) -> list[Any]:
        points = []
        time, is_gauge = self._pin.time, extent.stream.descriptor.data is Gauge
        with self._table.lock:
            for series, state in self._pin.series(extent, first, count):
                exemplars = self._exemplars(state)
                if not delta:
                    start: Any = None if is_gauge else state.start
                    points.append(state.total.point(state.attributes, start, time, exemplars))
                elif state.pending is not None:
                    amount, state.pending = state.pending, None
                    start = state.start if state.until is None else state.until
                    points.append(amount.point(state.attributes, start, time, exemplars))
                    taken.append((series, amount))
        return points

    def _exemplars(self, state: Series) -> list[Exemplar]:
        return [found.exemplar() for found in state.exemplars if found.fold > self._since]

    def _assembled(self, pieces: list[_Piece], points: int, taken: list[tuple[Series, Any]]) -> ExportPart:
        scopes: dict[Any, ScopeMetrics] = {}
        for piece in pieces:
            scope, schema_url = piece.descriptor.scope, piece.descriptor.schema_url
            heading = scopes.setdefault((scope, schema_url), ScopeMetrics(scope, [], schema_url))
            heading.metrics.append(piece.metric())  # type: ignore[attr-defined]  # a list, just made
        resource = ResourceMetrics(self._resource, list(scopes.values()), self._resource.schema_url)
        return ExportPart(MetricsData([resource]), points, taken)
