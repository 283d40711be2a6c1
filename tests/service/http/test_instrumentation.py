"""HTTP, database and Redis spans by the instrumentations: stable names, our providers, and an end."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.http.instrumentation import OPT_IN, instrument, use_stable_conventions
from telemetry.calls.events import Phase
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit, capture
from tests.peers.peers import Peers
from tests.support import calls
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

TRACEPARENT = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelemetryKit]:
    # What the contrib packages read once for all is the process's; the tests of a process agree on the stable names.
    monkeypatch.setenv(OPT_IN, "http,database")
    with capture() as captured:
        yield captured


@pytest.fixture
def engine() -> AsyncEngine:
    return create_async_engine("sqlite+aiosqlite://")


@pytest.fixture
def app(engine: AsyncEngine) -> FastAPI:
    """An application with the paths of the service; the server's loop, which opens the connection, closes it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    made = FastAPI(lifespan=lifespan)

    async def answer() -> dict[str, bool]:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        return {"ok": True}

    for path in ("/api/v1/calls", "/api/v1/calls/{call_id}", "/livez", "/readyz", "/api/v1/health"):
        made.get(path)(answer)
    made.post("/api/v1/openai/webhook")(answer)
    return made


@pytest.fixture
def url(kit: TelemetryKit, app: FastAPI, engine: AsyncEngine) -> Iterator[str]:
    """Where the instrumented application answers."""
    stack = instrument(
        app,
        tracers=kit.tracer_provider,
        meters=kit.meter_provider,
        engine=engine,
        client=httpx2.AsyncClient(verify=TLS, timeout=TIMEOUT_SECONDS),
    )
    with serving(app) as base:
        yield base
    stack.close()


def get(url: str, **options: dict[str, str]) -> httpx2.Response:
    return httpx2.get(url, trust_env=False, **options)  # type: ignore[arg-type] # headers alone


def test_a_request_is_a_span_with_the_stable_names(kit: TelemetryKit, url: str) -> None:
    """An admin's request has its route, path and status under today's names, none under yesterday's."""
    get(f"{url}/api/v1/calls/rtc_1?tenant_id=acme")
    (span,) = kit.spans()
    assert span.name == "GET /api/v1/calls/{call_id}"
    assert span.attributes["http.route"] == "/api/v1/calls/{call_id}"
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["url.path"] == "/api/v1/calls/rtc_1"
    assert not {"http.method", "http.status_code", "http.url", "http.target"} & set(span.attributes)


def test_a_requests_statements_hang_below_it(kit: TelemetryKit, url: str) -> None:
    """What a request asks the database is part of its trace, and there are no spans for single messages."""
    get(f"{url}/api/v1/calls")
    (span,) = kit.spans()
    assert [child.name for child in span.children] == ["SELECT"]


def test_request_durations_are_seconds(kit: TelemetryKit, url: str) -> None:
    """The stable metric is recorded with our provider, under routes and not under paths."""
    get(f"{url}/api/v1/calls/rtc_1")
    metrics = kit.metrics()
    assert "http.server.duration" not in metrics
    (measured,) = metrics["http.server.request.duration"]
    assert dict(measured)["http.route"] == "/api/v1/calls/{call_id}"
    assert "rtc_1" not in str(measured)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/v1/health"])
def test_probes_make_no_spans(kit: TelemetryKit, url: str, path: str) -> None:
    """A probe every few seconds is no trace, and neither are its statements."""
    get(url + path)
    assert kit.spans() == []


def test_the_webhook_adopts_nobodys_trace(kit: TelemetryKit, url: str) -> None:
    """A trace context on a webhook becomes no parent: the request makes no span at all."""
    httpx2.post(f"{url}/api/v1/openai/webhook", headers=TRACEPARENT, trust_env=False)
    assert kit.spans() == []
    assert kit.open_spans.count == 0


async def test_the_carriers_client_is_part_of_the_call(kit: TelemetryKit, app: FastAPI, engine: AsyncEngine) -> None:
    """A request to the carrier hangs in its phase; in the record its address has no query."""
    client = httpx2.AsyncClient(verify=TLS, trust_env=False, timeout=TIMEOUT_SECONDS)
    stack = instrument(FastAPI(), tracers=kit.tracer_provider, meters=kit.meter_provider, engine=engine, client=client)
    call = calls.announced(kit)
    with serving(app) as url:
        with call.phase(Phase.ACCEPT):
            await client.get(f"{url}/api/v1/calls?token=secret")
        stack.close()
        with call.phase(Phase.CONNECT):
            await client.get(f"{url}/api/v1/calls")
    call.finish(EndReason.ERROR)
    await client.aclose()
    root = kit.spans()[0]
    (request,) = root.one("accept").children
    assert (request.name, request.attributes["http.response.status_code"]) == ("GET", 200)
    assert root.one("connect").children == ()
    record = kit.recent.call("rtc_1")
    assert record is not None
    assert record.trace is not None
    (row,) = [row for row in record.trace.spans if row.kind == "client"]
    assert row.attributes["url.full"] == f"{url}/api/v1/calls"
    assert "http.client.request.duration" in kit.metrics()


