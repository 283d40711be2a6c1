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

from benchmarks import verdict
from benchmarks.million_calls import BEGIN_MS, DAY_MS, DAYS, calls, fill
from service.database import Database
from service.reconciliation.records import RecordsLedger
from service.reconciliation.window import Asked, Scope
from service.records.pages import CallPages, Place, Wanted
from service.usage.period import Grouping, Period
from service.usage.report import UsageReader
from service.usage.writing import Asked as AskedUsage
from service.usage.writing import as_json
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
        await measure("SQLite", f"sqlite+aiosqlite:///{folder}/calls.db", count)
    missing = [name for name in ("postgres", "initdb", "pg_isready") if find(name) is None]
    if missing:
        print(f"\nPostgreSQL is left out: {missing[0]} is not on this machine; `make peers` brings it")
        return
    async with postgres() as url:
        await measure("PostgreSQL", url, count)


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


async def measure(name: str, url: str, count: int) -> None:
    """Time every question with few records, then with many, and compare."""
    await fill(url, calls(FEW, seed=1))
    few = await _timed(url)
    began = time.perf_counter()
    filled = await fill(url, calls(count - FEW, seed=2))
    print(f"\n{name}: {count:,} calls of {DAYS} days ({filled / (time.perf_counter() - began):,.0f} a second put in)")
    many = await _timed(url)
    for what, (_, bound) in QUESTIONS.items():
        verdict.figure(what, many[what] * 1e3, " ms")
        verdict.at_most("  … times the same with 10,000 calls", many[what] / few[what], bound)
    await _space(url)


async def _timed(url: str) -> dict[str, float]:
    async with Database.from_url(url) as database:
        return {what: await _median(question, database) for what, (question, _) in QUESTIONS.items()}


async def _median(question: Question, database: Database) -> float:
    await question(database)
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        assert await question(database)
        taken.append(time.perf_counter() - began)
    return median(taken)


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
    asked = AskedUsage(MONTH, Grouping.parse(group_by, MONTH), tenant_id)
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
    day = Asked(Scope.FLEET, MIDDLE_MS, MIDDLE_MS + DAY_MS)
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
