"""Delta temporality without loss: what is sent is the difference to what the server has acknowledged.

The process itself always collects totals. An export that fails changes nothing here, so the next one carries both its
own share and the failed one's. See ``docs/decisions/0001-delta-without-loss.md``.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from opentelemetry.sdk.metrics import ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    DataPointT,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.util.types import Attributes


def difference(now: DataPointT, before: DataPointT | None) -> DataPointT | None:
    """The gain, reaching from the earlier point's time to the later's; none if there is none.

    Without an earlier point, or if the series began anew in between, everything is a gain. Exemplars are those of the
    later point. A histogram's minimum and maximum are told where they are known, which is when they have changed.
    """
    if before is None or now.start_time_unix_nano != before.start_time_unix_nano:
        return now
    match now, before:
        case NumberDataPoint(), NumberDataPoint():
            return _number(now, before)
        case HistogramDataPoint(), HistogramDataPoint():
            return _histogram(now, before)
        case ExponentialHistogramDataPoint(), ExponentialHistogramDataPoint():
            return _exponential(now, before)
        case _:
            return now


def _number(now: NumberDataPoint, before: NumberDataPoint) -> NumberDataPoint | None:
    if now.value == before.value:
        return None
    if now.value < before.value:
        return now
    return replace(now, start_time_unix_nano=before.time_unix_nano, value=now.value - before.value)


def _histogram(now: HistogramDataPoint, before: HistogramDataPoint) -> HistogramDataPoint | None:
    if now.count == before.count:
        return None
    counts = tuple(new - old for new, old in zip(now.bucket_counts, before.bucket_counts, strict=True))
    return replace(_gained(now, before), bucket_counts=counts)


def _exponential(
    now: ExponentialHistogramDataPoint, before: ExponentialHistogramDataPoint
) -> ExponentialHistogramDataPoint | None:
    if now.count == before.count:
        return None
    coarser = before.scale - now.scale
    return replace(
        _gained(now, before),
        zero_count=now.zero_count - before.zero_count,
        positive=_buckets(now.positive, before.positive, coarser),
        negative=_buckets(now.negative, before.negative, coarser),
    )


Distribution = TypeVar("Distribution", HistogramDataPoint, ExponentialHistogramDataPoint)


def _gained(now: Distribution, before: Distribution) -> Distribution:
    """The later point with everything but its buckets reduced to the gain."""
    return replace(
        now,
        start_time_unix_nano=before.time_unix_nano,
        count=now.count - before.count,
        sum=now.sum - before.sum,
        # A minimum that has not changed may be older than the earlier point; the format knows "not told", as none.
        min=now.min if now.min != before.min else None,  # type: ignore[arg-type]
        max=now.max if now.max != before.max else None,  # type: ignore[arg-type]
    )


def _buckets(now: Buckets, before: Buckets, coarser: int) -> Buckets:
    """The later buckets less the earlier, which are first merged to the later scale: by halving, ``coarser`` times."""
    counts = list(now.bucket_counts)
    for index, count in enumerate(before.bucket_counts, start=before.offset):
        if count:
            counts[(index >> coarser) - now.offset] -= count
    return Buckets(now.offset, counts)


Temporalities = Mapping[type, AggregationTemporality]
DELTA = AggregationTemporality.DELTA
CUMULATIVE = AggregationTemporality.CUMULATIVE


@dataclass(slots=True)
class _Stream:
    """One metric's series by their attributes: as collected last, and as acknowledged last."""

    collected: dict[Hashable, DataPointT] = field(default_factory=dict)
    acknowledged: dict[Hashable, DataPointT] = field(default_factory=dict)