def test_closed_nothing_is_instrumented(kit: TelemetryKit, app: FastAPI, engine: AsyncEngine) -> None:
    """After the end neither requests nor statements make spans."""
    client = httpx2.AsyncClient(verify=TLS, timeout=TIMEOUT_SECONDS)
    instrument(app, tracers=kit.tracer_provider, meters=kit.meter_provider, engine=engine, client=client).close()
    with serving(app) as url:
        get(f"{url}/api/v1/calls")
    assert kit.spans() == []


def test_instrumentations_can_be_switched_off(
    kit: TelemetryKit, app: FastAPI, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard variable names what is not wanted."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "fastapi, httpx,redis , sqlalchemy")
    stack = instrument(
        app,
        tracers=kit.tracer_provider,
        meters=kit.meter_provider,
        engine=engine,
        client=httpx2.AsyncClient(verify=TLS, timeout=TIMEOUT_SECONDS),
    )
    with serving(app) as url:
        get(f"{url}/api/v1/calls")
    stack.close()
    assert kit.spans() == []


@pytest.mark.parametrize(
    ("asked", "then"),
    [
        ("", "http,database"),
        ("http", "http,database"),
        ("http/dup", "http/dup,database"),
        ("gen_ai_latest_experimental, database/dup", "gen_ai_latest_experimental,database/dup,http"),
    ],
)
def test_the_stable_conventions_are_asked_for(asked: str, then: str) -> None:
    """What the user asked for stays; what they said nothing of becomes the stable one."""
    environ = {OPT_IN: asked} if asked else {}
    use_stable_conventions(environ)
    assert environ[OPT_IN] == then


async def test_redis_commands_are_part_of_the_call(kit: TelemetryKit, engine: AsyncEngine, peers: Peers) -> None:
    """A command hangs in its phase, under its name, and in the record without what it was about."""
    connection = Redis.from_url(peers.redis().url)
    stack = instrument(
        FastAPI(),
        tracers=kit.tracer_provider,
        meters=kit.meter_provider,
        engine=engine,
        client=httpx2.AsyncClient(verify=TLS, timeout=TIMEOUT_SECONDS),
        redis=[connection],
    )
    call = calls.announced(kit)
    with call.phase(Phase.CAPACITY):
        await connection.set("caller", "+33612345678")
    stack.close()
    await connection.set("caller", "unseen")
    call.finish(EndReason.ERROR)
    await connection.aclose()
    (command,) = kit.spans()[0].one("capacity").children
    assert (command.name, command.attributes["db.system.name"]) == ("SET", "redis")
    assert "33612345678" not in repr(kit.recent.call("rtc_1"))


async def test_postgres_errors_have_their_code(kit: TelemetryKit, peers: Peers) -> None:
    """A statement on a server has the database's name, and one that fails its error code."""
    engine = create_async_engine(peers.postgres().url.replace("postgresql://", "postgresql+asyncpg://"))
    stack = instrument(
        FastAPI(),
        tracers=kit.tracer_provider,
        meters=kit.meter_provider,
        engine=engine,
        client=httpx2.AsyncClient(verify=TLS, timeout=TIMEOUT_SECONDS),
    )
    call = calls.announced(kit)
    with pytest.raises(Exception, match="division by zero"), call.phase(Phase.INSTRUCTIONS):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1 / 0"))
    stack.close()
    await engine.dispose()
    call.finish(EndReason.ERROR)
    failed = [child for child in kit.spans()[0].one("instructions").children if child.failed]
    (span,) = failed
    assert span.attributes["db.response.status_code"] == "22012"
    assert span.name == f"SELECT {span.attributes['db.namespace']}"


async def test_a_repeated_request_says_how_often_it_was_sent(
    kit: TelemetryKit, app: FastAPI, engine: AsyncEngine
) -> None:
    """The carrier's SDK tries again by itself; each try is a span, and all but the first have their number."""
    async with httpx2.AsyncClient(verify=TLS, trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        stack = instrument(app, tracers=kit.tracer_provider, meters=kit.meter_provider, engine=engine, client=client)
        with serving(app) as base, stack:
            for tries in ("0", "1", "2"):
                await client.get(f"{base}/livez", headers={"x-stainless-retry-count": tries})
    sent = [span.attributes for span in kit._finished.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert [(attributes or {}).get("http.request.resend_count") for attributes in sent] == [None, 1, 2]
