"""Database statements as spans: where they belong, what they say, and what they never say."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.http.instrumentation import DatabaseSpans
from telemetry.calls.events import Phase
from telemetry.semconv.attributes import EndReason
from telemetry.testing import SpanTree, TelemetryKit, capture
from tests.support import calls

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) SELECT max(i) FROM n"
"""A statement that takes a second or more; the driver's thread finishes it whoever has lost interest."""


@pytest.fixture
def kit() -> Iterator[TelemetryKit]:
    with capture() as captured:
        yield captured


@pytest.fixture
async def engine(kit: TelemetryKit) -> AsyncIterator[AsyncEngine]:
    """A database in memory whose statements make spans."""
    made = create_async_engine("sqlite+aiosqlite://")
    spans = DatabaseSpans(made, kit.tracer_provider.get_tracer("callscope.database"))
    async with made.begin() as connection:
        await connection.execute(text("CREATE TABLE numbers (number TEXT UNIQUE)"))
    yield made
    spans.close()
    await made.dispose()


async def run(engine: AsyncEngine, statement: str, *rows: dict[str, str]) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), list(rows) or None)


async def in_a_call(kit: TelemetryKit, engine: AsyncEngine, statement: str, *rows: dict[str, str]) -> SpanTree:
    """The tenant look-up's span, within which the statement ran."""
    call = calls.announced(kit)
    with call.phase(Phase.INSTRUCTIONS):
        await run(engine, statement, *rows)
    call.finish(EndReason.ERROR)
    return kit.spans()[0].one("instructions")


async def test_a_statement_of_a_call_hangs_in_its_phase(kit: TelemetryKit, engine: AsyncEngine) -> None:
    """What a phase asks the database is a client span below it, named by operation, with the stable attributes."""
    phase = await in_a_call(kit, engine, "SELECT * FROM numbers WHERE number = :n", {"n": "+33612345678"})
    (span,) = phase.children
    assert span.name == "SELECT"
    assert span.attributes == {"db.system.name": "sqlite", "db.operation.name": "SELECT"}
    assert not span.failed


async def test_neither_statement_nor_values_are_recorded(kit: TelemetryKit, engine: AsyncEngine) -> None:
    """Nothing of a statement but its first word is on the span, and several rows are counted."""
    rows = [{"n": "+33612345678"}, {"n": "secret"}]
    phase = await in_a_call(kit, engine, "INSERT INTO numbers VALUES (:n)", *rows)
    (span,) = phase.children
    assert span.attributes == {
        "db.system.name": "sqlite",
        "db.operation.name": "INSERT",
        "db.operation.batch.size": 2,
    }
    assert "numbers" not in repr(span)


async def test_a_failed_statement_says_what_kind_of_error(kit: TelemetryKit, engine: AsyncEngine) -> None:
    """An error is the span's status and type; its message, which has the values in it, is not there."""
    await run(engine, "INSERT INTO numbers VALUES ('secret')")
    with pytest.raises(DBAPIError):
        await in_a_call(kit, engine, "INSERT INTO numbers VALUES ('secret')")
    kit.tracker.call("rtc_1").finish(EndReason.ERROR)
    (span,) = kit.spans()[0].one("instructions").children
    assert (span.failed, span.attributes["error.type"], span.events) == (True, "IntegrityError", ())
    assert "secret" not in repr(span)


async def test_housekeeping_makes_no_spans(kit: TelemetryKit, engine: AsyncEngine) -> None:
    """Statements outside any call or request are not worth a trace of their own."""
    await run(engine, "SELECT 1")
    assert kit.spans() == []
    assert kit.open_spans.count == 0


async def test_a_cancelled_statement_leaves_no_span_open(kit: TelemetryKit, engine: AsyncEngine) -> None:
    """A statement whose task is cancelled ends its span, as failed."""
    call = calls.announced(kit)
    with call.phase(Phase.INSTRUCTIONS):
        task = asyncio.create_task(run(engine, ENDLESS))
        while not any(span.name == "WITH" for span in kit.open_spans.of_trace(_trace(kit))):  # noqa: ASYNC110 -- a span that begins wakes nobody
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    call.finish(EndReason.ERROR)
    (span,) = kit.spans()[0].one("instructions").children
    assert (span.failed, span.attributes["error.type"]) == (True, "CancelledError")
    assert kit.open_spans.count == 0


def _trace(kit: TelemetryKit) -> int:
    record = kit.recent.call("rtc_1")
    assert record is not None
    assert record.trace is not None
    return int(record.trace.trace_id, 16)


async def test_closed_it_makes_no_more(kit: TelemetryKit) -> None:
    """After its end an engine is as it was."""
    engine = create_async_engine("sqlite+aiosqlite://")
    DatabaseSpans(engine, kit.tracer_provider.get_tracer("x")).close()
    phase = await in_a_call(kit, engine, "SELECT 1")
    assert phase.children == ()
    await engine.dispose()


@pytest.mark.parametrize(
    ("url", "described", "name"),
    [
        (
            "postgresql+asyncpg://user:secret@db.example:5433/callscope",
            {
                "db.system.name": "postgresql",
                "db.namespace": "callscope",
                "server.address": "db.example",
                "server.port": 5433,
                "db.operation.name": "SELECT",
            },
            "SELECT callscope",
        ),
        (
            "sqlite+aiosqlite:////home/alice/secret.db",
            {"db.system.name": "sqlite", "db.operation.name": "SELECT"},
            "SELECT",
        ),
    ],
)
def test_a_server_is_named_an_embedded_file_is_not(
    kit: TelemetryKit, url: str, described: dict[str, object], name: str
) -> None:
    """A server's address, port and database are on the span; user, password and a file's path are not."""
    tracer = kit.tracer_provider.get_tracer("x")
    spans = DatabaseSpans(create_async_engine(url), tracer)
    with tracer.start_as_current_span("request"):
        span = spans._span("select 1", 1)
    span.end()
    (request,) = kit.spans()
    (made,) = request.children
    assert (made.name, made.attributes) == (name, described)
    spans.close()
