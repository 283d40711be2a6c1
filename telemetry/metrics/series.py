"""The table of series: every collection is folded into it once, and everybody reads from it.

A stream is one metric of one instrumentation scope, a series one of its attribute sets. A series keeps its total since
it began and, where deltas are exported, what no server has acknowledged yet. A :class:`Pin` holds one moment of the
table for a reader that takes its time, such as an export: a fold that changes a pinned series first puts the old state
aside. So an export shows an event whole or not at all, and nobody waits for it.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol, cast

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes

from telemetry.metrics import amounts
from telemetry.metrics.amounts import Amount, Number

_logger = logging.getLogger(__name__)

DEFAULT_SERIES: Final = 100_000
"""Most attribute sets of one instrument that count apart; the SDK's 2000 would merge tenants without a word."""

OVERFLOW: Final[Mapping[str, Any]] = {"otel.metric.overflow": True}
"""Attributes of the series in which attribute sets past the limit count together, as the specification names them."""

Key = Hashable
Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint


class KeptExemplar(NamedTuple):
    """An exemplar in a third of the room that the SDK's object takes: there is one in almost every series."""

    bucket: int
    """Bucket of an explicit histogram; elsewhere its place among the series' exemplars."""
    fold: int
    """Number of the fold that brought it."""
    value: float
    unix_nanos: int
    span_id: int | None
    trace_id: int | None
    attributes: Attributes
    """Those of the measurement that the series does not have; ``None``: there are none."""

    def exemplar(self) -> Exemplar:
        """Return it as the SDK has it."""
        return Exemplar(self.attributes or {}, self.value, self.unix_nanos, self.span_id, self.trace_id)


class Projection(Protocol):
    """A row of a view that is kept up to date with a series, such as the live view's."""

    def add(self, point: Any, /) -> None:  # noqa: ANN401 -- of the series' kind
        """Add what a delta data point counted."""
        ...


Project = Callable[[InstrumentationScope, str, Mapping[str, object]], Projection | None]
"""The view's row for a series of this scope, metric and attributes, or ``None``."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A stream's identity."""

    scope: InstrumentationScope
    schema_url: str
    name: str
    unit: str
    description: str
    data: type
    """:class:`Sum`, :class:`Gauge`, :class:`Histogram` or :class:`ExponentialHistogram`."""
    monotonic: bool
    observable: bool
    """True if what is collected is the total: the instrument is observable, or a synchronous gauge."""

    @property
    def grows(self) -> bool:
        """True for counters and histograms, which may be exported as deltas."""
        return self.monotonic or self.data not in (Sum, Gauge)


class Series:
    """One attribute set of a stream."""

    __slots__ = ("attributes", "changed", "exemplars", "pending", "projection", "start", "total", "until")

    def __init__(self, attributes: Attributes, start: int, total: Amount, projection: Projection | None) -> None:
        self.attributes = attributes
        self.start = start
        """Unix nanoseconds, never after the first measurement; constant."""
        self.total: Any = total
        self.pending: Any = None
        """Amount since the last that a server acknowledged; ``None`` if there is none, or no deltas are exported."""
        self.until: int | None = None
        """Unix nanoseconds up to which a server has acknowledged deltas; ``None`` if it never has."""
        self.changed = 0
        """Number of the last fold that brought something."""
        self.exemplars: tuple[KeptExemplar, ...] = ()
        """The latest one of each bucket, in the order of buckets."""
        self.projection = projection

    def frozen(self, *, with_pending: bool) -> "Series":
        """Return the series as it stands; what is pending moves there if it is asked for."""
        made = Series(self.attributes, self.start, self.total.copy(), None)
        made.until, made.changed = self.until, self.changed
        made.exemplars = self.exemplars
        if with_pending:
            made.pending, self.pending = self.pending, None
        return made

    def give_back(self, pending: Any) -> None:  # noqa: ANN401 -- of the series' kind
        """Take back what was to be sent and has not arrived; it came before what is pending now."""
        if self.pending is not None:
            pending.merge(self.pending)
        self.pending = pending


class Stream:
    """One metric: its series, by their attributes and in the order they came."""

    __slots__ = ("_own", "bounds", "by_key", "descriptor", "observed", "ordered")

    def __init__(self, descriptor: Descriptor, *, own: bool = False) -> None:
        # One of the application's own is not part of a collection, so that no collection tells what has gone.
        self.descriptor = descriptor
        self.by_key: dict[Key, Series] = {}
        self.ordered: list[Series] = []
        self.bounds: Sequence[float] = ()
        self._own = own
        self.observed = 0
        """Number of the last fold that observed it."""

    def extent(self, folded: int) -> "Extent":
        """Return the stream as it stands; ``folded`` is the number of the last collection."""
        if not self.descriptor.observable:
            return Extent(self, len(self.ordered), 0)
        return Extent(self, len(self.ordered), self.observed if self._own else folded)

    def new_amount(self) -> Amount:
        """Return an empty amount of the stream's kind."""
        if self.descriptor.data is Histogram:
            return amounts.ExplicitHistogram(self.bounds)
        return amounts.ExponentialHistogram() if self.descriptor.data is ExponentialHistogram else Number()


