"""The face of the durable side: what the gateway holds to keep call records."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from service.records.ledger import CallLedger
from service.records.record import CallRecord
from service.records.recovery import Instances, OrphanedCall, Watch, claim
from service.records.spill import MAX_BYTES, Spill
from service.records.store import RecordStore
from service.records.writer import Kept, Pace, RecordWriter
from service.storage.database import DATABASE_ERRORS, Database
from telemetry.calls.sinks import Contexts, Sink
from telemetry.clock import Clock, SystemClock
from telemetry.privacy import Privacy
from telemetry.semconv.attributes import CallId


class RecordsState(StrEnum):
    """How safe records are at the moment, from best to worst."""

    WRITING = "writing"
    """The database takes everything."""
    CATCHING_UP = "catching_up"
    """The database takes everything; what was spilled is being replayed."""
    SPILLING = "spilling"
    """The database is away; records are safe on the local disk."""
    REFUSING = "refusing"
    """Neither the database nor the local disk takes records: they wait in memory, and past its bound they are lost."""


@dataclass(frozen=True, slots=True)
class RecordsHealth:
    """For ``/readyz``: calls go on in every state."""

    state: RecordsState
    open: int
    """Calls whose records are open."""
    waiting: int
    """Records that wait to be written."""
    spilled_bytes: int
    refused: int
    """Records lost since the start."""
    unkept: int
    """Calls that went on since the start although their record was, at that moment, kept nowhere but in memory."""
    damaged_lines: int
    """Spilled states found unreadable since the start."""
    database_away_seconds: float | None
    last_error: str | None
    """The kind of the last failure since the start."""


_logger = logging.getLogger(__name__)
BEAT_SECONDS = 5.0
"""How often a process shows that it lives."""
MISSED_BEATS = 3
"""A process that misses so many while it is watched is dead."""
_PATIENCE = 0.05
# Seconds between two looks at whether the database is back.
_SPILLED_AT_ONCE = 1_000


class CallRecords:
    """One row a call, for as long as the process runs: :meth:`start`, :meth:`stop`, and in between the :attr:`sink`.

    ``instance_id`` must be new with each process. In ``spill_folder`` processes of one machine that share a database
    leave what the database does not take; give all of them the same.
    """

    def __init__(
        self,
        database: Database,
        *,
        instance_id: str,
        spill_folder: Path,
        clock: Clock | None = None,
        privacy: Privacy | None = None,
        pace: Pace | None = None,
        beat_seconds: float = BEAT_SECONDS,
        spill_bytes: int = MAX_BYTES,
    ) -> None:
        self._database = database
        self._instance_id = instance_id
        self._clock = clock or SystemClock()
        self._beat_seconds = beat_seconds
        self._ledger = CallLedger(instance_id, privacy=privacy)
        self._spill = Spill(spill_folder, instance_id, max_bytes=spill_bytes)
        self._store = RecordStore(database, self._clock)
        self._writer = RecordWriter(self._ledger, self._store, self._spill, pace)
        self._instances = Instances(database, instance_id, self._clock)
        self._watch = Watch(MISSED_BEATS * beat_seconds)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def sink(self) -> Sink:
        """Takes the events of calls; never blocks."""
        return self._ledger

    def trace_by(self, contexts: Contexts) -> None:
        """Where calls' trace ids come from; records of calls received before this have none."""
        self._ledger.contexts = contexts

    # Lifecycle --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to write. The database may be away; the folder must be usable (:class:`SpillFolderError`)."""
        await asyncio.to_thread(self._spill.open)
        await asyncio.to_thread(self._spill.adopt)
        await self._beat()
        self._tasks = [
            asyncio.create_task(self._writer.run(), name="callscope-records"),
            asyncio.create_task(self._keep_beating(), name="callscope-instance"),
        ]

    async def flush(self, budget_seconds: float) -> bool:
        """Write what waits; true if the database has everything, spilled records too, within the budget."""
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await self._writer.next_round()
                while not self._writer.settled:
                    await asyncio.sleep(_PATIENCE if self._writer.away or not self._spill.empty else 0)
                    await self._writer.next_round()
        return self._writer.settled

    async def written_so_far(self, budget_seconds: float) -> bool:
        """Wait until the database has what was reported before this call, whatever is reported meanwhile.

        False if it has not within the budget.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await self._writer.next_round()
                waiting = self._ledger.waiting()
                while not (self._spill.empty and all(held.stored >= version for held, version in waiting)):
                    await asyncio.sleep(_PATIENCE if self._writer.away or not self._spill.empty else 0)
                    await self._writer.next_round()
                return True
        return False

    async def hand_over(self, budget_seconds: float) -> int:
        """Leave the running calls to the next process; answers how many. Their end is not reported here any more.

        For a stop while calls are to go on: call it once no new call is taken, before the sessions are let go.
        """
        left = self._ledger.hand_over(self._clock.now())
        await self.flush(budget_seconds)
        return left

    async def stop(self, budget_seconds: float) -> None:
        """Write what waits, spill what cannot be written in time, and stop. A second call does nothing."""
        if self._stopped or not self._tasks:
            return
        self._stopped = True
        await self.flush(budget_seconds / 2)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._spill_rest()
        await self._sign_off(budget_seconds / 2)
        await asyncio.to_thread(self._spill.close)

    # Calls ------------------------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Write now what waits, though nobody waits for it: a start, say, that a crash should not undo."""
        self._writer.hurry()

    async def ensure_written(self, call_id: CallId, budget_seconds: float) -> Kept:
        """Wait until the call's record outlives this process; answers where it is, at the latest after the budget.

        A quarter of the budget is the database's; then the record is spilled. ``MEMORY`` says that neither took it in
        time: the call can go on, but would not survive a crash unrecorded.
        """
        held = self._ledger.held(call_id)
        if held is None:
            return Kept.MEMORY if self._refuses else Kept.DATABASE
        return await self._writer.kept(held, budget_seconds)

    async def find(self, call_id: CallId) -> CallRecord | None:
        """The call as the database has it, whichever process held it; raises what the database raises."""
        return await self._store.find(call_id)

    # Recovery ---------------------------------------------------------------------------------------------------------

    async def recover(self) -> list[OrphanedCall]:
        """Take over calls that dead processes left open and those handed over. Each is answered once, to one process.

        Call it after the start and with every heartbeat: a process whose machine cannot be seen into counts as dead
        only after it has been watched for three beats. While the database is away there is nothing to take over.
        """
        dead = await asyncio.to_thread(self._spill.adopt)
        try:
            if not await self._replayed():
                return []
            records = await claim(self._database, self._instance_id, dead | await self._look(), self._clock.now())
        except DATABASE_ERRORS as error:
            _logger.warning("calls left open could not be looked for: %s", type(error).__name__)
            return []
        for instance_id in dead:
            await asyncio.to_thread(self._spill.forget, instance_id)
        return [OrphanedCall.of(record) for record in self._ledger.adopt(records)]

    def end_as_stale(self, call: OrphanedCall) -> bool:
        """A taken-over call is gone: it ends at its last sign of life. False if it has been attached to meanwhile."""
        return self._ledger.end_as_stale(call.call_id)

    # State ------------------------------------------------------------------------------------------------------------

    def health(self) -> RecordsHealth:
        """How safe records are at this moment."""
        ledger, spill = self._ledger.size(), self._spill.size()
        return RecordsHealth(
            self._state(),
            ledger.open,
            ledger.waiting,
            spill.bytes,
            ledger.refused + self._writer.refused,
            self._writer.unkept,
            spill.damaged_lines,
            self._writer.away_seconds,
            self._writer.last_error,
        )

    @property
    def _refuses(self) -> bool:
        return self._writer.away and self._spill.size().full

    def _state(self) -> RecordsState:
        if not self._writer.away:
            return RecordsState.WRITING if self._spill.empty else RecordsState.CATCHING_UP
        return RecordsState.REFUSING if self._refuses else RecordsState.SPILLING

    # How it works -----------------------------------------------------------------------------------------------------

    async def _replayed(self) -> bool:
        """Replay what is spilled: the last states of others' calls may be in it. False while the database is away."""
        while not self._spill.empty and not self._writer.away:
            await self._writer.next_round()
        return self._spill.empty

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._beat_seconds)
            await self._beat()

    async def _beat(self) -> None:
        try:
            async with asyncio.timeout(self._beat_seconds):
                await self._instances.beat()
                await self._look()
        except DATABASE_ERRORS as error:
            _logger.warning("the process could not show that it lives: %s", type(error).__name__)

    async def _look(self) -> frozenset[str]:
        """Which other processes with open calls are over: stopped, or silent for too long."""
        holders = await self._instances.other_holders()
        silent = self._watch.silent(holders, self._clock.now().monotonic)
        return silent | {holder.instance_id for holder in holders if holder.stopped}

    async def _spill_rest(self) -> None:
        while rest := self._ledger.take(_SPILLED_AT_ONCE):
            if not await self._writer.spilled(rest):
                self._ledger.refuse(rest)
                _logger.error("call records are lost, neither the database nor the disk takes them: %d", len(rest))

    async def _sign_off(self, budget_seconds: float) -> None:
        with suppress(*DATABASE_ERRORS):
            async with asyncio.timeout(budget_seconds):
                await self._instances.stopped()
