"""A histogram the live view keeps: bucket counts, and for each bucket the last call that fell into it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.metrics.export import HistogramDataPoint


@dataclass(frozen=True, slots=True)
class Example:
    """One measurement that fell into a bucket, and the trace it was made in."""

    value: float
    trace_id: str
    """32 hexadecimal digits."""
    unix_nanos: int


@dataclass(slots=True)
class Distribution:
    """Counts per bucket; bucket ``i`` holds values up to and including ``bounds[i]``, the last one all above."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    """The sum of all values."""
    examples: dict[int, Example] = field(default_factory=dict)
    """By bucket; the most recent one each."""

    def __post_init__(self) -> None:
        """An empty distribution has a zero for each bucket."""
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def copy(self) -> "Distribution":
        """The same values, independent of later ones."""
        return Distribution(self.bounds, list(self.counts), self.total, dict(self.examples))

    def fold(self, point: HistogramDataPoint) -> None:
        """Add what a delta data point counted."""
        for bucket, count in enumerate(point.bucket_counts):
            self.counts[bucket] += count
        self.total += point.sum
        for exemplar in point.exemplars:
            if exemplar.trace_id:
                bucket = bisect_left(self.bounds, exemplar.value)
                self.examples[bucket] = Example(
                    exemplar.value, format(exemplar.trace_id, "032x"), exemplar.time_unix_nano
                )

    def quantile(self, share: float) -> float | None:
        """The value below which ``share`` (0 … 1) of all lie, interpolated inside its bucket; ``None`` without values.

        Above the last bound nothing is known but that bound, as in PromQL's ``histogram_quantile``.
        """
        return quantile(share, self.bounds, self.counts)


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """See :meth:`Distribution.quantile`."""
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for bucket, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            lower = bounds[bucket - 1] if bucket else 0.0
            return lower + (bounds[bucket] - lower) * (rank - below) / count
        below += count
    return bounds[-1]
