"""Logging of a whole process: JSON lines on stdout, the same records over OTLP and on the calls they are about."""

import copy
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

from opentelemetry._logs import LoggerProvider
from opentelemetry.instrumentation.logging.handler import LoggingHandler

from telemetry.log_format import JsonFormatter, describe_exception
from telemetry.scrub import scrub_text

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
