"""Log lines kept with the calls they are about."""

import logging
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.trace import SpanContext, format_span_id

from telemetry.logs.formatter import extra_of
from telemetry.privacy import flat_attributes, scrub_text
from telemetry.recent.record import LogRow
from telemetry.semconv import attributes as attr

_ROW_WEIGHT: Final = 480
_VALUE_WEIGHT: Final = 60
# Bytes of an empty row, and of an attribute's value besides its characters, about.


class LogKeeper(Protocol):
    """A receiver of log lines."""

    def log_written(self, call_id: str | None, span: SpanContext, row: LogRow) -> None:
        """Keep a line of the call it names, or of the call whose trace ``span`` belongs to."""
        ...


class RecentLogs(logging.Handler):
    """A handler that keeps each line with its call: the one it names, or the one whose trace it was written in."""

    def __init__(self, keeper: LogKeeper, *, level: int = logging.INFO, text: int = 256) -> None:
        super().__init__(level)
        self._keeper = keeper
        self._text = text

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the line on, if it names a call or was written in a trace."""
        call_id = record.__dict__.get(attr.CALL_ID)
        span = trace.get_current_span().get_span_context()
        if call_id is None and not span.is_valid:
            return
        try:
            self._keeper.log_written(call_id, span, self._row(record, span))
        except Exception:  # noqa: BLE001 -- the logging module's rule: a handler's failure is the handler's to deal with
            self.handleError(record)

    def _row(self, record: logging.LogRecord, span: SpanContext) -> LogRow:
        attributes = flat_attributes(extra_of(record), self._text)
        attributes.pop(attr.CALL_ID, None)
        attributes.pop(attr.TENANT_ID, None)
        message = scrub_text(record.getMessage())[: self._text]
        return LogRow(
            unix_nanos=int(record.created * 1e9),
            level=record.levelname,
            logger=record.name,
            message=message,
            attributes=attributes,
            span_id=format_span_id(span.span_id) if span.is_valid else None,
            weight=_ROW_WEIGHT + len(message) + sum(_VALUE_WEIGHT + len(str(v)) for v in attributes.values()),
        )
