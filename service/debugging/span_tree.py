"""Spans as a tree: each below its parent, in the order they began."""

from collections.abc import Iterable, Mapping

from service.debugging.detail import Scalar, SpanDetail, SpanEventDetail
from service.debugging.times import Times
from service.text import writable
from telemetry.recent.record import SpanRow

_Below = Mapping[str | None, list[SpanRow]]


def span_tree(spans: Iterable[SpanRow], times: Times) -> tuple[SpanDetail, ...]:
    """The trees that the spans make; one whose parent is not among them stands at the top."""
    rows = list(spans)
    known = {row.span_id for row in rows}
    below: dict[str | None, list[SpanRow]] = {}
    for row in rows:
        below.setdefault(row.parent_id if row.parent_id in known else None, []).append(row)
    return _trees(below, None, times)


def plain(attributes: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Attributes as JSON can have them."""
    return {writable(key): writable(value) if isinstance(value, str) else value for key, value in attributes.items()}


def _trees(below: _Below, parent: str | None, times: Times) -> tuple[SpanDetail, ...]:
    return tuple(_node(row, _trees(below, row.span_id, times), times) for row in below.get(parent, ()))


def _node(row: SpanRow, children: tuple[SpanDetail, ...], times: Times) -> SpanDetail:
    ended = row.end_unix_nanos
    start = times.since_received(row.start_unix_nanos)
    return SpanDetail(
        span_id=row.span_id,
        parent_span_id=row.parent_id,
        name=writable(row.name),
        kind=row.kind,
        scope=row.scope,
        at=times.at_nanos(row.start_unix_nanos),
        offset_seconds=start,
        duration_seconds=None if ended is None else max(0, ended - row.start_unix_nanos) / 1e9,
        open=ended is None,
        error=row.error,
        attributes=plain(row.attributes),
        events=tuple(
            SpanEventDetail(name=writable(e.name), at=times.at_nanos(e.unix_nanos), attributes=plain(e.attributes))
            for e in row.events
        ),
        linked_trace_ids=row.linked_trace_ids,
        children=children,
    )
