"""What a Collector received, read back from the lines its file exporter wrote (OTLP in JSON)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KINDS = ("sum", "gauge", "histogram", "exponentialHistogram")

Json = dict[str, Any]
Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Span:
    """One span, with its resource's attributes."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: Attributes
    resource: Attributes


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a metric. A histogram's value is its count."""

    metric: str
    unit: str
    value: float
    delta: bool
    attributes: Attributes
    resource: Attributes
    exemplar_trace_ids: tuple[str, ...]
    exemplar_values: tuple[float, ...]
    """The measurements of those exemplars, in the same order."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One log record."""

    body: str
    event: str
    """Its name, where it tells of one."""
    trace_id: str
    attributes: Attributes
    resource: Attributes


class Received:
    """Reads the file anew at every question, so that a test can wait for what it expects."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def text(self) -> str:
        """All of it, as it was written."""
        return self._path.read_text() if self._path.exists() else ""

    def spans(self, name: str | None = None) -> list[Span]:
        """All spans, or those of one name."""
        return [span for span in self._spans() if name in {None, span.name}]

    def points(self, metric: str | None = None) -> list[Point]:
        """All metric points in the order they came, or those of one metric."""
        return [point for point in self._points() if metric in {None, point.metric}]

    def logs(self) -> list[LogRecord]:
        """All log records."""
        return [
            LogRecord(
                str(_value(record.get("body", {}))),
                record.get("eventName", ""),
                record.get("traceId", ""),
                _attributes(record),
                _attributes(owner),
            )
            for owner, record in self._items("resourceLogs", "scopeLogs", "logRecords")
        ]

    def _spans(self) -> Iterator[Span]:
        for owner, span in self._items("resourceSpans", "scopeSpans", "spans"):
            yield Span(
                span["name"],
                span["traceId"],
                span["spanId"],
                span.get("parentSpanId", ""),
                span.get("status", {}).get("code") == 2,
                _attributes(span),
                _attributes(owner),
            )

    def _points(self) -> Iterator[Point]:
        for owner, metric in self._items("resourceMetrics", "scopeMetrics", "metrics"):
            data: Json = next((metric[kind] for kind in _KINDS if kind in metric), {})
            for point in data.get("dataPoints", []):
                yield Point(
                    metric["name"],
                    metric.get("unit", ""),
                    # A count of none is left out, as JSON leaves out whatever is the default.
                    float(next((point[key] for key in ("asInt", "asDouble", "count") if key in point), 0)),
                    data.get("aggregationTemporality") == 1,
                    _attributes(point),
                    _attributes(owner),
                    tuple(exemplar.get("traceId", "") for exemplar in point.get("exemplars", [])),
                    tuple(
                        float(next((e[key] for key in ("asInt", "asDouble") if key in e), 0))
                        for e in point.get("exemplars", [])
                    ),
                )

    def _items(self, resources: str, scopes: str, items: str) -> Iterator[tuple[Json, Json]]:
        for line in self._lines():
            for resource in line.get(resources, []):
                for scope in resource[scopes]:
                    for item in scope.get(items, []):
                        yield resource.get("resource", {}), item

    def _lines(self) -> Iterator[Json]:
        complete, _, _ = self.text.rpartition("\n")  # the last line may be half written
        for line in complete.splitlines():
            yield json.loads(line)


def _attributes(holder: Json) -> Attributes:
    return {item["key"]: _value(item["value"]) for item in holder.get("attributes", [])}


def _value(wrapped: Json) -> str | int | float | bool:
    match wrapped:
        case {"intValue": number}:
            return int(number)
        case {"stringValue": plain} | {"boolValue": plain} | {"doubleValue": plain}:
            return plain  # type: ignore[no-any-return]
        case _:
            return json.dumps(wrapped, sort_keys=True)
