"""Compares usage reports and the call list at a million call records with the same at ten thousand.

A month of calls of two hundred tenants, on SQLite and on a PostgreSQL started for it. What reads a stretch of an index
must cost the same whatever there is besides; what adds up a month grows with the month and no faster. A report by
tenant and hour, of 144,000 lines, is written in a bounded space.
"""

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks import verdict
from benchmarks.million_calls import BEGIN_MS, DAY_MS, DAYS, calls, fill
from service.reconciliation.figures import ReconcileQuery, Scope
from service.reconciliation.records import RecordsLedger
from service.records.store import CallPages, Place, Wanted
from service.storage.database import Database
from service.usage.period import Grouping, Period
from service.usage.report import UsageReader
from service.usage.serializer import UsageHead, as_json
from telemetry.recent.record import CallOutcome
from tests.peers.binaries import find
from tests.peers.postgres import Postgres

FEW: Final = 10_000
MANY: Final = 1_000_000
GROWTH: Final = MANY / FEW

REPEATS: Final = 5

PAGE_RATIO: Final = 5.0
"""How much longer a page may take among a hundred times as many calls: an index is a level deeper, a cache colder."""

USAGE_RATIO: Final = 2 * GROWTH
"""How much longer a month's sums may take with a hundred times as many calls in the month."""

SPACE_MB: Final = 32.0
"""What writing a report may take besides the rows it reads from."""

MONTH: Final = Period.parse("2026-11-01", "2026-12-01", "Europe/Berlin")

Question = Callable[[Database], Awaitable[int]]
"""Asks, and answers how much it got."""


def main() -> None:
    """Measure on each database there is."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MANY
    asyncio.run(_main(count))


async def _main(count: int) -> None:
    with TemporaryDirectory(prefix="callscope-records-") as folder:
        file = f"sqlite+aiosqlite:///{folder}/"
        await measure("SQLite", f"{file}few.db", f"{file}many.db", count)
    missing = [name for name in ("postgres", "initdb", "pg_isready") if find(name) is None]
    if missing:
        print(f"\nPostgreSQL is left out: {missing[0]} is not on this machine; `make peers` brings it")
        return
    async with postgres() as url:
        await measure("PostgreSQL", await _another(url, "few"), url, count)


async def _another(url: str, name: str) -> str:
    """One more database on the same server."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return f"{url.rpartition('/')[0]}/{name}"


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """A server of its own, from the system's package."""
    with TemporaryDirectory(prefix="callscope-postgres-log-") as folder:
        server = Postgres(Path(folder))
        try:
            await asyncio.to_thread(server.start)
            yield server.url
        finally:
            await asyncio.to_thread(server.stop)


async def measure(name: str, few_url: str, many_url: str, count: int) -> None:
    """Time every question with few records and with many, by turns, and compare."""
    await fill(few_url, calls(FEW, seed=1))
    began = time.perf_counter()
    filled = await fill(many_url, calls(count, seed=2))
    print(f"\n{name}: {count:,} calls of {DAYS} days ({filled / (time.perf_counter() - began):,.0f} a second put in)")
    async with Database.from_url(few_url) as few, Database.from_url(many_url) as many:
        for what, (question, bound) in QUESTIONS.items():
            taken_few, taken_many = await _medians(question, few, many)
            verdict.figure(what, taken_many * 1e3, " ms")
            verdict.at_most(f"  … times the same with {FEW:,} calls", taken_many / taken_few, bound)
    await _space(many_url)


async def _medians(question: Question, few: Database, many: Database) -> tuple[float, float]:
    """By turns, so that whatever else the machine does falls on both."""
    taken: dict[Database, list[float]] = {few: [], many: []}
    for turn in range(1 + REPEATS):
        for database, times in taken.items():
            began = time.perf_counter()
            assert await question(database)
            if turn:
                # The first one warms up.
                times.append(time.perf_counter() - began)
    return median(taken[few]), median(taken[many])


async def _space(url: str) -> None:
    """How much memory a long report takes while it is written."""
    async with Database.from_url(url) as database:
        await _written(database, "tenant")
        gc.collect()
        tracemalloc.start()
        length = await _written(database, "tenant,hour")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    verdict.figure("a report by tenant and hour", length / 1e6, " MB")
    verdict.at_most("  … the most memory while it is written", peak / 1e6, SPACE_MB, " MB")


# The questions --------------------------------------------------------------------------------------------------------


async def _written(database: Database, group_by: str, tenant_id: str | None = None) -> int:
    """A report as the endpoint writes it; answers its length."""
    asked = UsageHead(MONTH, Grouping.parse(group_by, MONTH), tenant_id)
    lines = UsageReader(database).lines(asked.period, asked.grouping, tenant_id=tenant_id)
    return sum([len(piece) async for piece in as_json(lines, asked)])


def usage(group_by: str, tenant_id: str | None = None) -> Question:
    """A month's usage."""
    return lambda database: _written(database, group_by, tenant_id)


def page(wanted: Wanted, after: Place | None = None) -> Question:
    """A page of the call list."""

    async def ask(database: Database) -> int:
        return len((await CallPages(database).read(wanted, limit=50, after=after)).calls)

    return ask


async def reconciled(database: Database) -> int:
    """A day's figures of every tenant, for the comparison with a metrics backend."""
    day = ReconcileQuery(Scope.FLEET, MIDDLE_MS, MIDDLE_MS + DAY_MS)
    return len(await RecordsLedger(database, "benchmark", overlap_ms=0).rows(day))


MIDDLE_MS: Final = BEGIN_MS + DAYS * DAY_MS // 2

QUESTIONS: Final[dict[str, tuple[Question, float]]] = {
    "usage of a month by day": (usage("day"), USAGE_RATIO),
    "usage of a month by tenant": (usage("tenant"), USAGE_RATIO),
    "usage of a month by tenant and day": (usage("tenant,day"), USAGE_RATIO),
    "usage of a month by outcome, one tenant": (usage("outcome", "tenant-007"), USAGE_RATIO),
    "call list, first page": (page(Wanted()), PAGE_RATIO),
    "call list, a page in the middle": (page(Wanted(), Place(MIDDLE_MS, "rtc")), PAGE_RATIO),
    "call list, first page of one tenant": (page(Wanted(tenant_id="tenant-007")), PAGE_RATIO),
    "call list, first page of a rare outcome": (page(Wanted(outcome=CallOutcome.FAILED)), PAGE_RATIO),
    "call list, first page of a tenant's rare outcome": (
        page(Wanted(tenant_id="tenant-001", outcome=CallOutcome.FAILED)),
        PAGE_RATIO,
    ),
    "call list, first page of an hour": (
        page(Wanted(since_ms=MIDDLE_MS, until_ms=MIDDLE_MS + 3_600_000)),
        PAGE_RATIO,
    ),
    "figures of a day by tenant, for reconciliation": (reconciled, USAGE_RATIO),
}
"""What is asked, and how much longer it may take among many calls."""


if __name__ == "__main__":
    main()
