"""What a scrape of 10,000 tenants costs, against ``prometheus_client.generate_latest`` over the same series.

Both write Prometheus' text format 0.0.4. Before anything is timed, both texts are compared: the same series with the
same values, but for the resource's labels, which only ours have. Ours is written twice: at once, which is what is
compared, and in small parts with pauses, as a scrape has it.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from statistics import median

from opentelemetry.sdk.metrics.export import Histogram
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from benchmarks import verdict
from benchmarks.pipeline import Pipeline
from benchmarks.scripted_call import through_the_library
from telemetry.clock import SystemClock
from telemetry.export.exposition import Exposition, label_name, metric_name
from telemetry.export.points import Pace
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.series import Pin, SeriesTable, Stream

TENANTS = 10_000
SCRAPES = 5
RATIO = 3
NOBODY = Resource({})


class Families(Collector):
    """The same series as prometheus_client has them, made beforehand: only writing is timed."""

    def __init__(self, table: SeriesTable) -> None:
        with table.pinned() as pin:
            self._families = [family(extent.stream) for extent in pin.extents if extent.size]

    def collect(self) -> Iterable[Metric]:
        """Return what was made."""
        return self._families


def family(stream: Stream) -> Metric:
    """Return one stream as prometheus_client's family."""
    descriptor, name = stream.descriptor, metric_name(stream.descriptor)
    keys = sorted({key for series in stream.ordered for key in series.attributes or {}})
    labels = [label_name(key) for key in keys]
    if descriptor.data is Histogram:
        made = HistogramMetricFamily(name, descriptor.description, labels=labels)
        bounds = [*(str(float(bound)) for bound in stream.bounds), "+Inf"]
        for series in stream.ordered:
            buckets = list(zip(bounds, accumulate(series.total.counts), strict=True))
            made.add_metric(_values(series.attributes, keys), buckets, series.total.total)
        return made
    kind = CounterMetricFamily if descriptor.monotonic else GaugeMetricFamily
    plain = kind(name, descriptor.description, labels=labels)
    for series in stream.ordered:
        plain.add_metric(_values(series.attributes, keys), series.total.value)
    return plain


def _values(attributes: object, keys: Sequence[str]) -> list[str]:
    assert isinstance(attributes, dict)
    return [str(attributes.get(key, "")) for key in keys]


def main() -> None:
    """Compare both texts, time them, and say what was found."""
    print(f"Writing the metrics of {TENANTS:,} tenants as Prometheus' text")
    pipeline = Pipeline(SystemClock(), beside=False)
    tracker = pipeline.tracker(max_remembered=1)
    for number in range(TENANTS):
        through_the_library(tracker, f"rtc_{number}", f"tenant-{number:05d}", _nothing)
    pipeline.live.fold()
    table = pipeline.live.store.series
    registry = CollectorRegistry()
    registry.register(Families(table))
    with table.pinned() as pin:
        assert samples("".join(ours(table, pin, iter))) == samples(generate_latest(registry).decode())
        at_once = timed(lambda: sum(map(len, ours(table, pin, iter))))
        in_parts = timed(lambda: sum(map(len, ours(table, pin, yielding))))
        theirs = timed(lambda: len(generate_latest(registry)))
    verdict.figure("series", table.count())
    verdict.figure("ours, median", at_once * 1e3, " ms")
    verdict.figure("ours, in parts with pauses, median", in_parts * 1e3, " ms")
    verdict.figure("prometheus_client, median", theirs * 1e3, " ms")
    verdict.at_least("prometheus_client / ours", theirs / at_once, RATIO)


def ours(table: SeriesTable, pin: Pin, pace: Pace) -> Iterator[str]:
    """Return our text in parts."""
    return Exposition(table, pin, NOBODY, open_metrics=False, pace=pace).parts()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return each sample's value by its name and labels; a label without value is no label."""
    found = {}
    for name, labels, value in re.findall(r"^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        pairs = frozenset((key, told) for key, told in re.findall(r'(\w+)="([^"]*)"', labels) if told)
        if name != "target_info":
            found[name, pairs] = float(value)
    return found


def timed(what: Callable[[], object]) -> float:
    """Return the median of so many times."""
    took = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)
    return median(took)


def _nothing() -> None:
    """Let time pass by itself."""


if __name__ == "__main__":
    main()
