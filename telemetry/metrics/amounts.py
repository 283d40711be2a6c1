"""Amounts that series have counted: sums, last values, and histograms of both kinds, as they grow with each collection.

An amount takes in data points with :meth:`fold`, another amount with :meth:`merge`, and makes a data point of the
totals it holds. The arithmetic of exponential histograms follows the data model of OpenTelemetry 1.60, §Exponential
Buckets: a bucket's index at a scale that is coarser by one is half of it, rounded down.
"""

from collections.abc import Sequence
from math import inf
from typing import Protocol, Self

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    DataPointT,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)
from opentelemetry.util.types import Attributes

MAX_BUCKETS = 160
"""Most buckets on each side of an exponential histogram, the SDK's own default."""

_NO_BUCKETS = (0,)


class Amount(Protocol):
    """Amount that one series has counted."""

    def merge(self, later: Self, /) -> None:
        """Add what another amount of the same kind has counted after this one."""
        ...

    def copy(self) -> Self:
        """Return the same amount, independent of what follows."""
        ...

    def point(self, attributes: Attributes, start: int, time: int, exemplars: Sequence[Exemplar]) -> DataPointT:
        """Return the amount as a data point of the stretch from ``start`` to ``time``, in Unix nanoseconds."""
        ...


class Number:
    """A sum or a last value."""

    __slots__ = ("value",)

    def __init__(self, value: float = 0) -> None:
        self.value = value

    def fold(self, point: NumberDataPoint) -> None:
        """Add what has been counted since the last collection."""
        self.value += point.value

    def merge(self, later: "Number") -> None:
        """Add the later sum."""
        self.value += later.value

    def copy(self) -> "Number":
        """Return the same number."""
        return Number(self.value)

    def point(self, attributes: Attributes, start: int, time: int, exemplars: Sequence[Exemplar]) -> NumberDataPoint:
        """Return the number as a data point."""
        return NumberDataPoint(attributes, start, time, self.value, exemplars)


class ExplicitHistogram:
    """Counts in buckets with fixed bounds; bucket ``i`` holds values up to and including ``bounds[i]``."""

    __slots__ = ("bounds", "counts", "highest", "lowest", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0
        self.lowest, self.highest = inf, -inf

    def fold(self, point: HistogramDataPoint) -> None:
        """Add what has been measured since the last collection."""
        counts = self.counts
        for bucket, count in enumerate(point.bucket_counts):
            if count:
                counts[bucket] += count
        self._add(point.sum, point.min, point.max)

    def merge(self, later: "ExplicitHistogram") -> None:
        """Add the later histogram, which has the same bounds."""
        self.counts = [one + other for one, other in zip(self.counts, later.counts, strict=True)]
        self._add(later.total, later.lowest, later.highest)

    def _add(self, total: float, lowest: float, highest: float) -> None:
        self.total += total
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)

    def copy(self) -> "ExplicitHistogram":
        """Return the same histogram, independent of what follows."""
        made = ExplicitHistogram(self.bounds)
        made.merge(self)
        return made

    def point(self, attributes: Attributes, start: int, time: int, exemplars: Sequence[Exemplar]) -> HistogramDataPoint:
        """Return the histogram as a data point."""
        return HistogramDataPoint(
            attributes,
            start,
            time,
            sum(self.counts),
            self.total,
            tuple(self.counts),
            self.bounds,
            self.lowest,
            self.highest,
            exemplars,
        )


