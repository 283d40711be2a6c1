"""Call records as a ledger."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.reconciliation.figures import ZERO, Field, Figure, Row, Rows
from service.reconciliation.query import Interval, ReconcileQuery, Scope
from service.reconciliation.tallies import MICROS_PER_MS, Tally, in_interval, of_process
from service.records.instances import INSTANCES
from service.records.store import CALLS
from service.storage.database import Database
from service.usage.query import longest_call_ms
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import CallId

_SETUP_MS = 3_600_000
# Longer than any call took from its announcement to its start.
MAX_INSTANCES = 1_000
"""Processes of a window that are looked at; the latest."""
MS_PER_MINUTE = 60_000
_AT_ONCE = 500
# Ids in one statement.
# Each is what an index is limited to, and the only one of the two that index serves.
_OVER = CALLS.c.ended_ms.is_not(None)
_OPEN = CALLS.c.ended_ms.is_(None)
_FACTS = select(
    CALLS.c.call_id,
    CALLS.c.tenant_id,
    CALLS.c.state,
    CALLS.c.instance_id,
    CALLS.c.received_ms,
    CALLS.c.claim,
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The part of a row that is compared call by call."""

    call_id: CallId
    tenant_id: str
    state: CallState
    instance_id: str
    received_ms: int
    taken_over: bool


@dataclass(frozen=True, slots=True)
class Instance:
    """A process as the database knows it."""

    instance_id: str
    started_ms: int
    last_beat_ms: int
    stopped_ms: int | None


class RecordsLedger:
    """Reads what rows add up to. Every method raises what the database raises."""

    def __init__(self, database: Database, instance_id: str, *, overlap_ms: int) -> None:
        self._database = database
        self._instance_id = instance_id
        self._overlap_ms = overlap_ms

    async def rows(self, query: ReconcileQuery) -> Rows:
        """Each tenant's figures: of this process's calls, or of what happened in the window."""
        if query.scope is Scope.FLEET:
            happened = await self.happened(query, Interval(query.start_ms, query.end_ms))
            return {tenant: row | _handed_on(row) for tenant, row in happened.items()}
        own = CALLS.c.instance_id == self._instance_id
        async with self._database.reading() as session:
            halves = [
                await _rows(session, of_process(), and_(part, own, *_of_tenant(query))) for part in (_OVER, _OPEN)
            ]
        return _added(*halves)

    async def happened(self, query: ReconcileQuery, interval: Interval, *, late_ms: int = 0) -> Rows:
        """Return the figures of an interval, in this process or in all of them, as the query says.

        Call time may be counted so much later than it ran.
        """
        row = CALLS.c
        async with self._database.reading() as session:
            earliest = interval.start_ms - late_ms - await longest_call_ms(session) - _SETUP_MS
            begun = and_(row.received_ms >= earliest, row.received_ms < interval.end_ms, _OVER)
            own = [row.instance_id == self._instance_id] if query.scope is Scope.PROCESS else []
            tallies = in_interval(interval, overlap_ms=self._overlap_ms, late_ms=late_ms)
            halves = [await _rows(session, tallies, and_(part, *own, *_of_tenant(query))) for part in (begun, _OPEN)]
        return _added(*halves)

    async def open_calls(self) -> list[Recorded]:
        """The calls this process holds and that are not over."""
        async with self._database.reading() as session:
            found = await session.execute(_FACTS.where(CALLS.c.instance_id == self._instance_id, _OPEN))
            return [_recorded(row) for row in found]

    async def known(self, call_ids: Iterable[str]) -> dict[str, Recorded]:
        """Return the rows of these calls, as far as there are any."""
        wanted, found = sorted(set(call_ids)), {}
        async with self._database.reading() as session:
            for first in range(0, len(wanted), _AT_ONCE):
                some = _FACTS.where(CALLS.c.call_id.in_(wanted[first : first + _AT_ONCE]))
                found.update({row.call_id: _recorded(row) for row in await session.execute(some)})
        return found

    async def latest(self, tenant_id: str, most: int) -> list[Recorded]:
        """The tenant's calls that this process received itself and that are over, the latest first."""
        row = CALLS.c
        mine = and_(row.instance_id == self._instance_id, row.tenant_id == tenant_id, _OVER)
        async with self._database.reading() as session:
            found = await session.execute(_FACTS.where(mine).order_by(row.received_ms.desc()).limit(most))
            return [recorded for recorded in map(_recorded, found) if not recorded.taken_over]

    async def instances(self, interval: Interval) -> list[Instance]:
        """The processes that may have lived in an interval."""
        row = INSTANCES.c
        lived = and_(
            row.started_ms < interval.end_ms, or_(row.stopped_ms.is_(None), row.stopped_ms > interval.start_ms)
        )
        columns = (row.instance_id, row.started_ms, row.last_beat_ms, row.stopped_ms)
        latest = select(*columns).where(lived).order_by(row.started_ms.desc()).limit(MAX_INSTANCES)
        async with self._database.reading() as session:
            return [Instance(*found) for found in await session.execute(latest)]


