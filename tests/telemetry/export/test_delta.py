"""Deltas lose nothing, whatever exports fail."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    DataPointT,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from telemetry.export.delta import Deltas, LowMemoryDeltas, difference
from telemetry.export.reader import chunks

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
TENANTS = ("acme", "birch", "cedar")


class Server:
    """Adds up what it acknowledges, as a delta backend does."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], float] = defaultdict(float)
        self.buckets: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.ends: dict[tuple[str, str], int] = {}
        self.gaps = 0

    def take(self, metric: Metric) -> None:
        for point in metric.data.data_points:
            series = (metric.name, str((point.attributes or {})["tenant"]))
            if getattr(metric.data, "aggregation_temporality", CUMULATIVE) is DELTA:
                self._add(series, point)
            elif isinstance(point, NumberDataPoint):
                self.sums[series] = point.value

    def _add(self, series: tuple[str, str], point: DataPointT) -> None:
        self.gaps += series in self.ends and self.ends[series] != point.start_time_unix_nano
        self.ends[series] = point.time_unix_nano
        self.sums[series] += point.value if isinstance(point, NumberDataPoint) else point.count
        if isinstance(point, HistogramDataPoint):
            for index, count in enumerate(point.bucket_counts):
                self.buckets[series][index] += count


@dataclass
class Bench:
    """Real instruments under a real provider, with totals read beside."""

    ledger: Deltas
    server: Server = field(default_factory=Server)

    def __post_init__(self) -> None:
        self.reader = InMemoryMetricReader(preferred_temporality=dict(self.ledger.collects))
        self.truth = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader, self.truth], Resource({}), shutdown_on_exit=False)
        meter = self.provider.get_meter("bench")
        self.calls = meter.create_counter("calls")
        self.active = meter.create_up_down_counter("active")
        self.duration = meter.create_histogram("duration", explicit_bucket_boundaries_advisory=[1, 10])
        self.observed: dict[str, int] = {}
        meter.create_observable_counter("observed", [self._observe])

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        return (Observation(value, {"tenant": tenant}) for tenant, value in self.observed.items())

    def collect(self) -> MetricsData:
        return self.reader.get_metrics_data() or MetricsData([])

    def export(self, acknowledged: int, size: int = 2) -> None:
        """One export in chunks, of which only the first ``acknowledged`` arrive."""
        due = self.ledger.due(self.collect())
        for chunk in islice(chunks(due, size), acknowledged):
            for metric in _metrics(chunk):
                self.server.take(metric)
            self.ledger.acknowledge(chunk)
        self.ledger.end_round()

    def totals(self) -> dict[tuple[str, str], float]:
        data = self.truth.get_metrics_data() or MetricsData([])
        return {
            (metric.name, str((point.attributes or {})["tenant"])): (
                point.value if isinstance(point, NumberDataPoint) else point.count
            )
            for metric in _metrics(data)
            for point in metric.data.data_points
        }


def _metrics(data: MetricsData) -> Iterator[Metric]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _steps() -> st.SearchStrategy[list[tuple[str, str, int]]]:
    acting = st.tuples(
        st.sampled_from(["call", "end", "record", "observe"]), st.sampled_from(TENANTS), st.integers(0, 20)
    )
    exporting = st.tuples(st.just("export"), st.just(""), st.integers(0, 9))
    return st.lists(st.one_of(acting, exporting), max_size=40)


def _play(bench: Bench, steps: Iterable[tuple[str, str, int]]) -> None:
    for action, tenant, number in steps:
        match action:
            case "call":
                bench.calls.add(number, {"tenant": tenant})
                bench.active.add(1, {"tenant": tenant})
            case "end":
                bench.active.add(-1, {"tenant": tenant})
            case "record":
                bench.duration.record(number, {"tenant": tenant})
            case "observe":
                bench.observed[tenant] = bench.observed.get(tenant, 0) + number
            case _:
                bench.export(acknowledged=number)


@pytest.mark.parametrize("ledger", [Deltas, LowMemoryDeltas])
@given(steps=_steps())
@settings(max_examples=120, deadline=None)
def test_whatever_exports_fail_the_server_ends_up_with_the_totals(
    ledger: type[Deltas], steps: list[tuple[str, str, int]]
) -> None:
    """After any mix of recordings and failed exports, one success makes the sums right and the time ranges seamless."""
    bench = Bench(ledger())
    _play(bench, steps)
    bench.export(acknowledged=1000)
    assert {series: total for series, total in bench.server.sums.items() if total} == {
        series: total for series, total in bench.totals().items() if total
    }
    assert bench.server.gaps == 0


def test_a_failed_export_is_contained_in_the_next() -> None:
    """Five counted, an export lost, one more counted: the next delta says six, from the beginning."""
    bench = Bench(Deltas())
    bench.calls.add(5, {"tenant": "acme"})
    begin = next(_metrics(bench.ledger.due(bench.collect()))).data.data_points[0].start_time_unix_nano
    bench.calls.add(1, {"tenant": "acme"})
    (metric,) = _metrics(bench.ledger.due(bench.collect()))
    (point,) = metric.data.data_points
    assert isinstance(point, NumberDataPoint)
    assert (point.value, point.start_time_unix_nano) == (6, begin)


