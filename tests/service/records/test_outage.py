"""The database away, and the disk full too: calls go on, and what could be kept arrives once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from service.records.calls import RecordsState
from service.records.writer import Durability
from service.storage.database import Database
from service.storage.migrations import upgrade
from telemetry.semconv.attributes import CallId, EndReason
from telemetry.testing import FakeClock
from tests.peers.peers import Peers
from tests.service.records.harness import BUDGET, Keeper, RecordsHarness

TIMEOUT = 60.0
"""Seconds until something must have happened on a busy machine."""


async def _until(keeper: Keeper, state: RecordsState) -> None:
    async with asyncio.timeout(TIMEOUT):
        while keeper.records.health().state is not state:
            keeper.tracker.bill_running()
            await asyncio.sleep(0.01)


class SmallDisk:
    """Makes a SQLite database behave as on a full disk: the file cannot grow while it is `full`."""

    def __init__(self, database: Database) -> None:
        self.full = False
        for engine in database.engines:
            event.listen(engine, "checkout", self._limit)

    def _limit(self, connection: DBAPIConnection, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {1 if self.full else 1_000_000}")
        cursor.close()

    @contextmanager
    def filled(self) -> Iterator[None]:
        """No room inside."""
        self.full = True
        yield
        self.full = False


async def _work(keeper: Keeper, harness: RecordsHarness, prefix: str, count: int) -> None:
    """Calls come and go, each of them waiting for its record as the admission does."""
    for number in range(count):
        call = keeper.running(f"{prefix}_{number}")
        assert await keeper.records.ensure_written(call.call_id, BUDGET) is not Durability.MEMORY
        harness.clock.advance(1)
        call.heartbeat()
        harness.clock.advance(1)
        call.ended(EndReason.HANGUP)


@pytest.mark.peers
async def test_a_stopped_postgresql_costs_no_record(peers: Peers, clock: FakeClock, tmp_path: Path) -> None:
    """Calls before, during and after an outage each have one row with their two seconds, and nothing waits."""
    server = peers.postgres()
    async with Database.from_url(server.url) as database:
        await upgrade(database.engine)
        async with RecordsHarness(database, clock, tmp_path / "spill") as harness:
            keeper = await harness.keeper()
            across = keeper.running("across")
            await _work(keeper, harness, "before", 5)
            server.kill()
            await _work(keeper, harness, "during", 50)
            assert keeper.records.health().state is RecordsState.SPILLING
            assert keeper.records.health().spilled_bytes > 0
            server.start()
            await _work(keeper, harness, "after", 5)
            across.ended(EndReason.COMPLETED)
            async with asyncio.timeout(TIMEOUT):
                while not await keeper.records.flush(1):
                    pass
            rows = await harness.rows()
            assert len(rows) == 61
            assert {r["duration_ms"] for i, r in rows.items() if i != "across"} == {2000}
            assert rows["across"]["duration_ms"] == 120_000
            health = keeper.records.health()
            assert (health.state, health.refused, health.spilled_bytes) == (RecordsState.WRITING, 0, 0)


@pytest.mark.peers
async def test_a_crash_during_the_outage_costs_no_record(peers: Peers, clock: FakeClock, tmp_path: Path) -> None:
    """The process dies while the database is away: the next one replays the spill before it looks for open calls."""
    server = peers.postgres()
    async with Database.from_url(server.url) as database:
        await upgrade(database.engine)
        async with RecordsHarness(database, clock, tmp_path / "spill") as harness:
            dead = await harness.keeper("dead")
            await _work(dead, harness, "before", 2)
            server.kill()
            await _work(dead, harness, "during", 10)
            running = dead.running("running")
            clock.advance(5)
            running.heartbeat()
            assert await dead.records.ensure_written(running.call_id, BUDGET) is Durability.SPILL
            await dead.die()
            next_one = await harness.keeper("next")
            assert await next_one.records.recover() == []
            server.start()
            async with asyncio.timeout(TIMEOUT):
                while not (found := await next_one.records.recover()):
                    await next_one.records.flush(0.05)
            (orphan,) = found
            assert (orphan.call_id, orphan.billed_until_ms) == ("running", (orphan.started_ms or 0) + 5000)
            rows = await harness.rows()
            assert len(rows) == 13
            assert {r["duration_ms"] for i, r in rows.items() if i != "running"} == {2000}


async def test_a_full_disk_below_sqlite_spills(clock: FakeClock, tmp_path: Path) -> None:
    """When the database file cannot grow, records go to the spill, and arrive once there is room."""
    async with Database.from_url(f"sqlite:///{tmp_path / 'callscope.db'}") as database:
        await upgrade(database.engine)
        disk = SmallDisk(database)
        async with RecordsHarness(database, clock, tmp_path / "spill") as harness:
            keeper = await harness.keeper()
            with disk.filled():
                await _work(keeper, harness, "during", 200)
                await _until(keeper, RecordsState.SPILLING)
                assert keeper.records.health().last_error == "OperationalError"
            await _work(keeper, harness, "after", 2)
            await keeper.flushed()
            rows = await harness.rows()
            assert len(rows) == 202
            assert {row["duration_ms"] for row in rows.values()} == {2000}


async def test_neither_database_nor_disk_is_a_clear_state_and_calls_go_on(clock: FakeClock, tmp_path: Path) -> None:
    """With no room anywhere the state says so, a call that waits for its record is told, and all arrives later."""
    async with Database.from_url(f"sqlite:///{tmp_path / 'callscope.db'}") as database:
        await upgrade(database.engine)
        disk = SmallDisk(database)
        async with RecordsHarness(database, clock, tmp_path / "spill") as harness:
            keeper = await harness.keeper(spill_bytes=1)
            with disk.filled():
                calls = [keeper.running(f"rtc_{number}") for number in range(300)]
                await _until(keeper, RecordsState.REFUSING)
                assert await keeper.records.ensure_written(CallId("rtc_299"), 0.2) is Durability.MEMORY
                clock.advance(3)
                for call in calls:
                    call.ended(EndReason.COMPLETED)
                health = keeper.records.health()
                assert health.waiting > 0
                assert health.refused == 0
                assert health.spilled_bytes == 0
            await keeper.flushed()
            rows = await harness.rows()
            assert len(rows) == 300
            assert {row["duration_ms"] for row in rows.values()} == {3000}
            assert keeper.records.health().state is RecordsState.WRITING


async def test_past_every_bound_each_lost_record_is_counted(clock: FakeClock, tmp_path: Path) -> None:
    """Ended calls that find room nowhere are counted one by one; the others all arrive."""
    async with Database.from_url(f"sqlite:///{tmp_path / 'callscope.db'}") as database:
        await upgrade(database.engine)
        disk = SmallDisk(database)
        async with RecordsHarness(database, clock, tmp_path / "spill") as harness:
            keeper = await harness.keeper(spill_bytes=1)
            keeper.records._ledger._max_closed = 100
            with disk.filled():
                for number in range(90):
                    keeper.running(f"open_{number}", "x" * 60)
                await _until(keeper, RecordsState.REFUSING)
                for number in range(1000):
                    keeper.running(f"rtc_{number}").ended(EndReason.COMPLETED)
            await keeper.flushed()
            refused = keeper.records.health().refused
            assert refused > 0
            assert len(await harness.rows()) + refused == 1090


async def test_a_stop_without_a_database_leaves_everything_for_the_next_start(clock: FakeClock, tmp_path: Path) -> None:
    """What a stopping process cannot write in time it spills, and the next process writes it."""
    async with Database.from_url(f"sqlite:///{tmp_path / 'callscope.db'}") as database:
        await upgrade(database.engine)
        disk = SmallDisk(database)
        async with RecordsHarness(database, clock, tmp_path / "spill") as harness:
            first = await harness.keeper("first")
            with disk.filled():
                for number in range(200):
                    first.running(f"rtc_{number}").ended(EndReason.COMPLETED)
                await first.records.stop(0.2)
            second = await harness.keeper("second")
            await second.flushed()
            assert len(await harness.rows()) == 200
