"""Moves changes from the ledger to the database in batches, and past it when it is away."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.database import DATABASE_ERRORS
from service.records.held import Change
from service.records.ledger import CallLedger
from service.records.lines import latest
from service.records.record import Row
from service.records.spill import Spill
from service.records.store import RecordStore, blames_data

_logger = logging.getLogger(__name__)


class Kept(StrEnum):
    """Where a call's record is safe."""

    DATABASE = "database"
    SPILL = "spill"
    """In the file that is replayed when the database is back."""
    MEMORY = "memory"
    """Nowhere: it would be lost with the process."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the writer spends its time, in seconds and rows."""

    interval: float = 0.2
    """How long changes are gathered."""
    batch: int = 500
    """Rows a transaction writes at most."""
    attempt: float = 5.0
    """How long one transaction may take before the database counts as away."""
    first_pause: float = 0.25
    """How long to leave the database alone after a failure; doubles with each …"""
    longest_pause: float = 5.0
    """… up to this."""


class RecordWriter:
    """One task that writes; what it cannot write it spills, and what it cannot spill waits in the ledger."""

    def __init__(self, ledger: CallLedger, store: RecordStore, spill: Spill, pace: Pace | None = None) -> None:
        self._ledger = ledger
        self._store = store
        self._spill = spill
        self._pace = pace or Pace()
        self._wake = asyncio.Event()
        self._round = asyncio.Event()
        self._pause = 0.0
        self._away_since: float | None = None
        self._next_attempt = 0.0
        self._last_error: str | None = None
        self._refused = 0
        self._in_hand = 0

    @property
    def settled(self) -> bool:
        """Whether the database has everything."""
        return self._spill.empty and not self._in_hand and not self._ledger.size().waiting

    @property
    def refused(self) -> int:
        """Records the database would not take, though it was there."""
        return self._refused

    @property
    def away_seconds(self) -> float | None:
        """How long the database has been away; ``None`` while it is not."""
        return None if self._away_since is None else asyncio.get_running_loop().time() - self._away_since

    @property
    def last_error(self) -> str | None:
        """The kind of the last failure, of the database or of the disk."""
        return self._last_error

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._pace.interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._rounds()

    async def _rounds(self) -> None:
        """Rounds until nothing is left that could be written now."""
        busy = True
        while busy:
            try:
                busy = await self._round_once()
            except Exception as error:
                # One failing round must not end the writing for good.
                self._failed(error)
                _logger.exception("writing call records failed")
                busy = False
            self._round.set()
            self._round = asyncio.Event()

    async def _round_once(self) -> bool:
        changes = self._ledger.take(self._pace.batch)
        if changes:
            await self._keep(changes)
        replayed = self._due and not self._spill.empty and await self._replay()
        return replayed or len(changes) == self._pace.batch

    # For those who wait -----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Begin a round now."""
        self._wake.set()

    async def next_round(self) -> None:
        """Begin a round and wait until one is over."""
        over = self._round
        self._wake.set()
        await over.wait()

    # Keeping changes --------------------------------------------------------------------------------------------------

    async def _keep(self, changes: Sequence[Change]) -> None:
        """See that these are safe; those that nothing takes go back to wait."""
        left: Sequence[Change] = changes
        self._in_hand = len(changes)
        try:
            if (self._due and await self._written(changes)) or await self.spilled(changes):
                left = ()
        finally:
            self._ledger.give_back(left)
            self._in_hand = 0

    async def _written(self, changes: Sequence[Change]) -> bool:
        whole = [change.row for change in changes if not change.beat]
        beats = [change.row for change in changes if change.beat]
        if not await self._attempt(whole, beats):
            return False
        self._ledger.stored(changes)
        return True

    async def spilled(self, changes: Sequence[Change]) -> bool:
        """Keep these in the spill; false if the disk does not take them."""
        try:
            await asyncio.to_thread(self._spill.append, [change.row for change in changes])
        except OSError as error:
            self._last_error = type(error).__name__
            return False
        self._ledger.spilled(changes)
        return True

    # Replaying --------------------------------------------------------------------------------------------------------

    async def _replay(self) -> bool:
        """Write the oldest spilled rows; false if none are left or the database does not take them."""
        chunk = await asyncio.to_thread(self._spill.next_chunk, self._pace.batch)
        if chunk is None or not await self._attempt(latest(chunk.part.rows), ()):
            return False
        await asyncio.to_thread(self._spill.done, chunk)
        return True

    # The database -----------------------------------------------------------------------------------------------------

    @property
    def _due(self) -> bool:
        """Whether the database is to be tried."""
        return self._away_since is None or asyncio.get_running_loop().time() >= self._next_attempt

    async def _attempt(self, rows: Sequence[Row], beats: Sequence[Row]) -> bool:
        """Write these in one transaction; false if the database is away."""
        try:
            async with asyncio.timeout(self._pace.attempt):
                await self._store.write(rows, beats)
        except Exception as error:  # noqa: BLE001 -- drivers have errors of their own for values they cannot send
            if isinstance(error, DATABASE_ERRORS) and not blames_data(error):
                self._failed(error)
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

    def _failed(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
            _logger.warning("call records cannot be written to the database, and are spilled: %s", type(error).__name__)
        self._pause = min(self._pace.longest_pause, max(self._pace.first_pause, 2 * self._pause))
        self._next_attempt = now + self._pause
        self._last_error = type(error).__name__

    def _back(self) -> None:
        if self._away_since is not None:
            _logger.info("call records can be written to the database again")
        self._away_since = None
        self._pause = 0.0
