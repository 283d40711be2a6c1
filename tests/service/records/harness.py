"""Processes that keep records, in miniature: each a tracker whose events go to a `CallRecords` of its own."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import select

from service.records.calls import CallRecords
from service.records.record import Row
from service.records.store import CALLS
from service.records.writer import Pace
from service.storage.database import Database
from telemetry.calls.call import Call
from telemetry.calls.tracker import CallTracker
from telemetry.privacy import Privacy
from telemetry.testing import FakeClock

BUDGET = 180.0
"""Seconds a flush may take on a busy machine."""

QUICK = Pace(interval=0.01, attempt=BUDGET, first_pause=0.01, longest_pause=0.05)
"""A writer that does not let a test wait."""

CALLER, DIALLED = "+4915123456789", "+18005550100"


@dataclass
class Keeper:
    """One process: its records, and the tracker that feeds them."""

    records: CallRecords
    tracker: CallTracker

    def call(self, call_id: str = "rtc_1", tenant_id: str = "acme") -> Call:
        """A call that has just been announced."""
        return self.tracker.received(call_id, tenant_id, caller=CALLER, dialled=DIALLED)

    def running(self, call_id: str = "rtc_1", tenant_id: str = "acme") -> Call:
        """A call that runs."""
        call = self.call(call_id, tenant_id)
        call.accepted()
        call.started()
        return call

    async def flushed(self) -> None:
        """Wait until the database has everything."""
        assert await self.records.flush(BUDGET), self.records.health()

    async def die(self) -> None:
        """End as a crash would: nothing more is written, the operating system lets go of the lock."""
        await self.records.halt()
        for lock in list(self.records._spill._locks):
            self.records._spill._unlock(lock, remove=False)
        self.records._stopped = True


class RecordsHarness:
    """Starts processes on one database, and ends those still running."""

    def __init__(self, database: Database, clock: FakeClock, folder: Path) -> None:
        self.database = database
        self.clock = clock
        self.folder = folder
        self._stack = AsyncExitStack()

    async def keeper(
        self, instance_id: str = "one", *, database: Database | None = None, spill_bytes: int = 1_000_000
    ) -> Keeper:
        """A process that has started."""
        records = CallRecords(
            database or self.database,
            instance_id=instance_id,
            spill_folder=self.folder,
            clock=self.clock,
            privacy=Privacy(b"a key for these tests"),
            pace=QUICK,
            spill_bytes=spill_bytes,
        )
        await records.start()
        self._stack.push_async_callback(records.stop, 1.0)
        return Keeper(records, CallTracker(records.sink, clock=self.clock))

    async def rows(self) -> dict[str, Row]:
        """What the database has, by call."""
        async with self.database.reading() as session:
            found = await session.execute(select(CALLS))
            return {row["call_id"]: dict(row) for row in found.mappings()}

    async def row(self, call_id: str = "rtc_1") -> Row:
        """What the database has of one call."""
        return (await self.rows())[call_id]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
