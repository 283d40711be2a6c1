"""Collected metrics are cut into requests of bounded size, with nothing lost and nothing doubled."""

import weakref
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.export.reader import chunks, point_count

Scopes = list[dict[str, int]]
"""For each scope, how many points each of its metrics has."""


def _collected(scopes: Scopes) -> MetricsData:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource({"service.name": "test"}), shutdown_on_exit=False)
    for number, metrics in enumerate(scopes):
        meter = provider.get_meter(f"scope-{number}", version="1", schema_url="https://example.com/schema")
        for name, points in metrics.items():
            counter = meter.create_counter(name, unit="{call}", description="Calls.")
            for point in range(points):
                counter.add(1, {"tenant": point})
    return reader.get_metrics_data() or MetricsData([])


def _flat(data: MetricsData) -> Iterator[tuple[object, ...]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield resource.resource, scope.scope, scope.schema_url, metric.name, metric.unit, id(point)


@given(
    scopes=st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 7), max_size=3), max_size=3),
    size=st.integers(1, 10),
)
def test_chunks_hold_every_point_once_under_its_own_heading(scopes: Scopes, size: int) -> None:
    """All points are there, in order, with resource, scope and metric as collected; no chunk is empty or too large."""
    data = _collected(scopes)
    parts = list(chunks(data, size))
    assert [entry for part in parts for entry in _flat(part)] == list(_flat(data))
    assert all(1 <= point_count(part) <= size for part in parts)


def test_what_has_been_sent_is_freed_before_the_rest() -> None:
    """When the next metric's chunk is asked for, the points of the one before are gone already."""
    data = _collected([{"a": 3, "b": 3}])
    first = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
    watched = weakref.ref(first)
    parts = chunks(data, 3)
    del data, first
    assert point_count(next(parts)) == 3
    assert watched() is not None
    assert point_count(next(parts)) == 3
    assert watched() is None
