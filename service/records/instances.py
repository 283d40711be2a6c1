"""The processes that hold calls, which of them are dead, and the taking over of calls those left open."""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self, cast

from sqlalchemy import Table, and_, case, func, select, update

from service.records.models import InstanceRow
from service.records.record import COLUMNS, StoredCall, readable
from service.records.store import CALLS
from service.records.tracked import claim_at
from service.storage.database import CLAIM_LOCK, Database, advisory_lock, insert_into
from telemetry.calls.events import CallBefore
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Clock, Instant
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallDirection, CallId, TenantId

INSTANCES: Final = cast("Table", InstanceRow.__table__)

NO_HEARTBEATS: Final = -1
"""The heartbeats of a process that never came to register itself."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with open calls."""

    instance_id: str
    heartbeats: int
    stopped: bool
    """It has stopped in good order."""


class Instances:
    """This process's row among the others'."""

    __slots__ = ("_clock", "_database", "_instance_id", "_started_ms")

    def __init__(self, database: Database, instance_id: str, clock: Clock) -> None:
        self._database = database
        self._instance_id = instance_id
        self._clock = clock
        self._started_ms = clock.now().unix_ms

    async def heartbeat(self) -> None:
        """Show that this process lives; the first time registers it."""
        now_ms = self._clock.now().unix_ms
        statement = insert_into(INSTANCES, self._database.engine.dialect).values(
            instance_id=self._instance_id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            started_ms=self._started_ms,
            last_beat_ms=now_ms,
            beats=1,
        )
        again = {"last_beat_ms": now_ms, "beats": INSTANCES.c.beats + 1, "stopped_ms": None}
        async with self._database.writing() as session:
            await session.execute(statement.on_conflict_do_update(index_elements=[INSTANCES.c.instance_id], set_=again))

    async def stopped(self) -> None:
        """Show that this process has stopped in good order."""
        async with self._database.writing() as session:
            await session.execute(
                update(INSTANCES)
                .where(INSTANCES.c.instance_id == self._instance_id)
                .values(stopped_ms=self._clock.now().unix_ms)
            )

    async def other_holders(self) -> list[Holder]:
        """Return the other processes that hold open calls, registered or not."""
        holding = (
            select(CALLS.c.instance_id)
            .where(CALLS.c.ended_ms.is_(None), CALLS.c.instance_id != self._instance_id)
            .distinct()
            .subquery()
        )
        row = INSTANCES.c
        known = select(holding.c.instance_id, func.coalesce(row.beats, NO_HEARTBEATS), row.stopped_ms.is_not(None))
        async with self._database.reading() as session:
            found = await session.execute(
                known.select_from(holding).outerjoin(INSTANCES, row.instance_id == holding.c.instance_id)
            )
            return [Holder(instance_id, heartbeats, bool(stopped)) for instance_id, heartbeats, stopped in found]


class Watch:
    """Tells the dead from the living by watching for heartbeats that stand still while they are looked at.

    No clock is compared with another machine's. What nobody watched does not count: after a gap between two looks, such
    as an outage of the database in which no process could show that it lives, the watching begins anew.
    """

    __slots__ = ("_last_look", "_seen", "_silence")

    def __init__(self, silence_seconds: float) -> None:
        self._silence = silence_seconds
        self._seen: dict[str, tuple[int, float]] = {}
        self._last_look = float("-inf")

    def silent(self, holders: Iterable[Holder], now: float) -> frozenset[str]:
        """Look at these at this moment (monotonic seconds); return those that have been silent for too long."""
        before = self._seen if now - self._last_look <= self._silence / 2 else {}
        self._last_look = now
        self._seen = {h.instance_id: _unchanged(before.get(h.instance_id), h.heartbeats, now) for h in holders}
        return frozenset(i for i in self._seen if self.silence(i) >= self._silence)

    def silence(self, instance_id: str) -> float:
        """Return the seconds for which the process's heartbeats had stood still at the last look; 0 if not watched."""
        _, since = self._seen.get(instance_id, (0, self._last_look))
        return self._last_look - since


def _unchanged(before: tuple[int, float] | None, heartbeats: int, now: float) -> tuple[int, float]:
    return before if before is not None and before[0] == heartbeats else (heartbeats, now)


