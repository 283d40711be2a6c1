"""Moves changes from the ledger to the database in batches, and past it when it is away."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from service.periodic import NEVER, PeriodicWorker
from service.records.ledger import CallLedger
from service.records.record import Row
from service.records.spill import Spill, latest
from service.records.store import NOTHING_LOST, Owner, RecordStore, Written, blames_data
from service.records.tracked import Change, Claim, TrackedRecord
from service.storage.database import DATABASE_ERRORS, detach_on_timeout, done_within
from telemetry.semconv.attributes import CallId

_logger = logging.getLogger(__name__)

T = TypeVar("T")

Claims = dict[TrackedRecord, "asyncio.Future[Owner | None]"]
"""Records that are being claimed, with where the answer is waited for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of writing, in seconds and rows."""

    interval: float = 0.2
    """Seconds for which changes are gathered that nobody waits for."""
    batch: int = 500
    """Rows a transaction writes at most."""
    attempt: float = 5.0
    """Seconds one transaction may take before the database counts as away."""
    first_pause: float = 0.25
    """Seconds for which the database is left alone after a failure; doubles with each …"""
    longest_pause: float = 5.0
    """… up to this."""


class DatabaseAwayError(Exception):
    """The database does not answer, or has not had its pause yet."""


class Attempts:
    """Transactions one after the other, so that two of this process never wait for each other's rows."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._transaction = asyncio.Lock()
        self._pause = 0.0
        self._away_since: float | None = None
        self._next_attempt = 0.0
        self._last_error: str | None = None
        self._failed_at: float | None = None

    @property
    def away(self) -> bool:
        """True if the last attempt failed."""
        return self._away_since is not None

    @property
    def away_seconds(self) -> float | None:
        """Seconds since the database went away; ``None`` while it has not."""
        return None if self._away_since is None else time.monotonic() - self._away_since

    @property
    def due(self) -> bool:
        """True if the database is to be tried."""
        return not self.away or time.monotonic() >= self._next_attempt

    @property
    def last_error(self) -> str | None:
        """The kind of the last failure."""
        return self._last_error

    @property
    def last_error_seconds(self) -> float | None:
        """Seconds since the last failure; ``None`` if there was none."""
        return None if self._failed_at is None else time.monotonic() - self._failed_at

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the transaction returns, once no other one of this process is under way.

        Raises:
            DatabaseAwayError: if the database is away, or has not had its pause yet.
            Exception: what the database has against the data.
        """
        async with self._transaction:
            if not self.due:
                raise DatabaseAwayError
            try:
                result = await detach_on_timeout(self._pace.attempt, work())
            except DATABASE_ERRORS as error:
                if blames_data(error):
                    raise
                self.failed(error)
                raise DatabaseAwayError from error
            self._back()
            return result

    def failed(self, error: Exception) -> None:
        """Leave the database alone for a while."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            _logger.warning("call records cannot be written to the database, and are spilled: %s", type(error).__name__)
        self._failed_at = now
        self._pause = min(self._pace.longest_pause, max(self._pace.first_pause, 2 * self._pause))
        self._next_attempt = now + self._pause
        self._last_error = type(error).__name__

    def _back(self) -> None:
        if self._away_since is not None:
            _logger.info("call records can be written to the database again")
        self._away_since = None
        self._pause = 0.0


def _reason(error: OSError) -> str:
    """Return what the disk has against it, without the path."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _now() -> float:
    return asyncio.get_running_loop().time()


class Durability(StrEnum):
    """The place where a call's record is safe."""

    DATABASE = "database"
    SPILL = "spill"
    """In the file that is replayed when the database is back."""
    MEMORY = "memory"
    """Nowhere: it would be lost with the process."""


_DATABASE_SHARE: Final = 0.25
# Of the time somebody waits for a record, before the spill gets the rest.

_PASSES_TO_BE_IN_ONE: Final = 2
# The pass that somebody finds under way may have begun without his record; the next one has it.