class _Side:
    """The buckets of the positive or of the negative values; their indices run from ``first`` on.

    Neither the first nor the last is empty: the SDK appends empty ones as room to grow, and a range that reached over
    these would cost resolution.
    """

    __slots__ = ("counts", "first")

    def __init__(self, first: int = 0, counts: Sequence[int] = ()) -> None:
        filled = [bucket for bucket, count in enumerate(counts) if count]
        begin, end = (filled[0], filled[-1] + 1) if filled else (0, 0)
        self.first = first + begin
        self.counts = list(counts[begin:end])

    @property
    def last(self) -> int:
        return self.first + len(self.counts) - 1

    def coarser(self, steps: int) -> None:
        """Merge each ``2 ** steps`` neighbouring buckets."""
        if not steps or not self.counts:
            return
        first = self.first >> steps
        counts = [0] * ((self.last >> steps) - first + 1)
        for index, count in enumerate(self.counts, start=self.first):
            counts[(index >> steps) - first] += count
        self.first, self.counts = first, counts

    def add(self, other: "_Side", steps: int) -> None:
        """Add another side's buckets, which are finer by so many steps."""
        if not other.counts:
            return
        low, high = other.first >> steps, other.last >> steps
        if not self.counts:
            self.first, self.counts = low, [0]
        self.counts[:0] = [0] * max(0, self.first - low)
        self.first = min(self.first, low)
        self.counts += [0] * max(0, high - self.last)
        for index, count in enumerate(other.counts, start=other.first):
            self.counts[(index >> steps) - self.first] += count

    def buckets(self) -> Buckets:
        return Buckets(self.first, tuple(self.counts)) if self.counts else Buckets(0, _NO_BUCKETS)


class ExponentialHistogram:
    """Counts in buckets whose bounds are powers of ``2 ** (2 ** -scale)``; coarser when values lie far apart."""

    __slots__ = ("count", "highest", "lowest", "negative", "positive", "scale", "total", "zeros")

    def __init__(self) -> None:
        self.scale: int | None = None
        """``None`` while only zeros have been measured: what the SDK then says of the scale is no measurement."""
        self.positive, self.negative = _Side(), _Side()
        self.zeros = self.count = 0
        self.total: float = 0
        self.lowest, self.highest = inf, -inf

    def fold(self, point: ExponentialHistogramDataPoint) -> None:
        """Add what has been measured since the last collection."""
        made = ExponentialHistogram()
        made.positive = _Side(point.positive.offset, point.positive.bucket_counts)
        made.negative = _Side(point.negative.offset, point.negative.bucket_counts)
        made.scale = point.scale if made.positive.counts or made.negative.counts else None
        made.zeros, made.count, made.total = point.zero_count, point.count, point.sum
        made.lowest, made.highest = point.min, point.max
        self.merge(made)

    def merge(self, later: "ExponentialHistogram") -> None:
        """Add the later histogram, at the finest scale that holds both."""
        self.zeros += later.zeros
        self.count += later.count
        self.total += later.total
        self.lowest, self.highest = min(self.lowest, later.lowest), max(self.highest, later.highest)
        if later.scale is not None:
            self._merge_buckets(later, later.scale)

    def _merge_buckets(self, later: "ExponentialHistogram", later_scale: int) -> None:
        own_scale = later_scale if self.scale is None else self.scale
        scale = min(own_scale, later_scale)
        for own, other in ((self.positive, later.positive), (self.negative, later.negative)):
            sides = [
                (s.first >> at - scale, s.last >> at - scale) for s, at in _filled(own, own_scale, other, later_scale)
            ]
            low, high = min((low for low, _ in sides), default=0), max((high for _, high in sides), default=0)
            while high - low >= MAX_BUCKETS:
                low, high = low >> 1, high >> 1
                scale -= 1
        for own, other in ((self.positive, later.positive), (self.negative, later.negative)):
            own.coarser(own_scale - scale)
            own.add(other, later_scale - scale)
        self.scale = scale

    def copy(self) -> "ExponentialHistogram":
        """Return the same histogram, independent of what follows."""
        made = ExponentialHistogram()
        made.merge(self)
        return made

    def point(
        self, attributes: Attributes, start: int, time: int, exemplars: Sequence[Exemplar]
    ) -> ExponentialHistogramDataPoint:
        """Return the histogram as a data point."""
        return ExponentialHistogramDataPoint(
            attributes,
            start,
            time,
            self.count,
            self.total,
            self.scale or 0,
            self.zeros,
            self.positive.buckets(),
            self.negative.buckets(),
            0,
            self.lowest,
            self.highest,
            exemplars,
        )


def _filled(own: _Side, own_scale: int, other: _Side, other_scale: int) -> list[tuple[_Side, int]]:
    return [(side, scale) for side, scale in ((own, own_scale), (other, other_scale)) if side.counts]
