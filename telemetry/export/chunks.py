"""Collected metrics cut into requests of bounded size.

A collection of many tenants in one request is more than a Collector takes over gRPC (4 MiB by default) and makes the
encoder hold the interpreter for long. The pieces are cut before encoding, so that both stay short.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some points of one metric, with the headings they stand under."""

    resource: ResourceMetrics
    """Without its scopes."""
    scope: ScopeMetrics
    """Without its metrics."""
    metric: Metric

    @property
    def points(self) -> int:
        return len(self.metric.data.data_points)


def chunks(data: MetricsData, size: int) -> Iterator[MetricsData]:
    """The same metrics in parts of at most ``size`` points each, none of them empty.

    A part nobody holds on to is freed when the next one is asked for, if nobody holds on to ``data`` either. Freeing a
    large collection at once stops every thread for as long as it takes.
    """
    waiting = deque(_pieces(data))
    del data
    chunk: list[_Piece] = []
    while waiting:
        for piece in _cut(waiting.popleft(), size):
            if sum(other.points for other in chunk) + piece.points > size:
                yield _assembled(chunk)
                chunk = []
            chunk.append(piece)
    if chunk:
        yield _assembled(chunk)


def point_count(data: MetricsData) -> int:
    """The number of data points."""
    return sum(piece.points for piece in _pieces(data))


def _pieces(data: MetricsData) -> Iterator[_Piece]:
    """Each metric whole, under headings of its own that hold nothing else."""
    for resource in data.resource_metrics:
        resource_heading = replace(resource, scope_metrics=[])
        for scope in resource.scope_metrics:
            scope_heading = replace(scope, metrics=[])
            for metric in scope.metrics:
                yield _Piece(resource_heading, scope_heading, metric)


def _cut(piece: _Piece, size: int) -> Iterator[_Piece]:
    points = piece.metric.data.data_points
    for start in range(0, len(points), size):
        part = replace(piece.metric.data, data_points=points[start : start + size])  # type: ignore[arg-type]  # of its kind
        yield replace(piece, metric=replace(piece.metric, data=part))


def _assembled(pieces: list[_Piece]) -> MetricsData:
    return MetricsData([_resource(list(group)) for _, group in groupby(pieces, lambda piece: id(piece.resource))])


def _resource(pieces: list[_Piece]) -> ResourceMetrics:
    scopes = [_scope(list(group)) for _, group in groupby(pieces, lambda piece: id(piece.scope))]
    return replace(pieces[0].resource, scope_metrics=scopes)


def _scope(pieces: list[_Piece]) -> ScopeMetrics:
    return replace(pieces[0].scope, metrics=[piece.metric for piece in pieces])
