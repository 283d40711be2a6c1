"""Call records as a ledger."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, func, literal, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.reconciliation.counters import REJECTIONS, UNANSWERED, rejection_field, unanswered_field
from service.reconciliation.figures import ZERO, Field, Figure, Interval, ReconcileQuery, Row, Rows, Scope
from service.records.instances import INSTANCES
from service.records.record import DurationSource
from service.records.store import CALLS
from service.records.tracked import STALE
from service.storage.database import Database
from service.usage.query import longest_call_ms
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, UnansweredReason

Condition = ColumnElement[bool]
Number = ColumnElement[int]
MICROS_PER_MS = 1000
"""Claims are in microseconds, all other moments in milliseconds."""
_ROW = CALLS.c
_CLAIMED_MS = _ROW.claim // MICROS_PER_MS
_OWN = _ROW.received_ms == _CLAIMED_MS
_TAKEN_OVER = _ROW.received_ms != _CLAIMED_MS
_TAKEN = _ROW.state.not_in([CallState.PENDING.value, CallState.REJECTED.value, CallState.UNANSWERED.value])
_STARTED = _ROW.started_ms.is_not(None)
_ENDED = _ROW.state == CallState.ENDED.value
_STALE = and_(_ENDED, _ROW.reason == EndReason.STALE.value)
_SHUTDOWN = and_(_ENDED, _ROW.reason == EndReason.SHUTDOWN.value)
_SEEN = and_(_ENDED, _ROW.reason.not_in([EndReason.STALE.value, EndReason.SHUTDOWN.value]))
_FAILED = and_(_ENDED, _ROW.error_type.is_not(None))
_DECIDED_LATE = and_(_TAKEN_OVER, _ROW.decided_ms >= _CLAIMED_MS)
"""Still undecided when it was taken over: it was decided anew, or found to be accepted already."""
_STARTED_LATE = and_(_TAKEN_OVER, _ROW.started_ms >= _CLAIMED_MS)
_UNDECIDED = and_(_TAKEN_OVER, _ROW.state == CallState.PENDING.value)
_NEVER_DECIDED = _ROW.error_type == STALE
"""A rejection that nobody made: the process died, and the one that found the call closed it so."""
_GIVEN_UP = func.coalesce(_ROW.duration_source, "") == DurationSource.LAST_SIGN_OF_LIFE.value
"""Found over when it was taken over, or gone on with and then silent: the row does not say which."""


@dataclass(frozen=True, slots=True)
class RowSum:
    """A sum over rows, and what of it may belong elsewhere."""

    value: Number
    less: Number | None = None
    """Expression for how much lower the true value can be; None for not at all."""
    more: Number | None = None
    """Expression for how much higher the true value can be."""


def count(condition: Condition) -> Number:
    """Return the number of rows for which this holds."""
    return func.sum(case((condition, 1), else_=0))


def of_process() -> Mapping[Field, RowSum]:
    """Return the quantities that a process's counters have of the rows it holds."""
    return {
        # One whose tenant nobody knew counts anew where it is announced again.
        Field.RECEIVED: RowSum(count(_OWN), more=count(or_(_DECIDED_LATE, _UNDECIDED))),
        Field.ACCEPTED: RowSum(count(and_(_OWN, _TAKEN)), more=count(and_(_TAKEN, _DECIDED_LATE))),
        **{field: RowSum(count(and_(or_(_OWN, _DECIDED_LATE), _rejected(field)))) for field in REJECTIONS},
        **{field: RowSum(count(and_(or_(_OWN, _DECIDED_LATE), _unanswered(field)))) for field in UNANSWERED},
        Field.STARTED: RowSum(count(and_(_OWN, _STARTED)), more=count(_STARTED_LATE)),
        Field.ENDED: RowSum(count(_SEEN)),
        Field.FAILED: RowSum(count(_FAILED)),
        Field.REFERRED: RowSum(count(and_(_ROW.referred_ms.is_not(None), or_(_OWN, _ROW.referred_ms >= _CLAIMED_MS)))),
        # One that was given up when it was taken over has ended in no counter.
        Field.STALE: RowSum(count(_STALE), less=count(and_(_STALE, _TAKEN_OVER))),
        Field.SHUTDOWN: RowSum(count(_SHUTDOWN)),
        Field.TAKEN_OVER: RowSum(
            count(and_(_TAKEN_OVER, not_(_GIVEN_UP))),
            less=count(and_(_TAKEN_OVER, or_(_ROW.ended_ms.is_(None), _DECIDED_LATE))),
            more=count(and_(_TAKEN_OVER, _GIVEN_UP)),
        ),
        Field.HANDED_OVER: RowSum(count(_ROW.handed_over_ms.is_not(None))),
        Field.MINUTES: RowSum(func.sum(_ROW.billed_ms), less=func.sum(case((_TAKEN_OVER, _elsewhere()), else_=0))),
        Field.ACTIVE: RowSum(count(_ROW.state == CallState.STARTED.value)),
        Field.PENDING: RowSum(count(_ROW.state.in_([CallState.PENDING.value, CallState.ACCEPTED.value]))),
    }


