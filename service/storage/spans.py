"""A span for each database statement of a call or a request, from SQLAlchemy's public events.

Attributes follow the stable database conventions. Neither the statement nor its parameters are recorded: both may hold
what a caller said or dialled. Housekeeping outside any trace makes no spans: each would be a trace of its own.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from telemetry.semconv.attributes import ERROR_TYPE
from telemetry.semconv.conventions import (
    DB_BATCH_SIZE,
    DB_NAMESPACE,
    DB_OPERATION,
    DB_STATUS,
    DB_SYSTEM,
    SERVER_ADDRESS,
    SERVER_PORT,
)

_SYSTEMS: Final = {"postgresql": "postgresql", "sqlite": "sqlite"}
# SQLAlchemy's dialect → the convention's name of the product.

_OPERATION: Final = re.compile(r"\s*([A-Za-z]{2,16})\b")
# The first word of a statement; anything else is no word of SQL's and is not recorded.

_OPEN: Final = "callscope_open_spans"
# Where a connection keeps the spans of statements under way: one, unless a statement's events run another.


class DatabaseSpans:
    """Makes the spans of one engine, from construction to :meth:`close`."""

    def __init__(self, engine: AsyncEngine, tracer: Tracer) -> None:
        self._tracer = tracer
        self._engine = engine.sync_engine
        self._server = _server(engine.url)
        self._listeners: Mapping[str, Callable[..., None]] = {
            "before_cursor_execute": self._begin,
            "after_cursor_execute": self._end,
            "handle_error": self._fail,
        }
        for name, listener in self._listeners.items():
            event.listen(self._engine, name, listener)

    def close(self) -> None:
        """Stop making spans."""
        for name, listener in self._listeners.items():
            event.remove(self._engine, name, listener)

    def _begin(
        self,
        connection: Connection,
        _cursor: object,
        statement: str,
        parameters: Any,  # noqa: ANN401 -- the driver's own types
        _context: object,
        executemany: bool,
    ) -> None:
        traced = trace.get_current_span().get_span_context().is_valid
        span = self._span(statement, len(parameters) if executemany else 1) if traced else None
        connection.info.setdefault(_OPEN, []).append(span)

    def _span(self, statement: str, count: int) -> Span:
        described = dict(self._server)
        found = _OPERATION.match(statement)
        operation = found.group(1).upper() if found else "OTHER"
        described[DB_OPERATION] = operation
        if count > 1:
            described[DB_BATCH_SIZE] = count
        name = f"{operation} {described[DB_NAMESPACE]}" if DB_NAMESPACE in described else operation
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=described)

    def _end(self, connection: Connection, *_details: object) -> None:
        span = _taken(connection)
        if span is not None:
            span.end()

    def _fail(self, context: ExceptionContext) -> None:
        span = None if context.connection is None else _taken(context.connection)
        if span is None:
            return
        original = context.original_exception
        span.set_attribute(ERROR_TYPE, type(original).__name__)
        state = getattr(original, "sqlstate", None)
        if state:
            span.set_attribute(DB_STATUS, str(state))
        span.set_status(Status(StatusCode.ERROR))
        span.end()


def _taken(connection: Connection) -> Span | None:
    """Return the span of the statement that has just ended on this connection, if it has one."""
    spans: list[Span | None] = connection.info.get(_OPEN, [])
    return spans.pop() if spans else None


def _server(url: URL) -> dict[str, AttributeValue]:
    """Return the attributes of the server; for an embedded database neither its file's path nor its folder's name."""
    system = url.get_backend_name()
    described: dict[str, AttributeValue] = {DB_SYSTEM: _SYSTEMS.get(system, system)}
    if url.host:
        described[SERVER_ADDRESS] = url.host
        if url.database:
            described[DB_NAMESPACE] = url.database
        if url.port:
            described[SERVER_PORT] = url.port
    return described
