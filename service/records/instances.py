"""Which processes hold calls, and which of them are dead."""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.database import Database
from service.records.models import InstanceRow
from service.records.store import CALLS
from telemetry.clock import Clock

INSTANCES = cast("Table", InstanceRow.__table__)

NO_BEATS = -1
"""The beats of a process that never came to register itself."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with open calls."""

    instance_id: str
    beats: int
    stopped: bool
    """It has stopped in good order."""


class Instances:
    """This process's row among the others'."""

    __slots__ = ("_clock", "_database", "_instance_id", "_started_ms")

    def __init__(self, database: Database, instance_id: str, clock: Clock) -> None:
        self._database = database
        self._instance_id = instance_id
        self._clock = clock
        self._started_ms = self._now_ms()

    async def beat(self) -> None:
        """Show that this process lives; the first beat registers it."""
        insert = postgresql.insert if self._database.engine.dialect.name == "postgresql" else sqlite.insert
        now = self._now_ms()
        statement = insert(INSTANCES).values(
            instance_id=self._instance_id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            started_ms=self._started_ms,
            last_beat_ms=now,
            beats=1,
        )
        again = {"last_beat_ms": now, "beats": INSTANCES.c.beats + 1, "stopped_ms": None}
        async with self._database.writing() as session:
            await session.execute(statement.on_conflict_do_update(index_elements=[INSTANCES.c.instance_id], set_=again))

    async def stopped(self) -> None:
        """Show that this process has stopped in good order."""
        async with self._database.writing() as session:
            await session.execute(
                update(INSTANCES).where(INSTANCES.c.instance_id == self._instance_id).values(stopped_ms=self._now_ms())
            )

    async def other_holders(self) -> list[Holder]:
        """The other processes that hold open calls, registered or not."""
        holding = (
            select(CALLS.c.instance_id)
            .where(CALLS.c.ended_ms.is_(None), CALLS.c.instance_id != self._instance_id)
            .distinct()
            .subquery()
        )
        row = INSTANCES.c
        known = select(holding.c.instance_id, func.coalesce(row.beats, NO_BEATS), row.stopped_ms.is_not(None))
        async with self._database.reading() as session:
            found = await session.execute(
                known.select_from(holding).outerjoin(INSTANCES, row.instance_id == holding.c.instance_id)
            )
            return [Holder(instance_id, beats, bool(stopped)) for instance_id, beats, stopped in found]

    def _now_ms(self) -> int:
        return self._clock.now().unix_nanos // 1_000_000


class Watch:
    """Tells the dead from the living by watching: whose beats stand still for so long, while they are looked at.

    No clock is compared with another machine's. What nobody watched does not count: after a gap between two looks, such
    as an outage of the database in which nobody could beat, the watching begins anew.
    """

    __slots__ = ("_last_look", "_seen", "_silence")

    def __init__(self, silence_seconds: float) -> None:
        self._silence = silence_seconds
        self._seen: dict[str, tuple[int, float]] = {}
        self._last_look = float("-inf")

    def silent(self, holders: Iterable[Holder], now: float) -> frozenset[str]:
        """Look at these at this moment (monotonic seconds); answers who has been silent for too long."""
        before = self._seen if now - self._last_look <= self._silence / 2 else {}
        self._last_look = now
        self._seen = {h.instance_id: _unchanged(before.get(h.instance_id), h.beats, now) for h in holders}
        return frozenset(i for i, (_, since) in self._seen.items() if now - since >= self._silence)


def _unchanged(before: tuple[int, float] | None, beats: int, now: float) -> tuple[int, float]:
    return before if before is not None and before[0] == beats else (beats, now)
