"""Finds the calls that dead processes left open, and takes them over, each by one process alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sqlalchemy import and_, case, or_, update

from service.database import Database
from service.records.ledger import claim_at
from service.records.record import COLUMNS, CallRecord
from service.records.store import CALLS
from service.records.turns import CLAIMING, take_turn
from telemetry.attributes import CallId, TenantId
from telemetry.clock import Instant
from telemetry.lifecycle import CallState


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
    """Call time up to the last sign of life."""
    trace_id: str | None
    """32 hexadecimal digits: the trace to continue."""
    span_id: str | None
    """16 hexadecimal digits: its root span, the parent of what comes."""

    @classmethod
    def of(cls, record: CallRecord) -> Self:
        """What a record says of its call."""
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
        )

    def last_sign_of_life(self, now: Instant) -> Instant:
        """The last sign of life on this process's clock.

        Reported as the moment the call started again, it makes the gap count as call time: nobody watched it, but the
        session that still lives shows that it ran.
        """
        return now.minus(max(0.0, now.unix_nanos / 1e9 - self.last_seen_ms / 1e3))


async def claim(database: Database, instance_id: str, dead: Iterable[str], now: Instant) -> list[CallRecord]:
    """Take over the open calls of these processes, and those handed over; each is answered to one claimer only."""
    row = CALLS.c
    left = or_(row.handed_over_ms.is_not(None), row.instance_id.in_(sorted(dead)))
    taken = {
        "instance_id": instance_id,
        "claim": case((row.claim < claim_at(now), claim_at(now)), else_=row.claim + 1),
        "version": 1,
        "handed_over_ms": None,
        "written_ms": now.unix_nanos // 1_000_000,
    }
    async with database.writing() as session:
        await take_turn(session, CLAIMING)
        found = await session.execute(
            update(CALLS)
            .where(and_(row.ended_ms.is_(None), row.instance_id != instance_id, left))
            .values(taken)
            .returning(*(row[name] for name in COLUMNS))
        )
        return [CallRecord.from_row(dict(claimed)) for claimed in found.mappings()]
