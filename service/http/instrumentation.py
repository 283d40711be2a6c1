"""Spans and metrics of HTTP, Redis and the database, by the contrib instrumentations as far as there are any.

Nothing is patched for the whole process: this application, this client and this engine are instrumented, with the
providers they are given, until the returned stack is closed. Code outside a call or a request makes no database spans.
"""

import os
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from typing import Final

import httpx2
from fastapi import FastAPI
from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_DISABLED_INSTRUMENTATIONS
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from service.storage.spans import DatabaseSpans

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""The standard variable that says which conventions the contrib instrumentations follow."""

STABLE: Final = ("http", "database")
"""Conventions that are chosen where the variable names none: the stable ones, not those of before."""

UNTRACED: Final = (
    r"^[a-z]+://[^/]+/api/v1/openai/webhook",
    r"^[a-z]+://[^/]+/(livez|readyz|api/v1/health)",
)
"""Requests without a span: probes, which say nothing, and the carrier's webhook, whose trace is the call's own. A
``traceparent`` on it comes from outside and is linked there; here it would become the parent."""

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
    redis: Sequence[Redis] = (),
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
        HTTPX2ClientInstrumentor.instrument_client(client, tracer_provider=tracers, meter_provider=meters)
        undo.callback(HTTPX2ClientInstrumentor.uninstrument_client, client)
    if "redis" not in disabled:
        for connection in redis:
            RedisInstrumentor.instrument_client(connection, tracer_provider=tracers)
            undo.callback(RedisInstrumentor.uninstrument_client, connection)
    if "sqlalchemy" not in disabled:
        undo.callback(DatabaseSpans(engine, tracers.get_tracer(_SCOPE)).close)
    return undo