@dataclass(frozen=True, slots=True)
class Observed:
    """An observable of the application itself, read when somebody exports and not at each fold."""

    descriptor: Descriptor
    read: Callable[[], Iterable[tuple[Mapping[str, Any], float]]]
    """Attributes and value of each of its series now."""


class Extent(NamedTuple):
    """A stream at one moment."""

    stream: Stream
    size: int
    """Number of its series."""
    since: int
    """Series that were not observed from this fold on have gone; 0 where nothing goes."""


class Pin:
    """One moment of the table. Read it under the table's lock."""

    def __init__(self, number: int, time: int, extents: Sequence[Extent], *, deltas: bool) -> None:
        self.number = number
        """Number of the last fold in it."""
        self.time = time
        """Unix nanoseconds of the collection."""
        self.extents = extents
        self._deltas = deltas
        self._kept: dict[Series, Series] = {}

    def keep(self, series: Series) -> None:
        """Put a series' state aside before it changes."""
        if series.changed <= self.number and series not in self._kept:
            self._kept[series] = series.frozen(with_pending=self._deltas)

    def series(self, extent: Extent, first: int, count: int) -> Iterator[tuple[Series, Series]]:
        """Yield a part of a stream's series, each with its state at this moment; without those that have gone."""
        for series in extent.stream.ordered[first : min(first + count, extent.size)]:
            state = self._kept.get(series, series)
            if state.changed >= extent.since:
                yield series, state

    def release(self) -> None:
        """Return to the series what was pending and has not been taken from here."""
        for series, state in self._kept.items():
            if state.pending is not None:
                series.give_back(state.pending)


