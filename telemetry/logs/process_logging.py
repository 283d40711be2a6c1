"""Logging of a whole process: JSON lines on stdout, the same records over OTLP and on the calls they are about."""

import copy
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TextIO

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider
from opentelemetry.instrumentation.logging.handler import LoggingHandler

from telemetry.privacy import scrub_attributes, scrub_text
from telemetry.semconv import attributes as attr
from telemetry.terminal import printable

EVENT_NAME: Final = "event.name"
"""The log attribute that says what happened, such as ``call.started``."""
DURATION_MS: Final = "duration_ms"
"""The log attribute with the time the event is about; see each event's line for which time that is."""
TRANSITION_KEYS: Final = (
    "ts",
    "level",
    "logger",
    "msg",
    "event",
    "tenant_id",
    "call_id",
    "trace_id",
    "span_id",
    "duration_ms",
)
"""What every line about an event has, in this order; ``null`` where it does not apply. Further keys follow."""
_SHORT: Final = {EVENT_NAME: "event", attr.TENANT_ID: "tenant_id", attr.CALL_ID: "call_id"}
_STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


def extra_of(record: logging.LogRecord) -> dict[str, object]:
    """What the record carries besides what every record has."""
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD and not key.startswith("otel")}


def describe_exception(kind: type[BaseException] | None, frames: TracebackType | None) -> str:
    """The exception's class and where it came from; not its message, which may quote what a caller said or dialled."""
    places = [f'File "{f.filename}", line {f.lineno}, in {f.name}' for f in traceback.extract_tb(frames)]
    return "\n".join([*places, kind.__name__ if kind else "no exception"])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: :data:`TRANSITION_KEYS`, as far as they apply, then the record's other attributes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        extra = {_SHORT.get(key, key): value for key, value in scrub_attributes(extra_of(record)).items()}
        line: dict[str, object] = dict.fromkeys(TRANSITION_KEYS) if "event" in extra else {}
        line |= {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "msg": scrub_text(record.getMessage()),
        }
        line |= extra
        line |= _trace_ids()
        if record.exc_info:
            line["exception"] = describe_exception(record.exc_info[0], record.exc_info[2])
        # A log is read in a terminal, too: what it quotes must steer nothing there.
        return printable(json.dumps(line, ensure_ascii=False, default=str))


def _trace_ids() -> dict[str, str]:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


NOISY: Final = (
    "httpcore2",
    "httpx2",
    "openai",
    "websockets",
    "urllib3",
    "grpc",
    "uvicorn.access",
    "aiosqlite",
    "asyncio",
    "alembic",
    "sqlalchemy",
)
"""Libraries that tell of every request or frame; below WARNING they would drown what the service says.

Those that exports go out by would tell of the export of what they told.
"""
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"


class OtlpLogs(LoggingHandler):
    """The contrib handler for OTLP, with what an exception or a message may quote of a caller taken out first."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a cleaned copy; other handlers see the record as it was."""
        clean = copy.copy(record)
        clean.msg, clean.args = scrub_text(record.getMessage()), None
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, frames = record.exc_info
            clean.__dict__ |= {EXCEPTION_TYPE: kind.__name__, EXCEPTION_STACKTRACE: describe_exception(kind, frames)}
        clean.exc_info = clean.exc_text = None
        super().emit(clean)


@contextmanager
def process_logging(
    level: str, provider: LoggerProvider, *further: logging.Handler, stream: TextIO | None = None
) -> Iterator[None]:
    """Log from ``level`` on to stdout and through ``provider``, until the context ends.

    Further handlers, such as the record of calls, are given everything from INFO on, whatever ``level`` is.
    """
    stdout = logging.StreamHandler(sys.stdout if stream is None else stream)
    stdout.setFormatter(JsonFormatter())
    handlers = (stdout, OtlpLogs(logger_provider=provider), *further)
    for handler in handlers[:2]:
        handler.setLevel(level)
    root = logging.getLogger()
    before = {logger: logger.level for logger in (root, *map(logging.getLogger, NOISY))}
    _set_levels(level, NOISY)
    if further:
        root.setLevel(min(root.level, logging.INFO))
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
        for logger, old in before.items():
            logger.setLevel(old)


def _set_levels(level: str, noisy: Sequence[str]) -> None:
    logging.getLogger().setLevel(level)
    for name in noisy:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
