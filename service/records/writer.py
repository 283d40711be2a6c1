"""Moves changes from the ledger to the database in batches, and past it when it is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from service.records.ledger import CallLedger, Change, HeldCall
from service.records.record import Row
from service.records.spill import Spill, latest
from service.records.store import RecordStore, blames_data
from service.storage.database import DATABASE_ERRORS, detach_on_timeout

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How records are written, in seconds and rows."""

    interval: float = 0.2
    """How long changes are gathered that nobody waits for."""
    batch: int = 500
    """Rows a transaction writes at most."""
    attempt: float = 5.0
    """How long one transaction may take before the database counts as away."""
    first_pause: float = 0.25
    """How long to leave the database alone after a failure; doubles with each …"""
    longest_pause: float = 5.0
    """… up to this."""


class Attempts:
    """Transactions one after the other, so that two of this process never wait for each other's rows."""

    def __init__(self, store: RecordStore, pace: Pace) -> None:
        self._store = store
        self._pace = pace
        self._turn = asyncio.Lock()
        self._pause = 0.0
        self._away_since: float | None = None
        self._next_attempt = 0.0
        self._last_error: str | None = None
        self._refused = 0

    @property
    def away(self) -> bool:
        """Whether the last attempt failed."""
        return self._away_since is not None

    @property
    def away_seconds(self) -> float | None:
        """How long the database has been away; ``None`` while it is not."""
        return None if self._away_since is None else _now() - self._away_since

    @property
    def due(self) -> bool:
        """Whether the database is to be tried."""
        return not self.away or _now() >= self._next_attempt

    @property
    def last_error(self) -> str | None:
        """The kind of the last failure."""
        return self._last_error

    @property
    def refused(self) -> int:
        """Rows the database would not take, though it was there."""
        return self._refused

    async def write(self, rows: Sequence[Row], beats: Sequence[Row] = ()) -> bool:
        """Write these in one transaction; false if the database is away, or has not yet had its pause."""
        async with self._turn:
            return self.due and await self._attempt(rows, beats)

    def failed(self, error: Exception) -> None:
        """Leave the database alone for a while."""
        now = _now()
        if self._away_since is None:
            self._away_since = now
            _logger.warning("call records cannot be written to the database, and are spilled: %s", type(error).__name__)
        self._pause = min(self._pace.longest_pause, max(self._pace.first_pause, 2 * self._pause))
        self._next_attempt = now + self._pause
        self._last_error = type(error).__name__

    async def _attempt(self, rows: Sequence[Row], beats: Sequence[Row]) -> bool:
        try:
            await detach_on_timeout(self._pace.attempt, self._store.write(rows, beats))
        except Exception as error:  # noqa: BLE001 -- drivers have errors of their own for values they cannot send
            if isinstance(error, DATABASE_ERRORS) and not blames_data(error):
                self.failed(error)
                return False
            return await self._one_by_one(rows, beats, error)
        self._back()
        return True

    async def _one_by_one(self, rows: Sequence[Row], beats: Sequence[Row], error: Exception) -> bool:
        """Write each alone: what the database dislikes about one must not hold up the others."""
        if len(rows) + len(beats) == 1:
            self._refused += 1
            _logger.error("the database refused a call record: %s", type(error).__name__)
            return True
        apart = [((row,), ()) for row in rows] + [((), (row,)) for row in beats]
        return all([await self._attempt(row, beat) for row, beat in apart])

    def _back(self) -> None:
        if self._away_since is not None:
            _logger.info("call records can be written to the database again")
        self._away_since = None
        self._pause = 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()


Round = Callable[[], Awaitable[bool]]
"""Does some of the work; answers whether there is more of it that could be done now."""


class Rounds:
    """Runs rounds for as long as there is work, and lets others wait until one is over.

    Whoever waits shares a round with all others that wait: that is what makes one commit serve many calls.
    """

    def __init__(self, once: Round, *, interval: float | None, failed: Callable[[Exception], None]) -> None:
        """``interval`` in seconds; without it rounds are only made on demand. ``failed`` learns what a round raised."""
        self._once = once
        self._interval = interval
        self._failed = failed
        self._wake = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._woken()
            self._wake.clear()
            while await self._round():
                pass

    def wake(self) -> None:
        """Begin a round now, or another one after the present."""
        self._wake.set()

    async def over(self) -> None:
        """Wait until a round is over; it may have begun before."""
        over = self._over
        self._wake.set()
        await over.wait()

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _round(self) -> bool:
        try:
            return await self._once()
        except Exception as error:  # noqa: BLE001 -- one failing round must not end the work for good
            self._failed(error)
            return False
        finally:
            self._over.set()
            self._over = asyncio.Event()


_DATABASE_SHARE = 0.25
# Of the time somebody waits for a record, before the spill gets the rest.
_ROUNDS_TO_BE_IN_ONE = 2


