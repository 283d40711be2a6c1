"""The durable side as the gateway sees it: whose a call is, and that its record is kept."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Final

from service.periodic import PeriodicWorker
from service.records.instances import Instances, OrphanedCall, Watch, take_over
from service.records.ledger import CallLedger, NewCall
from service.records.record import StoredCall
from service.records.spill import MAX_BYTES, Spill
from service.records.store import Owner, RecordStore
from service.records.tracked import Claim
from service.records.writer import Durability, Pace, RecordWriter
from service.storage.database import DATABASE_ERRORS, Database, detach_on_timeout
from telemetry.calls.sinks import Contexts, Sink
from telemetry.clock import Clock, Instant, SystemClock
from telemetry.privacy import Privacy
from telemetry.semconv.attributes import CallId


class RecordsState(StrEnum):
    """The safety of records at the moment, from best to worst."""

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
    """Calls with an open record."""
    waiting: int
    """Records that wait to be written."""
    spilled_bytes: int
    refused: int
    """Records lost since the start."""
    unkept: int
    """Calls that went on since the start although their record was, at that moment, kept nowhere but in memory."""
    assumed: int
    """Calls taken since the start without the database saying whose they are: two processes may both have one."""
    lost: int
    """Calls let go of since the start because another process owns them."""
    damaged_lines: int
    """Spilled states found unreadable since the start."""
    database_away_seconds: float | None
    last_error: str | None
    """The kind of the last failure since the start."""
    last_error_seconds: float | None
    """Seconds since that failure; None if there was none."""


class Ownership(Enum):
    """The owner of an announced call, as seen from this process."""

    OURS = auto()
    """This process's: it counts the call and acts for it."""
    OTHERS = auto()
    """Another process's, or over: nothing of it is counted and nobody is asked anything."""
    UNCERTAIN = auto()
    """Undecided, of a process that is silent and not known to be dead: the carrier is to ask again."""
    LEFT = auto()
    """Undecided, of a process that is dead or has stopped: it is to be recovered."""


_logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 5.0
"""Seconds between two heartbeats of a process."""
MISSED_HEARTBEATS: Final = 3
"""A process that misses so many while it is watched is dead."""
_LATE_HEARTBEATS: Final = 1.5
# One that has missed this many may be dead.
_SAFE_HEARTBEATS: Final = 2
# For so many after one of its own, no process can have found this one dead.
_RETRY_SECONDS: Final = 0.05
# Between two looks at whether the database is back.
_LOOK_AGAIN_SECONDS: Final = 0.5
# Between two looks at which processes are over, for calls that are announced once more.
_CHECK_SECONDS: Final = 1.0
# How long the database may take to say whose a call is.
_SPILLED_AT_ONCE: Final = 1_000


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
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        spill_bytes: int = MAX_BYTES,
    ) -> None:
        self._database = database
        self._instance_id = instance_id
        self._clock = clock or SystemClock()
        self._heartbeat_seconds = heartbeat_seconds
        self._ledger = CallLedger(instance_id, privacy=privacy)
        self._spill = Spill(spill_folder, instance_id, max_bytes=spill_bytes)
        self._store = RecordStore(database, self._clock)
        self._writer = RecordWriter(self._ledger, self._store, self._spill, pace)
        self._instances = Instances(database, instance_id, self._clock)
        self._watch = Watch(MISSED_HEARTBEATS * heartbeat_seconds)
        self._last_heartbeat: Instant | None = None
        self._looking = asyncio.Lock()
        self._last_look: tuple[Instant, frozenset[str]] | None = None
        self._heartbeat = PeriodicWorker(
            self._show_life, interval=heartbeat_seconds, failed=self._not_shown, name="callscope-instance"
        )
        self._writing: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def sink(self) -> Sink:
        """The sink that takes the events of calls; it never blocks."""
        return self._ledger

    def trace_by(self, contexts: Contexts) -> None:
        """Take calls' trace ids from there; records of calls received before this have none."""
        self._ledger.contexts = contexts

    def when_lost(self, let_go: Callable[[CallId], None]) -> None:
        """Have this called with the id of each call that turns out to be another process's."""
        self._ledger.on_lost = let_go

    # Lifecycle --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to write. The database may be away; the folder must be usable (:class:`SpillFolderError`)."""
        await asyncio.to_thread(self._spill.open)
        await asyncio.to_thread(self._spill.adopt)
        try:
            await self._show_life()
        except DATABASE_ERRORS as error:
            self._not_shown(error)
        self._writing = asyncio.create_task(self._writer.run(), name="callscope-records")
        self._heartbeat.start()

    async def flush(self, budget_seconds: float) -> bool:
        """Write what waits; return true if the database has everything, spilled records too, within the budget."""
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await self._writer.next_pass()
                while not self._writer.settled:
                    await asyncio.sleep(_RETRY_SECONDS if self._writer.away or not self._spill.empty else 0)
                    await self._writer.next_pass()
        return self._writer.settled

    async def written_so_far(self, budget_seconds: float) -> bool:
        """Wait until the database has what was reported before this call, whatever is reported meanwhile.

        False if it has not within the budget.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_seconds):
                await self._writer.next_pass()
                waiting = self._ledger.waiting()
                while not (self._spill.empty and all(tracked.stored >= version for tracked, version in waiting)):
                    await asyncio.sleep(_RETRY_SECONDS if self._writer.away or not self._spill.empty else 0)
                    await self._writer.next_pass()
                return True
        return False

    async def hand_over(self, budget_seconds: float) -> int:
        """Leave the running calls to the next process, and return how many. Their end is not reported here any more.

        For a stop while calls are to go on: call it once no new call is taken, before the sessions are let go.
        """
        left = self._ledger.hand_over(self._clock.now())
        await self.flush(budget_seconds)
        return left

    async def stop(self, budget_seconds: float) -> None:
        """Write what waits, spill what cannot be written in time, and stop. A second call does nothing."""
        if self._stopped or self._writing is None:
            return
        self._stopped = True
        await self.flush(budget_seconds / 2)
        await self.halt()
        await self._spill_rest()
        await self._sign_off(budget_seconds / 2)
        await asyncio.to_thread(self._spill.close)

    async def halt(self) -> None:
        """Stop writing at once, whatever waits."""
        await self._heartbeat.stop()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    # Ownership --------------------------------------------------------------------------------------------------------

    async def claim(self, call: NewCall, budget_seconds: float) -> Ownership:
        """Find out whose an announced call is, before anything of it is counted; take it if it is new.

        While the database is away, or does not answer within the budget, this process's memory decides.
        """
        tracked = self._ledger.begin(call)
        if tracked is None:
            # No room for its record; a call is taken all the same.
            return Ownership.OURS
        owner = await self._writer.claimed(tracked, budget_seconds)
        if owner is None:
            return Ownership.OURS
        self._ledger.drop(tracked)
        return await self._of_another(owner)

    async def _of_another(self, owner: Owner) -> Ownership:
        if not owner.undecided or owner.instance_id == self._instance_id:
            return Ownership.OTHERS
        try:
            dead = await self._looked()
        except DATABASE_ERRORS:
            return Ownership.UNCERTAIN
        if owner.handed_over or owner.instance_id in dead:
            return Ownership.LEFT
        late = self._watch.silence(owner.instance_id) > _LATE_HEARTBEATS * self._heartbeat_seconds
        return Ownership.UNCERTAIN if late else Ownership.OTHERS

    async def _looked(self) -> frozenset[str]:
        """Return which processes are over as they were found a moment ago: a flood of repetitions looks once."""
        async with self._looking:
            now = self._clock.now()
            if self._last_look is None or now.since(self._last_look[0]) >= _LOOK_AGAIN_SECONDS:
                proven = await asyncio.to_thread(self._spill.adopt)
                self._last_look = (now, proven | await self._look())
            return self._last_look[1]

    def certain(self, call_id: CallId) -> bool:
        """Return true unless the call was taken without the database saying whose it is."""
        tracked = self._ledger.tracked(call_id)
        return tracked is None or tracked.claim is Claim.CONFIRMED

    def claim_of(self, call_id: CallId) -> int:
        """Return the claim this process holds the call under, in microseconds; 0 for one without a record."""
        tracked = self._ledger.tracked(call_id)
        return 0 if tracked is None else tracked.record.claim

    def is_lost(self, call_id: CallId) -> bool:
        """Return true if the call was let go of, because another process owns it."""
        return self._ledger.is_lost(call_id)

    def let_go(self, call_id: CallId) -> None:
        """Leave the call to the process that owns it: nothing more is written of it, and no end is counted."""
        self._ledger.lose(call_id, self.claim_of(call_id))

    async def owners(self, call_ids: Sequence[CallId]) -> Mapping[str, Owner]:
        """Return whose these calls are, leaving out those without a record; raise what the database raises."""
        return await self._store.owners(call_ids)

    async def owns(self, call_id: CallId) -> bool:
        """Check that the call is still this process's, before the carrier is asked to end, move or turn it away.

        Asks the database, unless this process has shown so lately that it lives that no other can have taken the call
        over. If the database does not say, the call stays this process's.
        """
        if self._ledger.is_lost(call_id):
            return False
        tracked = self._ledger.tracked(call_id)
        if tracked is None or tracked.claim is Claim.ASSUMED or self._lives_for_others():
            return True
        return not await self._lost([(call_id, tracked.record.claim)])

    async def check_claims(self) -> None:
        """Let go of every call that is another's by now: what a process does first after it stood still."""
        await self._lost([(call_id, claim) for call_id, claim in self._ledger.open_calls()])

    async def _lost(self, claims: list[tuple[CallId, int]]) -> bool:
        """Let go of those that are another's; return true if any was. Without an answer none is."""
        try:
            asked = self._store.owners([call_id for call_id, _ in claims])
            owners = await detach_on_timeout(_CHECK_SECONDS, asked)
        except DATABASE_ERRORS as error:
            _logger.warning("the database cannot say whose %d calls are: %s", len(claims), type(error).__name__)
            return False
        lost = [
            (call_id, claim)
            for call_id, claim in claims
            if call_id in owners and owners[call_id][:2] != (self._instance_id, claim)
        ]
        for call_id, claim in lost:
            self._ledger.lose(call_id, claim)
        return bool(lost)

    def _lives_for_others(self) -> bool:
        """Return true if no other process can have found this one dead.

        The wall clock is looked at too: while a machine is suspended its monotonic clock may stand still.
        """
        last, now = self._last_heartbeat, self._clock.now()
        if last is None:
            return False
        since = max(now.since(last), (now.unix_nanos - last.unix_nanos) / 1e9)
        return since < _SAFE_HEARTBEATS * self._heartbeat_seconds

    # Calls ------------------------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Write now what waits, though nobody waits for it: a start, say, that a crash should not undo."""
        self._writer.hurry()

    async def ensure_written(self, call_id: CallId, budget_seconds: float) -> Durability:
        """Wait until the call's record outlives this process; return where it is, at the latest after the budget.

        A quarter of the budget is the database's; then the record is spilled. ``MEMORY`` says that neither took it in
        time: the call can go on, but would not survive a crash unrecorded.
        """
        tracked = self._ledger.tracked(call_id)
        if tracked is None:
            return Durability.MEMORY if self._refuses else Durability.DATABASE
        return await self._writer.kept(tracked, tracked.record.version, budget_seconds)

    async def ensure_decidable(self, call_id: CallId, budget_seconds: float) -> Durability:
        """Wait likewise until another process could decide about the call: until its record names its tenant."""
        tracked = self._ledger.tracked(call_id)
        if tracked is None:
            return Durability.MEMORY if self._refuses else Durability.DATABASE
        return await self._writer.kept(tracked, tracked.required, budget_seconds)

    def decidable(self, call_id: CallId) -> bool:
        """Return true if a process that took the call over now would know whose it is."""
        tracked = self._ledger.tracked(call_id)
        return tracked is None or tracked.kept >= tracked.required

    async def find(self, call_id: CallId) -> StoredCall | None:
        """Return the call as the database has it, whichever process held it; raise what the database raises."""
        return await self._store.find(call_id)

    async def find_by_trace(self, trace_id: str) -> StoredCall | None:
        """Return the call with this trace id (32 hexadecimal digits), whichever process held it; raise likewise."""
        return await self._store.find_by_trace(trace_id)

    # Recovery ---------------------------------------------------------------------------------------------------------

    async def recover(self) -> list[OrphanedCall]:
        """Take over calls that dead processes left open and those handed over. Each goes once, to one process.

        Call it after the start and with every heartbeat: a process whose machine cannot be seen into counts as dead
        only after it has been watched for three heartbeats. While the database is away there is nothing to take over.
        """
        dead = await asyncio.to_thread(self._spill.adopt)
        try:
            if not await self._replayed():
                return []
            orphans = await take_over(self._database, self._instance_id, dead | await self._look(), self._clock.now())
        except DATABASE_ERRORS as error:
            _logger.warning("calls left open could not be looked for: %s", type(error).__name__)
            return []
        for instance_id in dead:
            await asyncio.to_thread(self._spill.forget, instance_id)
        adopted = self._ledger.adopt([record for record, _ in orphans.values()])
        return [OrphanedCall.of(record, handed_over=orphans[record.call_id][1]) for record in adopted]

    def end_as_stale(self, call: OrphanedCall) -> bool:
        """End a taken-over call at its last activity; return false if it has been attached to meanwhile."""
        return self._ledger.end_as_stale(call.call_id)

    # State ------------------------------------------------------------------------------------------------------------

    def health(self) -> RecordsHealth:
        """Return how safe records are at this moment."""
        ledger, spill = self._ledger.size(), self._spill.size()
        return RecordsHealth(
            self._state(),
            ledger.open,
            ledger.waiting,
            spill.bytes,
            ledger.refused + self._writer.refused,
            self._writer.unkept,
            self._writer.assumed,
            ledger.lost,
            spill.damaged_lines,
            self._writer.away_seconds,
            self._writer.last_error,
            self._writer.last_error_seconds,
        )

    def spill_room(self) -> int:
        """Return the bytes of records that the local disk can still take; may block on the disk."""
        return self._spill.room()

    @property
    def _refuses(self) -> bool:
        return self._writer.away and self._spill.size().full

    def _state(self) -> RecordsState:
        if not self._writer.away:
            return RecordsState.WRITING if self._spill.empty else RecordsState.CATCHING_UP
        return RecordsState.REFUSING if self._refuses else RecordsState.SPILLING

    # How it works -----------------------------------------------------------------------------------------------------

    async def _replayed(self) -> bool:
        """Replay what is spilled: the last states of others' calls may be in it. False if the database is away."""
        while not self._spill.empty and not self._writer.away:
            await self._writer.next_pass()
        return self._spill.empty

    async def _show_life(self) -> None:
        began = self._clock.now()
        async with asyncio.timeout(self._heartbeat_seconds):
            await self._instances.heartbeat()
            self._last_heartbeat = began
            await self._look()

    def _not_shown(self, error: Exception) -> None:
        _logger.warning("the process could not show that it lives: %s", type(error).__name__)

    async def _look(self) -> frozenset[str]:
        """Return the other processes with open calls that are over: stopped, or silent for too long."""
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