class RecordWriter:
    """Writes in passes; what the database does not take is spilled, and what cannot be spilled waits in the ledger.

    Four kinds of passes run beside each other, so that none holds up what a call waits for: new calls are claimed,
    changes are kept, what was spilled is replayed, and what waits for a database that does not answer is spilled.
    """

    def __init__(self, ledger: CallLedger, store: RecordStore, spill: Spill, pace: Pace | None = None) -> None:
        self._ledger = ledger
        self._store = store
        self._spill = spill
        self._pace = pace or Pace()
        self._database = Attempts(self._pace)
        self._disk_error: str | None = None
        self._disk_failed_at = 0.0
        self._in_hand = 0
        self._claims: Claims = {}
        self._urgent: dict[TrackedRecord, None] = {}
        self._refused = 0
        self._unkept = 0
        self._assumed = 0
        self._superseded = 0
        self._claiming = self._worker(self._claim_some, NEVER)
        self._keeping = self._worker(self._keep_some, self._pace.interval)
        self._replaying = self._worker(self._replay_some, self._pace.interval)
        self._rescuing = self._worker(self._spill_urgent, NEVER)

    def _worker(self, work: Callable[[], Coroutine[Any, Any, bool]], interval: float | None) -> PeriodicWorker:
        return PeriodicWorker(work, interval=interval, failed=self._failed, name="callscope-records")

    @property
    def settled(self) -> bool:
        """True if the database has everything."""
        return self._spill.empty and not self._in_hand and not self._ledger.size().waiting

    @property
    def refused(self) -> int:
        """Records the database would not take, though it was there."""
        return self._refused

    @property
    def unkept(self) -> int:
        """Waits for a record that were in vain: it was kept later, or not at all."""
        return self._unkept

    @property
    def assumed(self) -> int:
        """Calls taken as this process's own because the database could not be asked."""
        return self._assumed

    @property
    def superseded(self) -> int:
        """Spilled states, of this process or a dead one, of calls that were another's when they were replayed."""
        return self._superseded

    @property
    def away(self) -> bool:
        """True while the database is away."""
        return self._database.away

    @property
    def away_seconds(self) -> float | None:
        """Seconds since the database went away; ``None`` while it has not."""
        return self._database.away_seconds

    @property
    def last_error(self) -> str | None:
        """The kind of the last failure, of the disk while it fails, else of the database."""
        return self._disk_error or self._database.last_error

    @property
    def last_error_seconds(self) -> float | None:
        """Seconds since that failure; ``None`` if there was none."""
        if self._disk_error is not None:
            return time.monotonic() - self._disk_failed_at
        return self._database.last_error_seconds

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for worker in (self._claiming, self._keeping, self._replaying, self._rescuing):
                group.create_task(worker.run())

    # For those who wait -----------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Keep what waits now, with the next pass."""
        self._keeping.wake()

    async def next_pass(self) -> None:
        """Begin to keep what waits and to replay what is spilled; wait until a pass of each is over."""
        self._replaying.wake()
        await self._keeping.passed()
        await self._replaying.passed()

    async def claimed(self, tracked: TrackedRecord, budget_seconds: float) -> Owner | None:
        """Claim a new call; return its owner if that is another process, or if the call is over.

        With the database away, or without an answer in time, the call is assumed to be this process's own, and its
        record is spilled. Another's claim that turns up later lets it go.
        """
        if not self.away or self._database.due:
            answer: asyncio.Future[Owner | None] = asyncio.get_running_loop().create_future()
            self._claims[tracked] = answer
            self._claiming.wake()
            try:
                # A process that stood still itself is not to take a call that the database says is another's.
                if await done_within(budget_seconds, answer):
                    return answer.result()
            except DatabaseAwayError:
                pass
            finally:
                answer.cancel()
        if tracked.claim is Claim.UNCONFIRMED:
            self._assumed += 1
            _logger.warning("the database cannot say whose a call is; it is taken as announced to this process alone")
        self._ledger.assume(tracked)
        return None

    async def _claim_some(self) -> bool:
        claims, self._claims = self._claims, {}
        if not claims:
            return False
        changes = [self._ledger.change(tracked) for tracked in claims]
        try:
            await self._claim(changes, claims)
        finally:
            for answer in claims.values():
                if not answer.done():
                    answer.set_exception(DatabaseAwayError())
                    answer.exception()  # marks it as retrieved: whoever asked may have gone
        return bool(self._claims)

    async def _claim(
        self, changes: Sequence[Change], claims: dict[TrackedRecord, asyncio.Future[Owner | None]]
    ) -> None:
        try:
            owners = await self._database.run(lambda: self._store.claim([change.row for change in changes]))
        except DatabaseAwayError:
            return
        except Exception as error:  # noqa: BLE001 -- drivers have errors of their own for values they cannot send
            if len(changes) > 1:
                for change in changes:
                    await self._claim([change], claims)
            else:
                self._refuse(error)
            return
        for change in changes:
            self._answer(change, owners.get(CallId(change.row["call_id"])), claims[change.tracked])

    def _answer(self, change: Change, owner: Owner | None, answer: asyncio.Future[Owner | None]) -> None:
        if owner is None:
            self._ledger.confirm(change)
        elif answer.done():
            # Whoever asked has taken the call as its own meanwhile.
            self._ledger.lose(change.row["call_id"], change.row["claim"])
        if not answer.done():
            answer.set_result(owner)

    async def kept(self, tracked: TrackedRecord, version: int, budget_seconds: float) -> Durability:
        """Wait until the record's version outlives this process; return where it is, at the latest after the budget."""
        if tracked.kept >= version:
            return Durability.DATABASE if tracked.stored >= version else Durability.SPILL
        deadline = _now() + budget_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(_DATABASE_SHARE * budget_seconds):
                await self._kept_in_turn(tracked, version)
        if tracked.kept < version:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._kept_urgently(tracked, version)
        if tracked.kept < version:
            self._unkept += 1
            return Durability.MEMORY
        return Durability.DATABASE if tracked.stored >= version else Durability.SPILL

    async def _kept_in_turn(self, tracked: TrackedRecord, version: int) -> None:
        await self._keeping.passed()
        while tracked.kept < version and not self.away and tracked.claim is not Claim.LOST:
            await self._keeping.passed()

    async def _kept_urgently(self, tracked: TrackedRecord, version: int) -> None:
        self._urgent[tracked] = None
        for _ in range(_PASSES_TO_BE_IN_ONE):
            if tracked.kept < version:
                await self._rescuing.passed()

    async def _spill_urgent(self) -> bool:
        urgent, self._urgent = self._urgent, {}
        if urgent:
            await self.spilled([self._ledger.change(tracked) for tracked in urgent])
        return False

    # Keeping changes --------------------------------------------------------------------------------------------------

    async def _keep_some(self) -> bool:
        changes = self._ledger.take(self._pace.batch)
        if not changes:
            return False
        left: Sequence[Change] = changes
        self._in_hand = len(changes)
        try:
            if await self._keep(changes):
                left = ()
        finally:
            self._ledger.give_back(left)
            self._in_hand = 0
        return not left and len(changes) == self._pace.batch

    async def _keep(self, changes: Sequence[Change]) -> bool:
        """See that these are safe; a database that is away is tried again only where the disk fails too."""
        if self.away:
            return await self.spilled(changes) or await self._written(changes)
        return await self._written(changes) or await self.spilled(changes)

    async def _written(self, changes: Sequence[Change]) -> bool:
        whole = [change.row for change in changes if not change.heartbeat]
        heartbeats = [change.row for change in changes if change.heartbeat]
        keyless = [c.row for c in changes if not c.heartbeat and c.tracked.claim is not Claim.CONFIRMED]
        try:
            written = await self._write(whole, heartbeats, keyless)
        except DatabaseAwayError:
            return False
        for call_id, claim in written.lost:
            self._ledger.lose(CallId(call_id), claim)
        self._ledger.stored(changes)
        return True

    async def _write(self, whole: Sequence[Row], heartbeats: Sequence[Row], keyless: Sequence[Row]) -> Written:
        """Write these; raise :class:`DatabaseAwayError` if the database does not take them now."""
        try:
            return await self._database.run(lambda: self._store.write(whole, heartbeats, keys=keyless))
        except DatabaseAwayError:
            raise
        except Exception as error:  # noqa: BLE001 -- drivers have errors of their own for values they cannot send
            return await self._one_by_one(whole, heartbeats, keyless, error)

    async def _one_by_one(
        self, whole: Sequence[Row], heartbeats: Sequence[Row], keyless: Sequence[Row], error: Exception
    ) -> Written:
        """Write each alone: what the database dislikes about one must not hold up the others."""
        if len(whole) + len(heartbeats) == 1:
            self._refuse(error)
            return NOTHING_LOST
        keys = {row["call_id"] for row in keyless}
        lost: set[tuple[str, int]] = set()
        for row in whole:
            lost |= (await self._write((row,), (), (row,) if row["call_id"] in keys else ())).lost
        for row in heartbeats:
            lost |= (await self._write((), (row,), ())).lost
        return Written(frozenset(lost))

    def _refuse(self, error: Exception) -> None:
        self._refused += 1
        _logger.error("the database refused a call record: %s", type(error).__name__)

    async def spilled(self, changes: Sequence[Change]) -> bool:
        """Keep these in the spill; false if the disk does not take them."""
        try:
            await asyncio.to_thread(self._spill.append, [change.row for change in changes])
        except OSError as error:
            if self._disk_error is None:
                _logger.error("call records cannot be spilled, and wait in memory: %s", _reason(error))  # noqa: TRY400
            self._disk_error, self._disk_failed_at = type(error).__name__, time.monotonic()
            return False
        if self._disk_error is not None:
            _logger.info("call records can be spilled again")
        self._disk_error = None
        self._ledger.spilled(changes)
        return True

    # Replaying --------------------------------------------------------------------------------------------------------

    async def _replay_some(self) -> bool:
        """Write the oldest spilled rows; false if none are left or the database does not take them."""
        if self._spill.empty or not self._database.due:
            return False
        chunk = await asyncio.to_thread(self._spill.next_chunk, self._pace.batch)
        if chunk is None:
            return False
        rows = latest(chunk.part.rows)
        try:
            written = await self._write(rows, (), rows)
        except DatabaseAwayError:
            return False
        self._superseded += len(written.lost)
        for call_id, claim in written.lost:
            self._ledger.lose(CallId(call_id), claim)
        await asyncio.to_thread(self._spill.done, chunk)
        return True

    def _failed(self, error: Exception) -> None:
        self._database.failed(error)
        _logger.error("writing call records failed", exc_info=error)
