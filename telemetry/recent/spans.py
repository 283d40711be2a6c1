"""The spans of calls: the open ones while they are open, the finished ones as compact rows."""

import logging
import weakref
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext, StatusCode, format_span_id, format_trace_id

from telemetry.logs.process_logging import extra_of
from telemetry.privacy import Scalar, flat_attributes, scrub_text
from telemetry.recent.record import LogRow, SpanEvent, SpanRow
from telemetry.semconv import attributes as attr

_ROW_WEIGHT: Final = 420
_EVENT_WEIGHT: Final = 320
_VALUE_WEIGHT: Final = 60
# About the bytes of an empty row, an event, and an attribute's value besides its characters. Keys are shared.
_EVENTS: Final = 16


# Events of one span that are kept. A session that reports more errors than this has them in the record's own list.
class SpanRegister:
    """Every span that has begun and not ended, by trace. Safe for threads.

    Holds at most ``limit`` spans, and holds them weakly: one that its maker lost without ending it does not stay.
    """

    def __init__(self, limit: int = 200_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._limit = limit
        self._lock = Lock()
        self._traces: dict[int, dict[int, weakref.ref[Span]]] = {}
        self._count = 0
        self._missed = 0

    @property
    def count(self) -> int:
        """Open spans."""
        return self._count

    @property
    def missed(self) -> int:
        """Spans that began when the registry was full."""
        return self._missed

    def add(self, span: Span) -> None:
        """A span began."""
        context = span.context
        with self._lock:
            if self._count >= self._limit and not self._forget_lost():
                self._missed += 1
                return
            self._traces.setdefault(context.trace_id, {})[context.span_id] = weakref.ref(span)
            self._count += 1

    def remove(self, trace_id: int, span_id: int) -> None:
        """A span ended."""
        with self._lock:
            spans = self._traces.get(trace_id)
            if spans is not None and spans.pop(span_id, None) is not None:
                self._count -= 1
                if not spans:
                    del self._traces[trace_id]

    def of_trace(self, trace_id: int) -> list[Span]:
        """The open spans of one trace."""
        with self._lock:
            return list(_alive(self._traces.get(trace_id, {})))

    def close(self, reason: str) -> int:
        """End every open span and say on it why, so that none is lost when the process goes; answers how many."""
        with self._lock:
            spans = [span for refs in self._traces.values() for span in _alive(refs)]
        for span in reversed(spans):
            span.set_attribute(attr.SPAN_CLOSED, reason)
            span.end()
        return len(spans)

    def _forget_lost(self) -> bool:
        """Make room by letting go of spans that are gone; answers whether there is room now."""
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
    """Who takes the rows of finished spans."""

    def span_ended(self, trace_id: int, span: ReadableSpan) -> None:
        """A span is over."""
        ...


class NoKeeper:
    """Lets finished spans go."""

    __slots__ = ()

    def span_ended(self, trace_id: int, span: ReadableSpan) -> None:
        """Do nothing."""


class SpanRecorder(SpanProcessor):
    """Registers spans while they are open and hands them on when they end."""

    def __init__(self, register: SpanRegister) -> None:
        self._register = register
        self._keeper: SpanKeeper = NoKeeper()

    def hand_to(self, keeper: SpanKeeper) -> None:
        """From now on finished spans go there: the record of calls needs a tracer, which needs its processors first."""
        self._keeper = keeper

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 -- the SDK's signature
        """Register the span."""
        self._register.add(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Strike the span off the register and hand it on."""
        context = span.context
        if context is not None:
            self._register.remove(context.trace_id, context.span_id)
            self._keeper.span_ended(context.trace_id, span)


def span_row(span: ReadableSpan, *, text: int) -> SpanRow:
    """The span as a row, without personal data; ``text`` bounds the characters of each value."""
    attributes = _cut(flat_attributes(span.attributes), text)
    events = tuple(_event(event, text) for event in span.events[:_EVENTS])
    return SpanRow(
        span_id=format_span_id(span.context.span_id) if span.context else "",
        parent_id=format_span_id(span.parent.span_id) if span.parent else None,
        name=scrub_text(span.name)[:text],
        kind=span.kind.name.lower(),
        start_unix_nanos=span.start_time or 0,
        end_unix_nanos=span.end_time,
        error=span.status.status_code is StatusCode.ERROR,
        attributes=attributes,
        events=events,
        linked_trace_ids=tuple(format_trace_id(link.context.trace_id) for link in span.links[:_EVENTS]),
        scope=span.instrumentation_scope.name if span.instrumentation_scope else "",
        weight=_ROW_WEIGHT + _weigh(attributes) + sum(_EVENT_WEIGHT + _weigh(event.attributes) for event in events),
    )


def _event(event: SdkEvent, text: int) -> SpanEvent:
    return SpanEvent(event.name[:text], event.timestamp, _cut(flat_attributes(event.attributes), text))


def _cut(attributes: dict[str, Scalar], text: int) -> dict[str, Scalar]:
    return {key: value[:text] if isinstance(value, str) else value for key, value in attributes.items()}


def _weigh(attributes: Mapping[str, Scalar]) -> int:
    return sum(_VALUE_WEIGHT + (len(value) if isinstance(value, str) else 0) for value in attributes.values())


_LOG_ROW_WEIGHT = 480
_LOG_VALUE_WEIGHT = 60


class LogKeeper(Protocol):
    """Who takes log lines."""

    def log_written(self, call_id: str | None, span: SpanContext, row: LogRow) -> None:
        """A line was written, about a call or in a trace, which may be a call's."""
        ...


class RecentLogs(logging.Handler):
    """Keeps each line with the call it is about: the one it names, or else the one whose trace it was written in."""

    def __init__(self, keeper: LogKeeper, *, level: int = logging.INFO, text: int = 256) -> None:
        super().__init__(level)
        self._keeper = keeper
        self._text = text

    def emit(self, record: logging.LogRecord) -> None:
        """Attach the line, if there is a call to attach it to."""
        call_id = record.__dict__.get(attr.CALL_ID)
        span = trace.get_current_span().get_span_context()
        if call_id is None and not span.is_valid:
            return
        try:
            self._keeper.log_written(call_id, span, self._row(record, span))
        except Exception:  # noqa: BLE001 -- the logging module's rule: a handler's failure is the handler's to deal with
            self.handleError(record)

    def _row(self, record: logging.LogRecord, span: SpanContext) -> LogRow:
        attributes = flat_attributes(extra_of(record))
        attributes.pop(attr.CALL_ID, None)
        attributes.pop(attr.TENANT_ID, None)
        message = scrub_text(record.getMessage())[: self._text]
        return LogRow(
            unix_nanos=int(record.created * 1e9),
            level=record.levelname,
            logger=record.name,
            message=message,
            attributes={k: v[: self._text] if isinstance(v, str) else v for k, v in attributes.items()},
            span_id=format_span_id(span.span_id) if span.is_valid else None,
            weight=_LOG_ROW_WEIGHT + len(message) + sum(_LOG_VALUE_WEIGHT + len(str(v)) for v in attributes.values()),
        )
