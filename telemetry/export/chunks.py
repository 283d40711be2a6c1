"""Collected metrics cut into requests of bounded size.

A collection of many tenants in one request is more than a Collector takes over gRPC (4 MiB by default) and makes the
encoder hold the interpreter for long. The pieces are cut before encoding, so that both stay short.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some points of one metric, with what they stand under."""

    resource: ResourceMetrics
    scope: ScopeMetrics
    metric: Metric
    points: int


def chunks(data: MetricsData, size: int) -> Iterator[MetricsData]:
    """The same metrics in parts of at most ``size`` points each, none of them empty."""
    chunk: list[_Piece] = []
    for piece in _pieces(data, size):
        if sum(other.points for other in chunk) + piece.points > size:
            yield _assembled(chunk)
            chunk = []
        chunk.append(piece)
    if chunk:
        yield _assembled(chunk)


def point_count(data: MetricsData) -> int:
    """The number of data points."""
    return sum(
        len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def _pieces(data: MetricsData, size: int) -> Iterator[_Piece]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for part in _parts(metric, size):
                    yield _Piece(resource, scope, part, len(part.data.data_points))


def _parts(metric: Metric, size: int) -> Iterator[Metric]:
    points = metric.data.data_points
    for start in range(0, len(points), size):
        part = points[start : start + size]
        yield replace(metric, data=replace(metric.data, data_points=part))  # type: ignore[arg-type]  # of its own kind


def _assembled(pieces: Iterable[_Piece]) -> MetricsData:
    return MetricsData([_resource(list(group)) for _, group in groupby(pieces, lambda piece: id(piece.resource))])


def _resource(pieces: list[_Piece]) -> ResourceMetrics:
    scopes = [_scope(list(group)) for _, group in groupby(pieces, lambda piece: id(piece.scope))]
    return replace(pieces[0].resource, scope_metrics=scopes)


def _scope(pieces: list[_Piece]) -> ScopeMetrics:
    return replace(pieces[0].scope, metrics=[piece.metric for piece in pieces])