def _recorded(row: Any) -> Recorded:  # noqa: ANN401 -- a row of any shape
    call_id, tenant_id, state, instance_id, received_ms, claim = row
    taken_over = claim // MICROS_PER_MS != received_ms
    return Recorded(CallId(call_id), tenant_id, CallState(state), instance_id, received_ms, taken_over)


def _of_tenant(query: ReconcileQuery) -> list[ColumnElement[bool]]:
    return [] if query.tenant_id is None else [CALLS.c.tenant_id == query.tenant_id]


async def _rows(session: AsyncSession, tallies: Mapping[Field, Tally], which: ColumnElement[bool]) -> Rows:
    sums = [part for tally in tallies.values() for part in (tally.value, tally.less, tally.more) if part is not None]
    named = [part.label(f"sum_{number}") for number, part in enumerate(sums)]
    # Grouping by the column itself would tempt SQLite to read all there is in the order of tenants.
    tenant = func.coalesce(CALLS.c.tenant_id, "").label("tenant")
    found = await session.execute(select(tenant, func.count(), *named).where(which).group_by(tenant))
    return {row[0]: _figures(tallies, row[1], iter(row[2:])) for row in found}


def _figures(tallies: Mapping[Field, Tally], calls: int, sums: Any) -> dict[Field, Figure]:  # noqa: ANN401 -- driver's
    row = {}
    for field, tally in tallies.items():
        value, less, more = (
            0.0 if part is None else float(next(sums) or 0) for part in (tally.value, tally.less, tally.more)
        )
        figure = Figure(value, value - less, value + more)
        row[field] = _in_minutes(figure, calls) if field is Field.MINUTES else figure
    return row


def _in_minutes(milliseconds: Figure, calls: int) -> Figure:
    """Each row is rounded to a millisecond, up or down; the counters are not."""
    value, low, high = milliseconds
    off = calls / 2
    return Figure(value / MS_PER_MINUTE, (low - off) / MS_PER_MINUTE, (high + off) / MS_PER_MINUTE)


def _handed_on(row: Row) -> dict[Field, Figure]:
    """A row tells of a call's last hands alone, counters of all: each stop and each taking over counts there."""
    taken_over = row[Field.TAKEN_OVER]
    return {
        Field.SHUTDOWN: row[Field.SHUTDOWN].at_least(),
        Field.TAKEN_OVER: Figure(taken_over.value, 0, inf),
    }


def _added(one: Rows, other: Rows) -> Rows:
    return {
        tenant: {
            field: one.get(tenant, {}).get(field, ZERO).plus(other.get(tenant, {}).get(field, ZERO))
            for field in (one.get(tenant) or other[tenant])
        }
        for tenant in one.keys() | other.keys()
    }