# The round that somebody finds under way may have begun without his record; the next one has it.
class Kept(StrEnum):
    """Where a call's record is safe."""

    DATABASE = "database"
    SPILL = "spill"
    """In the file that is replayed when the database is back."""
    MEMORY = "memory"
    """Nowhere: it would be lost with the process."""


class RecordWriter:
    """Writes in rounds; what the database does not take is spilled, and what cannot be spilled waits in the ledger.

    Three kinds of rounds run beside each other, so that none holds up what a call waits for: changes are kept, what was
    spilled is replayed, and what waits for a database that does not answer is spilled.
    """

    def __init__(self, ledger: CallLedger, store: RecordStore, spill: Spill, pace: Pace | None = None) -> None:
        self._ledger = ledger
        self._spill = spill
        self._pace = pace or Pace()
        self._database = Attempts(store, self._pace)
        self._disk_error: str | None = None
        self._in_hand = 0
        self._urgent: dict[HeldCall, None] = {}
        self._unkept = 0
        self._keeping = Rounds(self._keep_some, interval=self._pace.interval, failed=self._failed)
        self._replaying = Rounds(self._replay_some, interval=self._pace.interval, failed=self._failed)
        self._rescuing = Rounds(self._spill_urgent, interval=None, failed=self._failed)

    @property
    def settled(self) -> bool:
        """Whether the database has everything."""
        return self._spill.empty and not self._in_hand and not self._ledger.size().waiting

    @property
    def refused(self) -> int:
        """Records the database would not take, though it was there."""
        return self._database.refused

    @property
    def unkept(self) -> int:
        """How often somebody waited for a record in vain: it was kept later, or not at all."""
        return self._unkept

    @property
    def away(self) -> bool:
        """Whether the database is away."""
        return self._database.away

    @property
    def away_seconds(self) -> float | None:
        """How long the database has been away; ``None`` while it is not."""
        return self._database.away_seconds

    @property
    def last_error(self) -> str | None:
        """The kind of the last failure, of the disk while it fails, else of the database."""
        return self._disk_error or self._database.last_error

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for rounds in (self._keeping, self._replaying, self._rescuing):
                group.create_task(rounds.run())

    # For those who wait -----------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Keep what waits now, with the next round."""
        self._keeping.wake()

    async def next_round(self) -> None:
        """Begin to keep what waits and to replay what is spilled; wait until a round of each is over."""
        self._replaying.wake()
        await self._keeping.over()
        await self._replaying.over()

    async def kept(self, held: HeldCall, budget_seconds: float) -> Kept:
        """Wait until the record, as it is now, outlives this process; answers where it is, after the budget at last."""
        version = held.record.version
        deadline = asyncio.get_running_loop().time() + budget_seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(_DATABASE_SHARE * budget_seconds):
                await self._kept_in_turn(held, version)
        if held.kept < version:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._kept_urgently(held, version)
        if held.kept < version:
            self._unkept += 1
            return Kept.MEMORY
        return Kept.DATABASE if held.stored >= version else Kept.SPILL

    async def _kept_in_turn(self, held: HeldCall, version: int) -> None:
        await self._keeping.over()
        while held.kept < version and not self.away:
            await self._keeping.over()

    async def _kept_urgently(self, held: HeldCall, version: int) -> None:
        self._urgent[held] = None
        for _ in range(_ROUNDS_TO_BE_IN_ONE):
            if held.kept < version:
                await self._rescuing.over()

    async def _spill_urgent(self) -> bool:
        urgent, self._urgent = self._urgent, {}
        if urgent:
            await self.spilled([self._ledger.change(held) for held in urgent])
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
        whole = [change.row for change in changes if not change.beat]
        beats = [change.row for change in changes if change.beat]
        if not await self._database.write(whole, beats):
            return False
        self._ledger.stored(changes)
        return True

    async def spilled(self, changes: Sequence[Change]) -> bool:
        """Keep these in the spill; false if the disk does not take them."""
        try:
            await asyncio.to_thread(self._spill.append, [change.row for change in changes])
        except OSError as error:
            self._disk_error = type(error).__name__
            return False
        self._disk_error = None
        self._ledger.spilled(changes)
        return True

    # Replaying --------------------------------------------------------------------------------------------------------

    async def _replay_some(self) -> bool:
        """Write the oldest spilled rows; false if none are left or the database does not take them."""
        if self._spill.empty or not self._database.due:
            return False
        chunk = await asyncio.to_thread(self._spill.next_chunk, self._pace.batch)
        if chunk is None or not await self._database.write(latest(chunk.part.rows)):
            return False
        await asyncio.to_thread(self._spill.done, chunk)
        return True

    def _failed(self, error: Exception) -> None:
        self._database.failed(error)
        _logger.error("writing call records failed", exc_info=error)
