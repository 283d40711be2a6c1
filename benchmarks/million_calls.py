"""A month of call records of many tenants, the same each time, put into a database by its own bulk tools."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn

from service.records.record import COLUMNS, DurationSource, StoredCall
from service.records.store import CALLS
from service.storage.database import Database
from service.storage.migrations import NEWEST, upgrade
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import (
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    TenantId,
    UnansweredReason,
)

DAYS = 30
DAY_MS = 86_400_000
BEGIN_MS = 1_793_491_200_000
"""The first of November 2026."""

TENANTS = 200

_BATCH = 20_000
_TIMEOUT = 600.0
_COLUMNS = (*COLUMNS, "written_ms")
_OUTCOMES = (
    (0.05, CallOutcome.REJECTED),
    (0.06, CallOutcome.UNANSWERED),
    (0.07, CallOutcome.ABANDONED),
    (0.08, CallOutcome.FAILED),
    (0.35, CallOutcome.COMPLETED),
    (0.36, CallOutcome.STALE),
    (1.0, CallOutcome.HANGUP),
)
_OUTBOUND = 0.98
_STATES = {
    CallOutcome.REJECTED: CallState.REJECTED,
    CallOutcome.UNANSWERED: CallState.UNANSWERED,
    CallOutcome.ABANDONED: CallState.ABANDONED,
}
_REASONS = {
    CallOutcome.REJECTED: RejectionReason.CAPACITY,
    CallOutcome.UNANSWERED: UnansweredReason.CANCELED,
    CallOutcome.ABANDONED: EndReason.ERROR,
    CallOutcome.FAILED: EndReason.ERROR,
}


def calls(count: int, seed: int, *, begin_ms: int = BEGIN_MS, days: int = DAYS) -> Iterator[StoredCall]:
    """So many calls, in the order they were received, evenly spread over the days; small tenants and large ones."""
    chance = random.Random(seed)  # noqa: S311 -- the same calls each time, no secret
    for number in range(count):
        at_ms = begin_ms + days * DAY_MS * number // count
        yield _call(f"rtc_{seed}_{number:07d}", f"tenant-{int(TENANTS * chance.random() ** 2):03d}", at_ms, chance)


def _call(call_id: str, tenant_id: str, at_ms: int, chance: random.Random) -> StoredCall:
    drawn = chance.random()
    outcome = next(outcome for limit, outcome in _OUTCOMES if drawn < limit)
    state = _STATES.get(outcome, CallState.ENDED)
    started = at_ms + 700 if state is CallState.ENDED else None
    ran = min(4 * 3_600_000, int(chance.expovariate(1 / 180_000))) if started else 0
    reason = _REASONS.get(outcome) or EndReason(outcome.value)
    return StoredCall(
        CallId(call_id),
        TenantId(tenant_id),
        received_ms=at_ms,
        last_seen_ms=(started or at_ms) + ran,
        usage_from_ms=started or at_ms,
        instance_id=f"instance-{at_ms // (5 * DAY_MS)}",
        claim=at_ms * 1000,
        version=5,
        state=state,
        outcome=outcome,
        reason=reason.value,
        error_type="ws_1011" if outcome is CallOutcome.FAILED else None,
        fault=Fault.MODEL if outcome is CallOutcome.FAILED else None,
        direction=CallDirection.OUTBOUND if drawn > _OUTBOUND else CallDirection.INBOUND,
        source="trunk-9" if drawn > _OUTBOUND else "direct",
        decided_ms=at_ms + 300,
        started_ms=started,
        ended_ms=(started or at_ms) + ran,
        billed_ms=ran,
        duration_ms=ran if started else None,
        duration_basis=DurationBasis.STARTED if started else DurationBasis.RECEIVED,
        duration_source=DurationSource.MEASURED if started else None,
        caller_masked="***5678",
        caller_hash=f"{chance.getrandbits(128):032x}",
        dialled_masked="***0100",
        dialled_hash=f"{chance.getrandbits(128):032x}",
        input_tokens=ran // 100,
        output_tokens=ran // 300,
        trace_id=f"{chance.getrandbits(128):032x}",
        span_id=f"{chance.getrandbits(64):016x}",
    )


async def fill(url: str, records: Iterator[StoredCall], *, revision: str = NEWEST) -> int:
    """Put the records into the database, in batches; answers how many.

    A schema of an older revision takes of each what it has columns for.
    """
    async with Database.from_url(url) as database:
        await upgrade(database.engine, revision)
        async with database.engine.connect() as connection:
            there = {column["name"] for column in await connection.run_sync(_columns)}
    columns = tuple(name for name in _COLUMNS if name in there)
    if url.startswith("sqlite"):
        return await asyncio.to_thread(_fill_sqlite, Path(url.partition(":///")[2]), records, columns)
    return await _fill_postgres(url, records, columns)


def _columns(connection: Connection) -> list[ReflectedColumn]:
    return inspect(connection).get_columns(CALLS.name)


def _rows(records: Iterator[StoredCall], columns: Sequence[str]) -> Iterator[list[tuple[object, ...]]]:
    while batch := [_row(record, columns) for record in islice(records, _BATCH)]:
        yield batch


def _row(record: StoredCall, columns: Sequence[str]) -> tuple[object, ...]:
    values = record.row() | {"written_ms": record.last_seen_ms}
    # Plain texts: a driver of its own kind takes no enumeration's members.
    return tuple(str(value) if isinstance(value, str) else value for value in (values[name] for name in columns))


def _fill_sqlite(path: Path, records: Iterator[StoredCall], columns: Sequence[str]) -> int:
    places = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {CALLS.name} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 -- names of our own
    written = 0
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        for batch in _rows(records, columns):
            with connection:
                connection.executemany(statement, batch)
            written += len(batch)
    return written


async def _fill_postgres(url: str, records: Iterator[StoredCall], columns: Sequence[str]) -> int:
    written = 0
    async with Database.from_url(url) as database, database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        for batch in _rows(records, columns):
            await driver.copy_records_to_table(CALLS.name, records=batch, columns=columns, timeout=_TIMEOUT)
            written += len(batch)
        # What the server does by itself in time: an index answers alone only where it knows that all rows are visible.
        await driver.execute(f"VACUUM ANALYZE {CALLS.name}", timeout=_TIMEOUT)
    return written
