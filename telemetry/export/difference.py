"""What a cumulative data point has gained since an earlier one of the same series."""

from dataclasses import replace
from typing import TypeVar

from opentelemetry.sdk.metrics.export import (
    Buckets,
    DataPointT,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)


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