def test_a_series_without_change_is_left_out() -> None:
    """After an acknowledged export, only the tenant who had a call since is sent."""
    bench = Bench(Deltas())
    for tenant in TENANTS:
        bench.calls.add(1, {"tenant": tenant})
    bench.export(acknowledged=1000)
    bench.calls.add(2, {"tenant": "birch"})
    (metric,) = _metrics(bench.ledger.due(bench.collect()))
    assert [dict(point.attributes or {}) for point in metric.data.data_points] == [{"tenant": "birch"}]


@pytest.mark.parametrize(
    ("ledger", "observed"), [(Deltas, DELTA), (LowMemoryDeltas, CUMULATIVE)], ids=["delta", "lowmemory"]
)
def test_each_kind_of_instrument_has_the_temporality_the_preference_gives_it(
    ledger: type[Deltas], observed: AggregationTemporality
) -> None:
    """Counters and histograms are deltas, up-down counters totals, observable counters as the preference says."""
    bench = Bench(ledger())
    _play(bench, [("call", "acme", 1), ("record", "acme", 1), ("observe", "acme", 1)])
    found = {metric.name: _temporality(metric) for metric in _metrics(bench.ledger.due(bench.collect()))}
    assert found == {"calls": DELTA, "duration": DELTA, "active": CUMULATIVE, "observed": observed}


def _temporality(metric: Metric) -> AggregationTemporality:
    temporality = getattr(metric.data, "aggregation_temporality", None)
    assert isinstance(temporality, AggregationTemporality)
    return temporality


def test_an_observable_counter_stays_a_total_in_lowmemory() -> None:
    """It says the whole sum with every export, from one and the same start."""
    bench = Bench(LowMemoryDeltas())
    points: list[DataPointT] = []
    for value in (3, 5):
        bench.observed["acme"] = value
        (metric,) = _metrics(bench.ledger.due(bench.collect()))
        points += metric.data.data_points
    assert [point.value for point in points if isinstance(point, NumberDataPoint)] == [3, 5]
    assert len({point.start_time_unix_nano for point in points}) == 1


def test_a_histogram_says_its_extremes_only_when_they_are_of_the_interval() -> None:
    """An unchanged minimum may be old, so it is not told; a new maximum is of this interval, so it is."""
    bench = Bench(Deltas())
    bench.duration.record(2, {"tenant": "acme"})
    bench.duration.record(3, {"tenant": "acme"})
    bench.export(acknowledged=1000)
    bench.duration.record(50, {"tenant": "acme"})
    (metric,) = _metrics(bench.ledger.due(bench.collect()))
    (point,) = metric.data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert (point.max, point.count, point.sum) == (50, 1, 50)
    assert not point.min
    assert list(point.bucket_counts) == [0, 0, 1]


def test_attributes_that_python_holds_for_equal_are_series_apart() -> None:
    """1, 1.0 and True are three tenants, each with its own base line."""
    bench = Bench(Deltas())
    values: list[int | float] = [1, 1.0, True]
    for number, value in enumerate(values, start=1):
        bench.calls.add(number, {"tenant": value})
    bench.ledger.acknowledge(bench.ledger.due(bench.collect()))
    for number, value in enumerate(values, start=1):
        bench.calls.add(10 * number, {"tenant": value})
    (metric,) = _metrics(bench.ledger.due(bench.collect()))
    gains = [point.value for point in metric.data.data_points if isinstance(point, NumberDataPoint)]
    assert gains == [10, 20, 30]


def test_a_series_that_began_anew_is_sent_whole() -> None:
    """A total below the acknowledged one, or with another start, is no difference but a new count."""
    before = NumberDataPoint({}, 100, 200, 9)
    fewer = NumberDataPoint({}, 100, 300, 4)
    later = NumberDataPoint({}, 250, 300, 12)
    assert difference(fewer, before) is fewer
    assert difference(later, before) is later


@given(
    first=st.lists(st.floats(1e-3, 1e6), max_size=30),
    second=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30),
)
@settings(max_examples=80, deadline=None)
def test_exponential_histograms_differ_exactly_even_when_they_lose_resolution(
    first: list[float], second: list[float]
) -> None:
    """The difference of two totals has the buckets of what was recorded in between, at the later total's scale."""
    reader = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation(max_size=8)})
    provider = MeterProvider([reader], Resource({}), shutdown_on_exit=False)
    histogram = provider.get_meter("m").create_histogram("h")
    totals = [_total(reader, histogram.record, values) for values in (first, second)]
    if not totals[0]:
        return
    assert totals[1]
    gain = difference(totals[1], totals[0])
    assert isinstance(gain, ExponentialHistogramDataPoint)
    assert (gain.count, sum(gain.positive.bucket_counts)) == (len(second), len(second))
    assert min(gain.positive.bucket_counts, default=0) >= 0
    assert gain.sum == pytest.approx(sum(second), abs=1e-4)


def _total(
    reader: InMemoryMetricReader, record: Callable[[float], None], values: list[float]
) -> ExponentialHistogramDataPoint | None:
    for value in values:
        record(value)
    data = reader.get_metrics_data()
    for metric in _metrics(data or MetricsData([])):
        (point,) = metric.data.data_points
        assert isinstance(point, ExponentialHistogramDataPoint)
        return point
    return None


def test_a_series_that_changed_its_kind_is_sent_whole() -> None:
    """Nothing can be taken from a histogram but a histogram."""
    number = NumberDataPoint({}, 100, 200, 9)
    histogram = HistogramDataPoint({}, 100, 300, 2, 3.0, [2], [], 1.0, 2.0)
    assert difference(histogram, number) is histogram
    assert difference(histogram, histogram) is None
