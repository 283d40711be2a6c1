"""Writing to a database that may be away: one transaction at a time, and longer and longer pauses while it is."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from service.database import DATABASE_ERRORS
from service.giving_up import give_up_after
from service.records.record import Row
from service.records.store import RecordStore, blames_data

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
            await give_up_after(self._pace.attempt, self._store.write(rows, beats))
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