class Deltas:
    """Turns collections of totals into what the server does not have yet.

    Sums that only grow and histograms become deltas, what can go down stays a total, as the specification wants it.
    Memory: one point a series between rounds, and the SDK bounds the number of series.
    """

    collects: ClassVar[Temporalities] = {}
    """Instruments that the reader is to collect other than as totals."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, _Stream] = {}

    def due(self, collected: MetricsData) -> MetricsData:
        """The differences to what has been acknowledged; series without one are left out."""
        return _each_metric(collected, self._due)

    def acknowledge(self, sent: MetricsData) -> None:
        """A part of what was due has arrived."""
        for resource in sent.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if _is_delta(metric):
                        self._acknowledge(self._streams[_name(scope, metric)], metric)

    def _acknowledge(self, stream: _Stream, metric: Metric) -> None:
        for point in metric.data.data_points:
            series = _series(point.attributes)
            stream.acknowledged[series] = stream.collected[series]

    def end_round(self) -> None:
        """Forget the collection, not what of it was acknowledged."""
        for stream in self._streams.values():
            stream.collected = {}

    def _due(self, scope: ScopeMetrics, metric: Metric) -> Metric | None:
        if not _only_grows(metric):
            return metric
        stream = self._streams.setdefault(_name(scope, metric), _Stream())
        stream.collected = {_series(point.attributes): point for point in metric.data.data_points}
        gains = (difference(now, stream.acknowledged.get(series)) for series, now in stream.collected.items())
        return _as_deltas(metric, [gain for gain in gains if gain is not None])


class LowMemoryDeltas(Deltas):
    """As :class:`Deltas`, except that observable counters stay totals.

    Nothing in a collection tells an observable counter from another one. So the reader is asked to collect observable
    counters, and only them, as deltas; here they are added up again.
    """

    collects: ClassVar[Temporalities] = {ObservableCounter: DELTA}

    def __init__(self) -> None:
        super().__init__()
        self._totals: dict[Hashable, NumberDataPoint] = {}

    def due(self, collected: MetricsData) -> MetricsData:
        """The differences to what has been acknowledged, and observable counters in full."""
        return _each_metric(collected, self._total_or_due)

    def _total_or_due(self, scope: ScopeMetrics, metric: Metric) -> Metric | None:
        if not (isinstance(metric.data, Sum) and metric.data.aggregation_temporality is DELTA):
            return self._due(scope, metric)
        totals = [self._total(_name(scope, metric), gain) for gain in metric.data.data_points]
        return replace(metric, data=replace(metric.data, aggregation_temporality=CUMULATIVE, data_points=totals))

    def _total(self, name: Hashable, gain: NumberDataPoint) -> NumberDataPoint:
        series = (name, _series(gain.attributes))
        before = self._totals.get(series)
        start, value = (before.start_time_unix_nano, before.value) if before else (gain.start_time_unix_nano, 0)
        self._totals[series] = replace(gain, start_time_unix_nano=start, value=value + gain.value)
        return self._totals[series]


def _each_metric(data: MetricsData, convert: Callable[[ScopeMetrics, Metric], Metric | None]) -> MetricsData:
    """The same metrics, each converted or left out."""
    return MetricsData(
        [
            replace(resource, scope_metrics=[_each_in_scope(scope, convert) for scope in resource.scope_metrics])
            for resource in data.resource_metrics
        ]
    )


def _each_in_scope(scope: ScopeMetrics, convert: Callable[[ScopeMetrics, Metric], Metric | None]) -> ScopeMetrics:
    converted = (convert(scope, metric) for metric in scope.metrics)
    return replace(scope, metrics=[metric for metric in converted if metric is not None])


def _only_grows(metric: Metric) -> bool:
    match metric.data:
        case Sum(is_monotonic=True) | Histogram() | ExponentialHistogram():
            return True
        case _:
            return False


def _is_delta(metric: Metric) -> bool:
    return getattr(metric.data, "aggregation_temporality", None) is DELTA


def _as_deltas(metric: Metric, gains: list[DataPointT]) -> Metric | None:
    if not gains:
        return None
    data = replace(metric.data, data_points=gains, aggregation_temporality=DELTA)  # type: ignore[arg-type]  # of its own kind
    return replace(metric, data=data)


def _name(scope: ScopeMetrics, metric: Metric) -> Hashable:
    return scope.scope, metric.name, metric.unit, type(metric.data)


def _series(attributes: Attributes) -> Hashable:
    """Return the identity of a series; types included, for Python holds 1, 1.0 and True for equal."""
    try:
        return frozenset((key, type(value), value) for key, value in (attributes or {}).items())
    except TypeError:
        return repr(sorted((attributes or {}).items()))
