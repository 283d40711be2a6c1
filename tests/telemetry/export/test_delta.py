"""Deltas lose nothing, whatever exports fail."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    DataPointT,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
)

from telemetry.export.plan import Temporality
from telemetry.export.points import ExportPart
from tests.telemetry.export.side_by_side import SideBySide

DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
TENANTS = ("acme", "birch", "cedar")
Series = tuple[str, str]


class Server:
    """Adds up what it acknowledges, as a delta backend does."""

    def __init__(self) -> None:
        self.sums: dict[Series, float] = defaultdict(float)
        self.ends: dict[Series, int] = {}
        self.gaps = 0

    def take(self, metric: Metric) -> None:
        for point in metric.data.data_points:
            series = (metric.name, str((point.attributes or {})["tenant"]))
            if getattr(metric.data, "aggregation_temporality", CUMULATIVE) is DELTA:
                self._add(series, point)
            elif isinstance(point, NumberDataPoint):
                self.sums[series] = point.value

    def _add(self, series: Series, point: DataPointT) -> None:
        self.gaps += series in self.ends and self.ends[series] != point.start_time_unix_nano
        self.ends[series] = point.time_unix_nano
        self.sums[series] += point.value if isinstance(point, NumberDataPoint) else point.count
        if isinstance(point, HistogramDataPoint):
            for index, count in enumerate(point.bucket_counts):
                self.sums[f"{series[0]}.{index}", series[1]] += count


def _metrics(parts: Iterable[ExportPart]) -> Iterator[Metric]:
    for part in parts:
        yield from _metrics_of(part.data)


def _metrics_of(data: MetricsData) -> Iterator[Metric]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _totals(reader: InMemoryMetricReader) -> dict[Series, float]:
    server = Server()
    for metric in _metrics_of(reader.get_metrics_data() or MetricsData([])):
        for point in metric.data.data_points:
            server._add((metric.name, str((point.attributes or {})["tenant"])), point)
    return server.sums


def _steps() -> st.SearchStrategy[list[tuple[str, str, int]]]:
    acting = st.tuples(
        st.sampled_from(["call", "end", "record", "spread", "observe"]), st.sampled_from(TENANTS), st.integers(0, 20)
    )
    exporting = st.tuples(st.sampled_from(["export", "export", "fold"]), st.just(""), st.integers(0, 9))
    return st.lists(st.one_of(acting, exporting), max_size=40)


def _play(bench: SideBySide, server: Server, steps: Iterable[tuple[str, str, int]]) -> None:
    for action, tenant, number in steps:
        match action:
            case "call":
                bench.calls.add(number, {"tenant": tenant})
                bench.active.add(1, {"tenant": tenant})
            case "end":
                bench.active.add(-1, {"tenant": tenant})
            case "record":
                bench.duration.record(number, {"tenant": tenant})
            case "spread":
                bench.spread.record(number**4, {"tenant": tenant})
            case "observe":
                bench.observed[tenant] = bench.observed.get(tenant, 0) + number
            case "fold":
                bench.live.fold()
            case _:
                _export(bench, server, acknowledged=number)


def _export(bench: SideBySide, server: Server, acknowledged: int = 1_000) -> None:
    for metric in _metrics(bench.parts(2, acknowledged)):
        server.take(metric)


@pytest.mark.parametrize("temporality", [Temporality.DELTA, Temporality.LOWMEMORY])
@given(steps=_steps())
@settings(max_examples=120)
def test_whatever_exports_fail_the_server_ends_up_with_the_totals(
    temporality: Temporality, steps: list[tuple[str, str, int]]
) -> None:
    """After any mix of recordings and failed exports, one success makes the sums right and the time ranges seamless."""
    bench, server = SideBySide(temporality), Server()
    _play(bench, server, steps)
    _export(bench, server)
    totals = _totals(bench.sdk)
    assert {series: total for series, total in server.sums.items() if total} == {
        series: total for series, total in totals.items() if total
    }
    assert server.gaps == 0


def test_a_failed_export_is_contained_in_the_next() -> None:
    """Five counted, an export lost, one more counted: the next delta says six, from the beginning."""
    bench = SideBySide(Temporality.DELTA)
    bench.calls.add(5, {"tenant": "acme"})
    bench.live.fold()
    begin = next(iter(next(iter(bench.table._streams.values())).ordered)).start
    assert bench.parts(acknowledged=0) == []
    bench.calls.add(1, {"tenant": "acme"})
    (metric,) = _metrics(bench.parts())
    (point,) = metric.data.data_points
    assert isinstance(point, NumberDataPoint)
    assert (point.value, point.start_time_unix_nano) == (6, begin)


def test_what_is_folded_while_an_export_fails_is_contained_in_the_next() -> None:
    """What was to be sent and what came meanwhile are one delta afterwards, histograms of both kinds among them."""
    bench = SideBySide(Temporality.DELTA)

    def record(value: int) -> None:
        for instrument in (bench.duration, bench.spread):
            instrument.record(value, {"tenant": "acme"})
        bench.calls.add(value, {"tenant": "acme"})

    record(2)
    bench.live.fold()
    with bench.table.pinned(deltas=True):
        record(40)
        bench.live.fold()
    told = {metric.name: metric.data.data_points[0] for metric in _metrics(bench.parts())}
    assert {name: getattr(point, "sum", None) or getattr(point, "value", None) for name, point in told.items()} == {
        "duration": 42,
        "spread": 42,
        "calls": 42,
    }
    assert (told["duration"].min, told["duration"].max) == (2, 40)  # type: ignore[union-attr]  # a histogram


def test_a_series_without_change_is_left_out() -> None:
    """After an acknowledged export, only the tenant who had a call since is sent."""
    bench = SideBySide(Temporality.DELTA)
    for tenant in TENANTS:
        bench.calls.add(1, {"tenant": tenant})
    bench.parts()
    bench.calls.add(2, {"tenant": "birch"})
    (metric,) = _metrics(bench.parts())
    assert [dict(point.attributes or {}) for point in metric.data.data_points] == [{"tenant": "birch"}]


@pytest.mark.parametrize(("temporality", "observed"), [(Temporality.DELTA, DELTA), (Temporality.LOWMEMORY, CUMULATIVE)])
def test_each_kind_of_instrument_has_the_temporality_the_preference_gives_it(
    temporality: Temporality, observed: AggregationTemporality
) -> None:
    """Counters and histograms are deltas, up-down counters totals, observable counters as the preference says."""
    bench = SideBySide(temporality)
    _play(bench, Server(), [("call", "acme", 1), ("record", "acme", 1), ("observe", "acme", 1)])
    found = {metric.name: getattr(metric.data, "aggregation_temporality", None) for metric in _metrics(bench.parts())}
    assert found == {
        "calls": DELTA,
        "duration": DELTA,
        "active": CUMULATIVE,
        "held": CUMULATIVE,
        "observed": observed,
        "seen": None,
    }


def test_an_observable_counter_stays_a_total_in_lowmemory() -> None:
    """It says the whole sum with every export, from one and the same start."""
    bench = SideBySide(Temporality.LOWMEMORY)
    points: list[DataPointT] = []
    for value in (3, 5):
        bench.observed["acme"] = value
        points += next(m for m in _metrics(bench.parts()) if m.name == "observed").data.data_points
    assert [point.value for point in points if isinstance(point, NumberDataPoint)] == [3, 5]
    assert len({point.start_time_unix_nano for point in points}) == 1


def test_a_histogram_says_the_extremes_of_the_interval() -> None:
    """Minimum and maximum are those of what the server has not acknowledged yet, and of nothing before."""
    bench = SideBySide(Temporality.DELTA)
    for value in (2, 300):
        bench.duration.record(value, {"tenant": "acme"})
    bench.parts()
    bench.duration.record(50, {"tenant": "acme"})
    (metric,) = _metrics(bench.parts())
    (point,) = metric.data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert (point.min, point.max, point.count, point.sum) == (50, 50, 1, 50)
    assert list(point.bucket_counts) == [0, 0, 1]


def test_attributes_that_python_holds_for_equal_are_series_apart() -> None:
    """1, 1.0 and True are three tenants, each with deltas of its own; so are lists of them."""
    bench = SideBySide(Temporality.DELTA)
    values: list[object] = [1, 1.0, True, [1], [True]]
    for factor in (1, 10):
        for number, value in enumerate(values, start=1):
            bench.calls.add(factor * number, {"tenant": value})  # type: ignore[dict-item]  # of several types
        (metric,) = _metrics(bench.parts(1_000))
        gains = [point.value for point in metric.data.data_points if isinstance(point, NumberDataPoint)]
        assert gains == [factor * number for number in range(1, 6)]


def test_an_observable_counter_that_began_anew_is_sent_whole() -> None:
    """A total below the last one is no difference but a new count: a delta is never negative."""
    bench = SideBySide(Temporality.DELTA)
    gains = []
    for value in (9, 4, 6):
        bench.observed["acme"] = value
        (point,) = next(m for m in _metrics(bench.parts()) if m.name == "observed").data.data_points
        assert isinstance(point, NumberDataPoint)
        gains.append(point.value)
    assert gains == [9, 4, 2]