@dataclass(frozen=True, slots=True)
class OrphanedCall:
    """A call that its process left open. It belongs to this process now: attach to it again, or end it as stale.

    A pending one may have been accepted in the moment its process died: try to attach to it too.
    """

    call_id: CallId
    tenant_id: TenantId
    state: CallState
    received_ms: int
    started_ms: int | None
    last_seen_ms: int
    billed_until_ms: int
    """The moment up to which call time is billed; of a call that has not started, its last activity."""
    trace_id: str | None
    """32 hexadecimal digits: the trace to continue."""
    span_id: str | None
    """16 hexadecimal digits: its root span, the parent of what comes."""
    direction: CallDirection
    source: str
    looked_up: bool
    """False if its process died before it found the tenant: the announcement alone names the dialled number whole."""
    record: StoredCall | None = None
    """The whole record, as it was when the call was taken over."""
    handed_over: bool = False
    """True if its process stopped in good order; False if it was lost."""

    @classmethod
    def of(cls, record: StoredCall, *, handed_over: bool = False) -> Self:
        """Return what a record says of its call."""
        return cls(
            record.call_id,
            record.tenant_id,
            record.state,
            record.received_ms,
            record.started_ms,
            record.last_activity_ms,
            record.billed_until_ms,
            record.trace_id,
            record.span_id,
            record.direction,
            record.source,
            looked_up=record.tenant_id != UNKNOWN_TENANT or record.dialled_masked is None,
            record=replace(record),
            handed_over=handed_over,
        )

    def before(self, now: Instant) -> CallBefore:
        """Return what is on record of the call, with its moments on this process's clock."""

        def at(at_ms: int) -> Instant:
            # Whole nanoseconds: a moment is shown as it is on record, to the millisecond.
            unix_nanos = at_ms * 1_000_000
            return Instant(now.monotonic - (now.unix_nanos - unix_nanos) / 1e9, unix_nanos)

        def moment(at_ms: int | None) -> Instant | None:
            return None if at_ms is None else at(at_ms)

        received = at(self.received_ms)
        record = self.record
        if record is None:
            return CallBefore(received, started=moment(self.started_ms), handed_over=self.handed_over)
        return CallBefore(
            received,
            moment(record.decided_ms),
            moment(record.started_ms),
            moment(record.first_audio_ms),
            record.caller_masked,
            record.caller_hash,
            record.dialled_masked,
            record.turns or 0,
            record.interruptions or 0,
            (record.longest_wait_ms or 0) / 1000,
            record.tokens,
            self.handed_over,
        )

    def last_activity(self, now: Instant) -> Instant:
        """Return the last activity on this process's clock."""
        return _on_clock(self.last_seen_ms, now)

    def billed_until(self, now: Instant) -> Instant:
        """Return the moment up to which call time is billed, on this process's clock.

        Reported as the moment the call started again, it makes the gap count as call time: no process watched it, but
        the session that still lives shows that it ran.
        """
        return _on_clock(self.billed_until_ms, now)


def _on_clock(at_ms: int, now: Instant) -> Instant:
    return now.minus(max(0.0, now.unix_nanos / 1e9 - at_ms / 1e3))


async def take_over(
    database: Database, instance_id: str, dead: Iterable[str], now: Instant
) -> dict[CallId, tuple[StoredCall, bool]]:
    """Take over the open calls of these processes, and those handed over; each goes to one process only.

    Returns each call's record, and True if it was handed over.

    The claim grows with each take-over, so that the process which lost the call meets no row any more.
    """
    row = CALLS.c
    taken = {
        "instance_id": instance_id,
        "claim": case((row.claim < claim_at(now), claim_at(now)), else_=row.claim + 1),
        "version": 1,
        "handed_over_ms": None,
        "written_ms": now.unix_ms,
    }
    orphans: dict[CallId, tuple[StoredCall, bool]] = {}
    async with database.writing() as session:
        await advisory_lock(session, CLAIM_LOCK)
        # Those handed over come first: once they are taken, nothing tells them from the others.
        for left, handed_over in ((row.handed_over_ms.is_not(None), True), (row.instance_id.in_(sorted(dead)), False)):
            found = await session.execute(
                update(CALLS)
                .where(and_(row.ended_ms.is_(None), row.instance_id != instance_id, left))
                .values(taken)
                .returning(*(row[name] for name in COLUMNS))
            )
            orphans |= {record.call_id: (record, handed_over) for record in readable(found.mappings())}
    return orphans
