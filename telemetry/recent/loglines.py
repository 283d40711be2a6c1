"""Log lines written in the context of a call, attached to its record."""

import logging
from typing import Protocol

from opentelemetry import trace
from opentelemetry.trace import SpanContext, format_span_id

from telemetry import attributes as attr
from telemetry.log_format import extra_of
from telemetry.recent.record import LogRow
from telemetry.scrub import flat_attributes, scrub_text

_ROW_WEIGHT = 480
_VALUE_WEIGHT = 60


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
            weight=_ROW_WEIGHT + len(message) + sum(_VALUE_WEIGHT + len(str(v)) for v in attributes.values()),
        )
