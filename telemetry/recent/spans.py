"""The spans of calls: registered while they are open, kept as compact rows when they end."""

import weakref
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from telemetry.privacy import Scalar, flat_attributes, scrub_text
from telemetry.recent.record import SpanEvent, SpanRow
from telemetry.semconv import attributes as attr

_ROW_WEIGHT: Final = 420
_EVENT_WEIGHT: Final = 320
_VALUE_WEIGHT: Final = 60
# Bytes of an empty row, of an event, and of an attribute's value besides its characters, about. Keys are shared.
_EVENTS: Final = 16
# Events and links kept of one span.
_KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}


class SpanRegister:
    """Every open span, by trace. Thread-safe.

    Holds at most ``limit`` spans, weakly: a span lost without an end does not stay.
    """

    def __init__(self, limit: int = 200_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._limit = limit
        self._lock = Lock()
        self._traces: dict[int, dict[int, weakref.ref[Span]]] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """Number of open spans."""
        return self._count

    def add(self, span: Span) -> None:
        """Register a span that began, unless the register is full."""
        context = span.context
        with self._lock:
            if self._count >= self._limit and not self._forget_lost():
                return
            self._traces.setdefault(context.trace_id, {})[context.span_id] = weakref.ref(span)
            self._count += 1

    def remove(self, trace_id: int, span_id: int) -> None:
        """Remove a span that ended."""
        with self._lock:
            spans = self._traces.get(trace_id)
            if spans is not None and spans.pop(span_id, None) is not None:
                self._count -= 1
                if not spans:
                    del self._traces[trace_id]

    def of_trace(self, trace_id: int) -> list[Span]:
        """Return the open spans of one trace."""
        with self._lock:
            return list(_alive(self._traces.get(trace_id, {})))

    def close(self, reason: str) -> int:
        """End every open span with ``callscope.span.closed = reason``, and return their number."""
        with self._lock:
            spans = [span for refs in self._traces.values() for span in _alive(refs)]
        for span in reversed(spans):
            span.set_attribute(attr.SPAN_CLOSED, reason)
            span.end()
        return len(spans)

    def _forget_lost(self) -> bool:
        """Remove spans that were lost without an end, and return True if there is room now."""
        for trace_id, refs in list(self._traces.items()):
            for span_id in [span_id for span_id, ref in refs.items() if ref() is None]:
                del refs[span_id]
                self._count -= 1
            if not refs:
                del self._traces[trace_id]
        return self._count < self._limit


def _alive(refs: dict[int, weakref.ref[Span]]) -> Iterator[Span]:
    for ref in refs.values():
        span = ref()
        if span is not None:
            yield span


class SpanKeeper(Protocol):
    """A receiver of finished spans."""

    def span_ended(self, trace_id: int, span: ReadableSpan) -> None:
        """Keep a finished span, if it belongs to a call."""
        ...


class NoKeeper:
    """A receiver that keeps nothing."""

    __slots__ = ()

    def span_ended(self, trace_id: int, span: ReadableSpan) -> None:
        """Do nothing."""


class SpanRecorder(SpanProcessor):
    """A span processor that registers open spans and passes finished ones on."""

    def __init__(self, register: SpanRegister) -> None:
        self._register = register
        self._keeper: SpanKeeper = NoKeeper()

    def hand_to(self, keeper: SpanKeeper) -> None:
        """Pass finished spans on to ``keeper``, which can be built only after the tracer that needs this processor."""
        self._keeper = keeper

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 -- the SDK's signature
        """Register the span."""
        self._register.add(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Remove the span from the register and pass it on."""
        context = span.context
        if context is not None:
            self._register.remove(context.trace_id, context.span_id)
            self._keeper.span_ended(context.trace_id, span)


def span_row(span: ReadableSpan, *, text: int) -> SpanRow:
    """Return the span as a row without personal data; ``text`` bounds the characters of each value."""
    context, parent, scope = span.context, span.parent, span.instrumentation_scope
    attributes = flat_attributes(span.attributes, text)
    events = tuple(_event(event, text) for event in span.events[:_EVENTS])
    return SpanRow(
        span_id=format_span_id(context.span_id) if context else "",
        parent_id=format_span_id(parent.span_id) if parent else None,
        name=scrub_text(span.name)[:text],
        kind=_KINDS[span.kind],
        start_unix_nanos=span.start_time or 0,
        end_unix_nanos=span.end_time,
        error=span.status.status_code is StatusCode.ERROR,
        attributes=attributes,
        events=events,
        linked_trace_ids=tuple(format_trace_id(link.context.trace_id) for link in span.links[:_EVENTS]),
        scope=scope.name if scope else "",
        weight=_ROW_WEIGHT + _weigh(attributes) + sum(_EVENT_WEIGHT + _weigh(event.attributes) for event in events),
    )


def _event(event: SdkEvent, text: int) -> SpanEvent:
    return SpanEvent(event.name[:text], event.timestamp, flat_attributes(event.attributes, text))


def _weigh(attributes: Mapping[str, Scalar]) -> int:
    return sum(_VALUE_WEIGHT + (len(value) if isinstance(value, str) else 0) for value in attributes.values())