def in_interval(interval: Interval, *, overlap_ms: int = 0, late_ms: int = 0) -> Mapping[Field, RowSum]:
    """Return the quantities of an interval, whichever process counted them.

    ``overlap_ms`` is how much a call's time may be counted twice or not at all where one process takes it over,
    ``late_ms`` how long after it ran call time may be counted: so much more of it belongs to the interval.
    """

    def within(moment: Number) -> Condition:
        return and_(moment >= interval.start_ms, moment < interval.end_ms)

    taken_over = and_(_TAKEN_OVER, within(_CLAIMED_MS))
    # What a process counted in its last moment may have been lost with it, and the call found as it was before.
    decided_twice = count(and_(taken_over, or_(_DECIDED_LATE, _UNDECIDED, func.coalesce(_NEVER_DECIDED, False))))
    started_twice = count(and_(taken_over, or_(_STARTED_LATE, not_(_STARTED))))
    given_up = count(and_(taken_over, _ROW.duration_source == DurationSource.LAST_SIGN_OF_LIFE.value))
    decided = func.coalesce(_ROW.decided_ms, _ROW.ended_ms)
    doubtful = overlap_ms * count(taken_over)
    billed = ran_within(Interval(interval.start_ms - late_ms, interval.end_ms))
    return {
        Field.RECEIVED: RowSum(count(within(_ROW.received_ms)), more=decided_twice),
        Field.ACCEPTED: _late(within(_ROW.decided_ms), _TAKEN, _DECIDED_LATE, decided_twice),
        **{field: _rejections(field, within(decided), decided_twice) for field in REJECTIONS},
        **{field: RowSum(count(and_(_unanswered(field), within(decided))), more=decided_twice) for field in UNANSWERED},
        Field.STARTED: _late(within(_ROW.started_ms), _STARTED, _STARTED_LATE, started_twice),
        Field.ENDED: RowSum(count(and_(_SEEN, within(_ROW.ended_ms))), more=given_up),
        Field.FAILED: RowSum(count(and_(_FAILED, within(_ROW.ended_ms))), more=given_up),
        Field.REFERRED: RowSum(count(within(_ROW.referred_ms)), more=count(taken_over)),
        # Its end is its last activity; it was counted when that had been long enough ago.
        Field.STALE: RowSum(
            count(and_(_STALE, within(_ROW.written_ms))), less=count(and_(_STALE, _TAKEN_OVER, within(_ROW.written_ms)))
        ),
        Field.SHUTDOWN: RowSum(count(and_(_SHUTDOWN, within(_ROW.ended_ms)))),
        Field.TAKEN_OVER: RowSum(count(taken_over)),
        Field.MINUTES: RowSum(func.sum(billed), less=doubtful, more=doubtful),
    }


def _late(within: Condition, condition: Condition, late: Condition, twice: Number) -> RowSum:
    """Return the range of a transition that the process which took a call over may be the first to count."""
    return RowSum(count(and_(condition, within)), less=count(and_(condition, within, late)), more=twice)


def ran_within(interval: Interval) -> Number:
    """Return a call's time that lies in the interval, in milliseconds."""
    begin = _ROW.usage_from_ms
    end = begin + func.coalesce(_ROW.duration_ms, _ROW.billed_ms)
    first = case((begin < interval.start_ms, literal(interval.start_ms, BigInteger)), else_=begin)
    last = case((end > interval.end_ms, literal(interval.end_ms, BigInteger)), else_=end)
    return case((last > first, last - first), else_=0)


def _rejected(field: Field, *, died: bool = False) -> Condition:
    reason = next(reason for reason in RejectionReason if rejection_field(reason) is field)
    rejected = and_(_ROW.state == CallState.REJECTED.value, _ROW.reason == reason.value)
    return rejected if died else and_(rejected, not_(func.coalesce(_NEVER_DECIDED, False)))


def _unanswered(field: Field) -> Condition:
    reason = next(reason for reason in UnansweredReason if unanswered_field(reason) is field)
    return and_(_ROW.state == CallState.UNANSWERED.value, _ROW.reason == reason.value)


def _rejections(field: Field, within: Condition, twice: Number) -> RowSum:
    condition = and_(_rejected(field, died=True), within)
    nobodys = count(and_(condition, _NEVER_DECIDED)) if field is Field.REJECTED_CARRIER else None
    return RowSum(count(condition), less=nobodys, more=twice)


