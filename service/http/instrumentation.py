"""Spans and metrics of HTTP, Redis and the database, by the contrib instrumentations as far as there are any.

Nothing is patched for the whole process: this application, this client and this engine are instrumented, with the
providers they are given, until the returned stack is closed. Code outside a call or a request makes no database spans.
"""

import os
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import httpx2
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_DISABLED_INSTRUMENTATIONS
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, RequestInfo
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from telemetry.semconv.attributes import (
    DB_BATCH_SIZE,
    DB_NAMESPACE,
    DB_OPERATION,
    DB_STATUS,
    DB_SYSTEM,
    ERROR_TYPE,
    HTTP_RESEND_COUNT,
    SERVER_ADDRESS,
    SERVER_PORT,
)
from telemetry.semconv.catalogue import scope_version

if TYPE_CHECKING:
    from redis.asyncio import Redis

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""The standard variable that says which conventions the contrib instrumentations follow."""

STABLE: Final = ("http", "database")
"""Conventions that are chosen where the variable names none: the stable ones, not those of before."""

UNTRACED: Final = (
    r"^[a-z]+://[^/]+/api/v1/openai/webhook",
    r"^[a-z]+://[^/]+/(livez|readyz|api/v1/health)",
    r"^[a-z]+://[^/]+/(live(/|\?|$)|static/)",
)
"""Requests without a span: probes, which say nothing; streams of a page, which last for hours; and the carrier's
webhook, whose trace is the call's own. A ``traceparent`` on it comes from outside and is linked there; here it would
become the parent."""

_SCOPE: Final = "callscope.database"


def use_stable_conventions(environ: MutableMapping[str, str]) -> None:
    """Ask for the stable conventions, unless the user chose others; before anything is instrumented."""
    chosen = [name.strip() for name in environ.get(OPT_IN, "").split(",") if name.strip()]
    missing = [name for name in STABLE if not any(word in (name, f"{name}/dup") for word in chosen)]
    environ[OPT_IN] = ",".join([*chosen, *missing])


def instrument(
    app: FastAPI,
    *,
    tracers: TracerProvider,
    meters: MeterProvider,
    engine: AsyncEngine,
    client: httpx2.AsyncClient,
    redis: "Sequence[Redis]" = (),
) -> ExitStack:
    """Instrument these parts, before the application serves; closing the stack undoes it.

    ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` switches off what it names: ``fastapi``, ``httpx``, ``redis``,
    ``sqlalchemy``.
    """
    use_stable_conventions(os.environ)
    disabled = {name.strip() for name in os.environ.get(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, "").split(",")}
    undo = ExitStack()
    if "fastapi" not in disabled:
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=tracers,
            meter_provider=meters,
            excluded_urls=",".join(UNTRACED),
            exclude_spans=["receive", "send"],
        )
        undo.callback(FastAPIInstrumentor.uninstrument_app, app)
    if "httpx" not in disabled:
        HTTPX2ClientInstrumentor.instrument_client(
            client, tracer_provider=tracers, meter_provider=meters, request_hook=_tell_resends
        )
        undo.callback(HTTPX2ClientInstrumentor.uninstrument_client, client)
    if redis and "redis" not in disabled:
        # Loads redis, which a service without a fleet need not have.
        from opentelemetry.instrumentation.redis import RedisInstrumentor  # noqa: PLC0415

        for connection in redis:
            RedisInstrumentor.instrument_client(connection, tracer_provider=tracers)
            undo.callback(RedisInstrumentor.uninstrument_client, connection)
    if "sqlalchemy" not in disabled:
        undo.callback(DatabaseSpans(engine, tracers.get_tracer(_SCOPE, scope_version())).close)
    return undo


_RETRY_COUNT: Final = "x-stainless-retry-count"
# The carrier's SDK says so of each request it sends.


async def _tell_resends(span: Span, request: RequestInfo) -> None:
    """Say on a request's span how often it had been sent before; nothing on the first."""
    count = request.headers.get(_RETRY_COUNT, "") if request.headers is not None else ""
    if count.isdigit() and int(count):
        span.set_attribute(HTTP_RESEND_COUNT, int(count))


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
