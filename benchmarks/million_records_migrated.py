"""Migrates a million call records from the schema of the version before, and compares usage before and after.

On SQLite and on a PostgreSQL started for it. The start of a service waits for its migrations, so they must not rewrite
what is there.
"""

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import text

from benchmarks import verdict
from benchmarks.million_call_records import MANY, MONTH, postgres
from benchmarks.million_calls import calls, fill
from service.records.store import CallPages, Wanted
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.usage.period import Grouping
from service.usage.report import UsageReader
from service.usage.serializer import UsageHead, as_json
from telemetry.semconv.attributes import CallDirection

BEFORE: Final = "0008"
"""The revision of the version before."""

GROUPINGS: Final = ("tenant,day", "outcome")

COPIES: Final = 50
"""Calls that are made of each: putting a million in one by one takes longer than all that is measured."""

STEP_MS: Final = 997
MOMENTS: Final = frozenset(
    {"received_ms", "decided_ms", "started_ms", "ended_ms", "last_seen_ms", "usage_from_ms", "written_ms"}
)

MIGRATION_SECONDS: Final = 60.0
"""The longest that a start may wait for its migrations."""


def main() -> None:
    """Migrate on the databases named on the command line, or on both."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MANY
    asyncio.run(_main(count, set(sys.argv[2:]) or {"sqlite", "postgresql"}))


async def _main(count: int, names: set[str]) -> None:
    if "sqlite" in names:
        with TemporaryDirectory(prefix="callscope-migrated-") as folder:
            await _measure("SQLite", f"sqlite+aiosqlite:///{Path(folder) / 'calls.db'}", count)
    if "postgresql" in names:
        async with postgres() as url:
            await _measure("PostgreSQL", url, count)


async def _measure(name: str, url: str, count: int) -> None:
    began = time.perf_counter()
    await fill(url, calls(count // COPIES, seed=1), revision=BEFORE)
    async with Database.from_url(url) as database:
        filled = await _copy(database, COPIES - 1)
        _tell(f"\n{name}: {filled:,} calls at revision {BEFORE} ({time.perf_counter() - began:.0f} s to put in)")
        began = time.perf_counter()
        before = await usage(database)
        _tell(f"  usage was read in {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        await upgrade(database.engine)
        verdict.at_most("migrating", time.perf_counter() - began, MIGRATION_SECONDS, " s")
        after = await usage(database)
        for grouping in GROUPINGS:
            verdict.figure(f"usage by {grouping}, before", len(before[grouping]) / 1e6, " MB")
            verdict.at_most("  … bytes of it that differ after", _differing(before[grouping], after[grouping]), 0)
        async with database.reading() as session:
            told = await session.scalar(
                text("SELECT count(*) FROM call_records WHERE direction = 'inbound' AND source = 'direct'")
            )
        verdict.at_least("calls that came in, reported by the process", told or 0, filled)
        began = time.perf_counter()
        page = await CallPages(database).read(Wanted(direction=CallDirection.OUTBOUND), limit=50)
        verdict.figure("outbound calls among them, first page", (time.perf_counter() - began) * 1e3, " ms")
        verdict.at_most("  … calls on it", len(page.calls), 0)


async def _copy(database: Database, copies: int) -> int:
    """Copy every call so many times, each a little later, in the database itself; return how many there are then."""
    async with database.engine.connect() as connection:
        rows = await connection.execute(text("SELECT * FROM call_records LIMIT 1"))
        columns = list(rows.keys())
        await connection.rollback()
        later = {name: f"{name} + {STEP_MS} * n" for name in columns if name in MOMENTS}
        values = later | {"call_id": "call_id || '_' || n", "claim": f"claim + {1000 * STEP_MS} * n"}
        numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :copies)"
        chosen = ", ".join(values.get(name, name) for name in columns)
        if connection.dialect.name == "sqlite":
            statement = f"INSERT INTO call_records ({', '.join(columns)}) {numbers}"
        else:
            statement = f"{numbers} INSERT INTO call_records ({', '.join(columns)})"
        copying = f"{statement} SELECT {chosen} FROM call_records, numbers"  # noqa: S608 -- names of our own columns
        await connection.execute(text(copying), {"copies": copies})
        count = await connection.scalar(text("SELECT count(*) FROM call_records"))
        await connection.commit()
    return int(count or 0)


def _tell(words: str) -> None:
    """Print at once: whoever waits for minutes wants to see how far it is."""
    print(words, flush=True)


async def usage(database: Database) -> dict[str, bytes]:
    """Return a month's usage as the endpoint writes it, by each grouping."""
    reports = {}
    for group_by in GROUPINGS:
        asked = UsageHead(MONTH, Grouping.parse(group_by, MONTH), None)
        lines = UsageReader(database).lines(asked.period, asked.grouping, tenant_id=None)
        reports[group_by] = b"".join([piece async for piece in as_json(lines, asked)])
    return reports


def _differing(one: bytes, other: bytes) -> int:
    return abs(len(one) - len(other)) + sum(a != b for a, b in zip(one, other, strict=False))


if __name__ == "__main__":
    main()