class SeriesTable:
    """Every series that has been collected. Safe for threads.

    Args:
        limit: most attribute sets of one stream; later ones count together in a series that says so. A set once
            admitted stays, so that what goes up in a series comes down in it.
        project: what gives a series its row of the live view.

    """

    def __init__(self, limit: int = DEFAULT_SERIES, project: Project | None = None) -> None:
        if limit < 1:
            raise ValueError(f"the limit of series must be at least 1, not {limit}")
        self.lock = Lock()
        """Held for each change and each part that is read, never while anybody waits for something else."""
        self._limit = limit
        self._project = project
        self._streams: dict[Descriptor, Stream] = {}
        self._attributes: dict[Key, tuple[Key, Mapping[str, Any]]] = {}
        self._observed: list[Observed] = []
        self._pins: list[Pin] = []
        self._number = self._folded = 0
        self._time = 0
        self.keep_pending = False
        """True if somebody exports deltas; set before the first fold."""

    @property
    def time(self) -> int:
        """Unix nanoseconds of the last collection; 0 before the first."""
        return self._time

    def count(self) -> int:
        """Return the number of series."""
        with self.lock:
            return sum(len(stream.ordered) for stream in self._streams.values())

    def fold(self, data: MetricsData) -> None:
        """Take in a collection: deltas of counters, up-down counters and histograms, totals of everything else."""
        with self.lock:
            self._number += 1
            self._folded = self._number
            for resource in data.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        self._fold_metric(scope, metric)

    def advance(self, time: int) -> None:
        """Take note of a collection at this Unix nanosecond that brought nothing."""
        with self.lock:
            self._number += 1
            self._folded = self._number
            self._time = max(self._time, time)

    def _fold_metric(self, scope: ScopeMetrics, metric: Metric) -> None:
        points = metric.data.data_points
        if not points:
            return
        data = metric.data
        observable = getattr(data, "aggregation_temporality", None) is not AggregationTemporality.DELTA
        descriptor = Descriptor(
            scope.scope,
            scope.schema_url or "",
            metric.name,
            metric.unit or "",
            metric.description or "",
            type(data),
            isinstance(data, Sum) and data.is_monotonic,
            observable,
        )
        stream = self._streams.get(descriptor)
        if stream is None:
            stream = self._streams[descriptor] = Stream(descriptor)
            stream.bounds = getattr(points[0], "explicit_bounds", ())
        self._time = max(self._time, points[0].time_unix_nano)
        stream.observed = self._number
        if observable:
            self._set_all(stream, cast("Sequence[NumberDataPoint]", points))  # observables have no histograms
            return
        for point in points:
            self._add(stream, self._series(stream, point.attributes or {}, point.start_time_unix_nano), point)

    def _series(self, stream: Stream, attributes: Mapping[str, Any], start: int | None) -> Series:
        key = series_key(attributes)
        series = stream.by_key.get(key)
        if series is not None:
            for pin in self._pins:
                pin.keep(series)
            return series
        if len(stream.by_key) >= self._limit and attributes is not OVERFLOW:
            return self._series(stream, OVERFLOW, start)
        # One object for the same attributes in every stream: a tenant has a dozen series.
        key, attributes = self._attributes.setdefault(key, (key, attributes))
        descriptor = stream.descriptor
        projection = self._project(descriptor.scope, descriptor.name, attributes) if self._project else None
        series = stream.by_key[key] = Series(attributes, start or self._time, stream.new_amount(), projection)
        stream.ordered.append(series)
        return series

    def _add(self, stream: Stream, series: Series, point: Any) -> None:  # noqa: ANN401 -- of the stream's kind
        """Add a delta."""
        series.changed = self._number
        series.total.fold(point)
        if series.projection is not None:
            series.projection.add(point)
        if self.keep_pending and stream.descriptor.grows:
            if series.pending is None:
                series.pending = stream.new_amount()
            series.pending.fold(point)
        if point.exemplars:
            self._note_exemplars(stream, series, point)

    def _set_all(self, stream: Stream, points: Iterable[NumberDataPoint]) -> None:
        """Set what was observed at once; totals that share the series past the limit are one total, and set as one."""
        shared: NumberDataPoint | None = None
        for point in points:
            series = self._series(stream, point.attributes or {}, point.start_time_unix_nano or None)
            if series.attributes is OVERFLOW and stream.descriptor.data is Sum:
                shared = point if shared is None else replace(point, value=shared.value + point.value)
            else:
                self._set(stream, series, point)
        if shared is not None:
            self._set(stream, self._series(stream, OVERFLOW, None), shared)

    def _set(self, stream: Stream, series: Series, point: NumberDataPoint) -> None:
        """Replace a total by the one observed; one that fell has begun anew."""
        first = not series.changed
        series.changed = self._number
        before, series.total.value = series.total.value, point.value
        if self.keep_pending and stream.descriptor.grows:
            series.pending = series.pending or Number()
            series.pending.value += point.value - before if first or point.value >= before else point.value
        if point.exemplars:
            self._note_exemplars(stream, series, point)

    def _note_exemplars(self, stream: Stream, series: Series, point: Point) -> None:
        """Keep the latest exemplar of each bucket; where there are no explicit buckets, those of the last fold."""
        explicit = isinstance(point, HistogramDataPoint)
        kept = {one.bucket: one for one in series.exemplars} if explicit else {}
        for place, found in enumerate(point.exemplars):
            bucket = bisect_left(stream.bounds, found.value) if explicit else place
            before = kept.get(bucket)
            if before is None or before.unix_nanos <= found.time_unix_nano:
                kept[bucket] = self._kept(bucket, found, point.attributes if series.attributes is OVERFLOW else None)
        series.exemplars = tuple(sorted(kept.values(), key=_bucket)) if len(kept) > 1 else tuple(kept.values())

    def _kept(self, bucket: int, found: Exemplar, merged: Attributes) -> KeptExemplar:
        """Return an exemplar to keep; ``merged`` are attributes that the series does not tell."""
        attributes = {**(merged or {}), **(found.filtered_attributes or {})} or None
        return KeptExemplar(
            bucket, self._number, found.value, found.time_unix_nano, found.span_id, found.trace_id, attributes
        )

    def register(self, observed: Observed) -> None:
        """Read this observable, too, whenever somebody exports."""
        with self.lock:
            self._observed.append(observed)

    def observe(self, parts: Callable[[Iterable[Any]], Iterable[Any]] = iter) -> None:
        """Read the application's own observables; ``parts`` may pause between two of their values.

        One that fails is logged, and has no value until it is read again.
        """
        for observed in list(self._observed):
            try:
                values = list(parts(observed.read()))
            except Exception:
                _logger.exception("%s could not be observed.", observed.descriptor.name)
                values = []
            with self.lock:
                self._observe(observed.descriptor, values)

    def _observe(self, descriptor: Descriptor, values: Sequence[tuple[Mapping[str, Any], float]]) -> None:
        stream = self._streams.get(descriptor)
        if stream is None:
            stream = self._streams[descriptor] = Stream(descriptor, own=True)
        self._number += 1
        stream.observed = self._number
        self._set_all(stream, (NumberDataPoint(attributes, 0, self._time, value) for attributes, value in values))

    @contextmanager
    def pinned(self, *, deltas: bool = False) -> Iterator[Pin]:
        """Hold the table's present state for as long as the context lasts, while folds go on."""
        with self.lock:
            extents = [stream.extent(self._folded) for stream in self._streams.values()]
            pin = Pin(self._number, self._time, extents, deltas=deltas)
            self._pins.append(pin)
        try:
            yield pin
        finally:
            with self.lock:
                self._pins.remove(pin)
                pin.release()


def series_key(attributes: Mapping[str, Any]) -> Key:
    """Return the identity of a series; types included, for Python holds 1, 1.0 and True for equal."""
    items = tuple(attributes.items()) if len(attributes) < 2 else tuple(sorted(attributes.items(), key=_name))  # noqa: PLR2004
    for _, value in items:
        if type(value) is not str:
            return tuple((name, _typed(value)) for name, value in items)
    return items


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def _typed(value: Any) -> Key:  # noqa: ANN401 -- an attribute's value may be of many types
    if isinstance(value, Mapping):
        return dict, tuple((name, _typed(value[name])) for name in sorted(value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple, tuple(map(_typed, value))
    return type(value), value


def _bucket(exemplar: KeptExemplar) -> int:
    return exemplar.bucket
