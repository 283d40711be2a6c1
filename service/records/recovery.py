"""Calls that dead processes left open: taken over, each by one process alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sqlalchemy import and_, case, or_, update

from service.records.record import COLUMNS, StoredCall, readable
from service.records.store import CALLS
from service.records.tracked import claim_at
from service.storage.database import CLAIM_LOCK, Database, advisory_lock
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Instant
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId, TenantId


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
    billed_ms: int
    """Call time up to the last activity, in milliseconds."""
    trace_id: str | None
    """32 hexadecimal digits: the trace to continue."""
    span_id: str | None
    """16 hexadecimal digits: its root span, the parent of what comes."""
    looked_up: bool
    """False if its process died before it found the tenant: the announcement alone names the dialled number whole."""

    @classmethod
    def of(cls, record: StoredCall) -> Self:
        """Return what a record says of its call."""
        return cls(
            record.call_id,
            record.tenant_id,
            record.state,
            record.received_ms,
            record.started_ms,
            record.last_seen_ms,
            record.billed_ms,
            record.trace_id,
            record.span_id,
            looked_up=record.tenant_id != UNKNOWN_TENANT or record.dialled_masked is None,
        )

    def last_activity(self, now: Instant) -> Instant:
        """Return the last activity on this process's clock.

        Reported as the moment the call started again, it makes the gap count as call time: no process watched it, but
        the session that still lives shows that it ran.
        """
        return now.minus(max(0.0, now.unix_nanos / 1e9 - self.last_seen_ms / 1e3))


async def take_over(database: Database, instance_id: str, dead: Iterable[str], now: Instant) -> list[StoredCall]:
    """Take over the open calls of these processes, and those handed over; each goes to one process only.

    The claim grows with each take-over, so that the process which lost the call meets no row any more.
    """
    row = CALLS.c
    left = or_(row.handed_over_ms.is_not(None), row.instance_id.in_(sorted(dead)))
    taken = {
        "instance_id": instance_id,
        "claim": case((row.claim < claim_at(now), claim_at(now)), else_=row.claim + 1),
        "version": 1,
        "handed_over_ms": None,
        "written_ms": now.unix_ms,
    }
    async with database.writing() as session:
        await advisory_lock(session, CLAIM_LOCK)
        found = await session.execute(
            update(CALLS)
            .where(and_(row.ended_ms.is_(None), row.instance_id != instance_id, left))
            .values(taken)
            .returning(*(row[name] for name in COLUMNS))
        )
        return readable(found.mappings())