def _elsewhere() -> Number:
    """Return the most of a taken-over call's time that others can have billed: all but what ran here."""
    billed_until = _ROW.usage_from_ms + _ROW.billed_ms
    here = case((billed_until > _CLAIMED_MS, billed_until - _CLAIMED_MS), else_=0)
    here = case((_ROW.duration_source == DurationSource.LAST_SIGN_OF_LIFE.value, 0), else_=here)
    return case((_ROW.billed_ms > here, _ROW.billed_ms - here), else_=0)


_SETUP_MS = 3_600_000
# Longer than any call took from its announcement to its start.
MAX_INSTANCES = 1_000
"""Processes of a window that are looked at; the latest."""
MAX_KILLED = 20
"""Processes that were killed of which the last calls are named; the latest."""
_LAST_MS = 1_000
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
        """Return each tenant's figures: of this process's calls, or of what happened in the window."""
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
            row_sums = in_interval(interval, overlap_ms=self._overlap_ms, late_ms=late_ms)
            halves = [await _rows(session, row_sums, and_(part, *own, *_of_tenant(query))) for part in (begun, _OPEN)]
        return _added(*halves)

    async def open_calls(self) -> list[Recorded]:
        """Return the calls this process holds and that are not over."""
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
        """Return the tenant's calls that this process received itself and that are over, the latest first."""
        row = CALLS.c
        mine = and_(row.instance_id == self._instance_id, row.tenant_id == tenant_id, _OVER)
        async with self._database.reading() as session:
            found = await session.execute(_FACTS.where(mine).order_by(row.received_ms.desc()).limit(most))
            return [recorded for recorded in map(_recorded, found) if not recorded.taken_over]

    async def last_of(self, killed: Iterable[Instance]) -> list[Recorded]:
        """Return the calls on record of the last second of these processes, as far as no other has taken them over."""
        found: list[Recorded] = []
        row = CALLS.c
        async with self._database.reading() as session:
            for instance in list(killed)[:MAX_KILLED]:
                own = row.instance_id == instance.instance_id
                latest = select(func.max(row.written_ms) - _LAST_MS).where(own).scalar_subquery()
                rows = await session.execute(_FACTS.where(own, row.written_ms >= latest).limit(_AT_ONCE))
                found += map(_recorded, rows)
        return found

    async def instances(self, interval: Interval) -> list[Instance]:
        """Return the processes that may have lived in an interval."""
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


async def _rows(session: AsyncSession, row_sums: Mapping[Field, RowSum], which: ColumnElement[bool]) -> Rows:
    parts = (part for row_sum in row_sums.values() for part in (row_sum.value, row_sum.less, row_sum.more))
    sums = [part for part in parts if part is not None]
    named = [part.label(f"sum_{number}") for number, part in enumerate(sums)]
    # Grouping by the column itself would tempt SQLite to read all there is in the order of tenants.
    tenant = func.coalesce(CALLS.c.tenant_id, "").label("tenant")
    found = await session.execute(select(tenant, func.count(), *named).where(which).group_by(tenant))
    return {row[0]: _figures(row_sums, row[1], iter(row[2:])) for row in found}


def _figures(row_sums: Mapping[Field, RowSum], calls: int, sums: Any) -> dict[Field, Figure]:  # noqa: ANN401 -- driver's
    row = {}
    for field, row_sum in row_sums.items():
        value, less, more = (
            0.0 if part is None else float(next(sums) or 0) for part in (row_sum.value, row_sum.less, row_sum.more)
        )
        figure = Figure(value, value - less, value + more)
        row[field] = _in_minutes(figure, calls) if field is Field.MINUTES else figure
    return row


def _in_minutes(milliseconds: Figure, calls: int) -> Figure:
    """Return minutes, widened by the rounding of each row to a millisecond, which the counters do not have."""
    value, low, high = milliseconds
    off = calls / 2
    return Figure(value / MS_PER_MINUTE, (low - off) / MS_PER_MINUTE, (high + off) / MS_PER_MINUTE)


def _handed_on(row: Row) -> dict[Field, Figure]:
    """Return the figure widened by calls that changed hands: a row tells of the last alone, counters of all."""
    taken_over = row[Field.TAKEN_OVER]
    return {Field.TAKEN_OVER: Figure(taken_over.value, 0, inf)}


def _added(one: Rows, other: Rows) -> Rows:
    return {
        tenant: {
            field: one.get(tenant, {}).get(field, ZERO).plus(other.get(tenant, {}).get(field, ZERO))
            for field in (one.get(tenant) or other[tenant])
        }
        for tenant in one.keys() | other.keys()
    }
