"""A moment of the table leaves in parts of bounded size, with nothing lost, nothing doubled and nothing half."""

import weakref
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData, NumberDataPoint

from telemetry.export.plan import Temporality
from telemetry.export.points import Points
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.metrics.reader import LiveMetricsReader
from tests.telemetry.export.side_by_side import RESOURCE, SideBySide

Scopes = list[dict[str, int]]
"""For each scope, how many points each of its metrics has."""


def _recorded(scopes: Scopes) -> tuple[LiveMetricsReader, InMemoryMetricReader]:
    live, sdk = LiveMetricsReader(LiveMetricsStore()), InMemoryMetricReader()
    provider = MeterProvider([live, sdk], RESOURCE, shutdown_on_exit=False)
    for number, metrics in enumerate(scopes):
        meter = provider.get_meter(f"scope-{number}", version="1", schema_url="https://example.com/schema")
        for name, points in metrics.items():
            counter = meter.create_counter(name, unit="{call}", description="Calls.")
            for point in range(points):
                counter.add(point, {"tenant": point})
    live.fold()
    return live, sdk


def _flat(data: MetricsData) -> Iterator[tuple[object, ...]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    assert isinstance(point, NumberDataPoint)
                    heading = (resource.resource, scope.scope, scope.schema_url, metric.name, metric.unit)
                    yield (*heading, dict(point.attributes or {}), point.value)


@given(
    scopes=st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 70), max_size=3), max_size=3),
    size=st.integers(1, 60),
)
def test_parts_hold_every_point_once_under_its_own_heading(scopes: Scopes, size: int) -> None:
    """All points are there, in the SDK's order, under resource, scope and metric; no part is empty or too large."""
    live, sdk = _recorded(scopes)
    with live.store.series.pinned() as pin:
        points = Points(live.store.series, pin, Temporality.CUMULATIVE, RESOURCE)
        parts = list(points.parts(size))
        assert points.count() == sum(part.points for part in parts)
    assert [entry for part in parts for entry in _flat(part.data)] == list(
        _flat(sdk.get_metrics_data() or MetricsData([]))
    )
    assert all(1 <= len(list(_flat(part.data))) == part.points <= size for part in parts)


def test_parts_are_made_one_at_a_time() -> None:
    """When the next part is asked for, the one before is gone already: a large table is never in memory twice."""
    live, _ = _recorded([{"a": 3, "b": 3}])
    with live.store.series.pinned() as pin:
        parts = Points(live.store.series, pin, Temporality.CUMULATIVE, RESOURCE).parts(3)
        watched = weakref.ref(next(parts).data.resource_metrics[0])
        assert next(parts).points == 3
        assert watched() is None


def test_an_export_shows_one_moment_while_folds_go_on() -> None:
    """What is folded while the parts are sent is left for the next export, and new series too."""
    for temporality in Temporality:
        bench = SideBySide(temporality)
        for tenant in ("acme", "birch"):
            bench.calls.add(1, {"tenant": tenant})
            bench.duration.record(2, {"tenant": tenant})
        bench.live.fold()
        with bench.table.pinned(deltas=bench.table.keep_pending) as pin:
            points = Points(bench.table, pin, temporality, RESOURCE)
            for tenant in ("acme", "birch", "cedar"):
                bench.calls.add(10, {"tenant": tenant})
                bench.duration.record(3, {"tenant": tenant})
            bench.live.fold()
            told = list(points.parts(3))
            for part in told:
                points.acknowledge(part)
        values = [
            getattr(point, "value", None) or getattr(point, "sum", None)
            for part in told
            for metric in part.data.resource_metrics[0].scope_metrics[0].metrics
            for point in metric.data.data_points
        ]
        assert values == [1, 1, 2, 2]
        delta = temporality is not Temporality.CUMULATIVE
        (calls, _) = bench.parts(1_000)[0].data.resource_metrics[0].scope_metrics[0].metrics
        assert [getattr(point, "value", 0) for point in calls.data.data_points] == (
            [10, 10, 10] if delta else [11, 11, 10]
        )
