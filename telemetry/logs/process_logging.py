"""Logging of a whole process: JSON lines on stdout, the same records over OTLP and on the calls they are about."""

import copy
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from opentelemetry._logs import Logger, LoggerProvider
from opentelemetry.instrumentation.logging.handler import LoggingHandler

from telemetry.logs.formatter import JsonFormatter, describe_exception
from telemetry.privacy import scrub_text
from telemetry.semconv.attributes import EXCEPTION_STACKTRACE, EXCEPTION_TYPE
from telemetry.semconv.catalogue import scope_version

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
"""Libraries that log every request or frame: held at WARNING.

Those that the exporters use would besides log the export of what they logged.
"""


_OURS: Final = ("callscope", "service", "telemetry")
# First parts of the names of our loggers: their scopes have our version, a library's have none that is known.


class _VersionedLoggers(LoggerProvider):
    """A provider whose loggers have the distribution's version where they are ours."""

    def __init__(self, provider: LoggerProvider) -> None:
        self._provider = provider

    def get_logger(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,  # noqa: ANN401 -- the API's type is private
    ) -> Logger:
        """Return the logger of the provider behind."""
        known = scope_version() if name.partition(".")[0] in _OURS else version
        return self._provider.get_logger(name, known, schema_url, attributes)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the provider behind, if it can."""
        flush = getattr(self._provider, "force_flush", None)
        return flush is None or bool(flush(timeout_millis))


class OtlpLogs(LoggingHandler):
    """The contrib handler for OTLP, behind the removal of what a message or an exception may quote of a caller."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a scrubbed copy; other handlers see the record as it was."""
        clean = copy.copy(record)
        clean.msg, clean.args = scrub_text(record.getMessage()), None
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, frames = record.exc_info
            clean.__dict__ |= {EXCEPTION_TYPE: kind.__name__, EXCEPTION_STACKTRACE: describe_exception(kind, frames)}
        clean.exc_info = clean.exc_text = None
        super().emit(clean)


@contextmanager
def process_logging(
    level: str,
    provider: LoggerProvider,
    *further: logging.Handler,
    stream: TextIO | None = None,
    resource: Mapping[str, object] | None = None,
) -> Iterator[None]:
    """Log from ``level`` on to stdout and through ``provider`` until the context ends.

    ``further`` handlers, such as the history of calls, get everything from INFO on, whatever ``level`` is. ``resource``
    has the attributes that say which process it is; the provider has them anyway.
    """
    stdout = logging.StreamHandler(sys.stdout if stream is None else stream)
    stdout.setFormatter(JsonFormatter(resource))
    handlers = (stdout, OtlpLogs(logger_provider=_VersionedLoggers(provider)), *further)
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
