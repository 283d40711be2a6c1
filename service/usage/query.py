"""Usage in SQL: calls that lie in one slot are summed by the database, the few that cross a boundary come one by one.

Both statements read one index alone; see ``ix_call_records_usage``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, func, literal, null, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CompoundSelect, FromClause

from service.records.store import CALLS
from service.usage.period import HOUR_MS, Grouping, LocalTime, Period, Unit
from service.usage.rules import PER_SECOND, ROUNDINGS, Rounding, Rules
from telemetry.recent.record import CallOutcome

WHOLE = 0
"""The slot of a period that is not divided."""


@dataclass(slots=True)
class Sums:
    """What lines of usage add up."""

    calls: int = 0
    answered: int = 0
    """Of these, those whose media session began."""
    still_open: int = 0
    """Of these, those that run: their time grows."""
    duration_ms: int = 0
    rounded_ms: int = 0

    def add(self, other: "Sums") -> None:
        """Add another's."""
        self.calls += other.calls
        self.answered += other.answered
        self.still_open += other.still_open
        self.duration_ms += other.duration_ms
        self.rounded_ms += other.rounded_ms


@dataclass(frozen=True, slots=True)
class Share:
    """A call, or the part of one that falls into one slot."""

    slot: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class Slots:
    """A period and how it is divided."""

    period: Period
    local: LocalTime
    unit: Unit | None

    @classmethod
    def of(cls, period: Period, unit: Unit | None) -> "Slots":
        """The slots of a period."""
        return cls(period, LocalTime.over(period.zone, period.start_ms, period.end_ms), unit)

    def slot(self, at_ms: int) -> int:
        """The slot a moment is in."""
        return WHOLE if self.unit is None else self.local.slot(self.unit, at_ms)

    def end(self, at_ms: int) -> int:
        """The end of that slot, or of the period."""
        whole = self.period.end_ms
        return whole if self.unit is None else min(whole, self.local.slot_end(self.unit, at_ms))


def shares(
    slots: Slots, *, start_ms: int, duration_ms: int, answered: bool, still_open: bool, rounding: Rounding
) -> Iterator[Share]:
    """The parts of a call that fall into the period."""
    period, end_ms = slots.period, start_ms + duration_ms
    surplus = rounding.rounded(duration_ms) - duration_ms
    if period.start_ms <= start_ms < period.end_ms:
        yield Share(slots.slot(start_ms), Sums(1, int(answered), int(still_open)))
    at_ms = max(start_ms, period.start_ms)
    while at_ms < min(end_ms, period.end_ms):
        until = min(end_ms, slots.end(at_ms))
        part = until - at_ms
        yield Share(slots.slot(at_ms), Sums(0, 0, 0, part, part + (surplus if until == end_ms else 0)))
        at_ms = until


Number = ColumnElement[int]
OPEN = "open"
"""The outcome of calls that are not over."""
SETUP_MS = HOUR_MS
"""Longer than any call took from its announcement to its start."""
_NEVER_STARTED = (CallOutcome.REJECTED.value, CallOutcome.ABANDONED.value)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the records."""

    slots: Slots
    grouping: Grouping
    rules: Rules
    tenant_id: str | None
    look_back_ms: int
    """How long before the period a call that reaches into it can have started."""


async def longest_call_ms(session: AsyncSession) -> int:
    """The longest closed call there is; the last entry of an index."""
    return int(await session.scalar(select(func.coalesce(func.max(CALLS.c.duration_ms), 0))) or 0)


def summed(question: Question) -> Select[Any]:
    """Sums of the closed calls that lie in one slot: slot, tenant, outcome, reason, calls, answered, two durations.

    In the order of the slots; what is not grouped by is an empty text.
    """
    rounded, source = _rounded(question.rules)
    keys = [_slot(question, CALLS.c.usage_from_ms), *_keys(question.grouping)]
    ran = func.coalesce(CALLS.c.duration_ms, 0)
    sums = (func.count(), func.sum(_answered()), func.sum(ran), func.sum(rounded))
    named = [key.label(f"key_{number}") for number, key in enumerate(keys)]
    return (
        select(*named, *sums)
        .select_from(source)
        .where(_starts(question, question.slots.period.start_ms), _in_one_slot(question))
        .group_by(*named)
        .order_by(named[0])
    )


def crossing(question: Question) -> CompoundSelect[Any]:
    """The other calls, one by one, in the order of their starts: start, duration, tenant, outcome, reason, answered."""
    row, start_ms = CALLS.c, question.slots.period.start_ms
    # Adding up a duration that is null makes no call reach in.
    reaches_in = row.usage_from_ms + row.duration_ms > start_ms
    across = and_(row.usage_from_ms >= start_ms, ~_in_one_slot(question))
    closed = select(row.usage_from_ms, row.duration_ms, row.tenant_id, row.outcome, row.reason, _answered()).where(
        _starts(question, start_ms - question.look_back_ms),
        or_(and_(row.usage_from_ms < start_ms, reaches_in), across),
    )
    started = case((row.started_ms.is_not(None), 1), else_=0)
    running = select(row.usage_from_ms, row.billed_ms, row.tenant_id, literal(OPEN), null(), started).where(
        row.ended_ms.is_(None),
        row.usage_from_ms < question.slots.period.end_ms,
        or_(row.usage_from_ms >= start_ms, row.usage_from_ms + row.billed_ms > start_ms),
        # Not by the column itself, whose index would bring the tenant's calls of all times.
        *([] if question.tenant_id is None else [func.coalesce(row.tenant_id, "") == question.tenant_id]),
    )
    return union_all(closed, running).order_by("usage_from_ms")


def _answered() -> Number:
    return case((CALLS.c.outcome.in_(_NEVER_STARTED), 0), else_=1)


def _starts(question: Question, from_ms: int) -> ColumnElement[bool]:
    row = CALLS.c
    started = (row.usage_from_ms >= from_ms, row.usage_from_ms < question.slots.period.end_ms)
    return and_(row.ended_ms.is_not(None), *started, *_of_tenant(question, from_ms))


def _of_tenant(question: Question, from_ms: int) -> list[ColumnElement[bool]]:
    """One tenant's calls: an index has them in the order they were received, which is before they started."""
    if question.tenant_id is None:
        return []
    row = CALLS.c
    received = (row.received_ms >= from_ms - SETUP_MS, row.received_ms < question.slots.period.end_ms)
    return [row.tenant_id == question.tenant_id, *received]


def _in_one_slot(question: Question) -> ColumnElement[bool]:
    """Whether a call's last millisecond is in the slot of its first, and in the period."""
    start, ran = CALLS.c.usage_from_ms, func.coalesce(CALLS.c.duration_ms, 0)
    ends_within = start + ran <= question.slots.period.end_ms
    if question.slots.unit is None:
        return ends_within
    last = start + case((ran > 0, ran - 1), else_=0)
    return and_(ends_within, _slot(question, start) == _slot(question, last))


def _slot(question: Question, at_ms: Number) -> Number:
    """The same as :meth:`service.usage.period.LocalTime.slot`."""
    unit = question.slots.unit
    if unit is None:
        return literal(WHOLE, BigInteger)
    offset = _offset(question, at_ms)
    whole = (at_ms + offset) // unit.milliseconds
    return whole if unit is Unit.DAY else whole * HOUR_MS - offset


def _offset(question: Question, at_ms: Number) -> Number:
    stretches = question.slots.local.stretches
    until_next = [(at_ms < later.start_ms, literal(one.offset_ms, BigInteger)) for one, later in pairwise(stretches)]
    last = literal(stretches[-1].offset_ms, BigInteger)
    return case(*until_next, else_=last) if until_next else last


def _keys(grouping: Grouping) -> list[ColumnElement[Any]]:
    nothing = literal("")
    outcome = (CALLS.c.outcome, func.coalesce(CALLS.c.reason, "")) if grouping.by_outcome else (nothing, nothing)
    return [CALLS.c.tenant_id if grouping.by_tenant else nothing, *outcome]


# Rounding in SQL --------------------------------------------------------------------------------------------------
def _rounded(rules: Rules) -> tuple[Number, FromClause]:
    """A call's rounded duration, and the tables it is computed from."""
    general_initial, general_step = _general(rules)
    if rules.only_general:
        return _rounded_by(general_initial, general_step), CALLS
    own = _own_rules().subquery("own")
    holds = and_(
        own.c.tenant_id == CALLS.c.tenant_id,
        own.c.valid_from_ms <= CALLS.c.usage_from_ms,
        or_(own.c.valid_until_ms.is_(None), own.c.valid_until_ms > CALLS.c.usage_from_ms),
    )
    initial = func.coalesce(own.c.initial_ms, general_initial)
    step = func.coalesce(own.c.step_ms, general_step)
    return _rounded_by(initial, step), CALLS.outerjoin(own, holds)


def _own_rules() -> Select[Any]:
    row = ROUNDINGS.c
    until = func.lead(row.valid_from_ms).over(partition_by=row.tenant_id, order_by=row.valid_from_ms)
    return select(row.tenant_id, row.valid_from_ms, row.initial_ms, row.step_ms, until.label("valid_until_ms"))


def _general(rules: Rules) -> tuple[Number, Number]:
    """First interval and step of the general rule at a call's start."""
    at_ms = CALLS.c.usage_from_ms
    initial: Number = literal(PER_SECOND.initial_ms, BigInteger)
    step: Number = literal(PER_SECOND.step_ms, BigInteger)
    for agreed in rules.general:
        holds = at_ms >= agreed.valid_from_ms
        initial = case((holds, literal(agreed.rounding.initial_ms, BigInteger)), else_=initial)
        step = case((holds, literal(agreed.rounding.step_ms, BigInteger)), else_=step)
    return initial, step


def _rounded_by(initial: Number, step: Number) -> Number:
    """The same as :meth:`service.usage.rules.Rounding.rounded`."""
    ran = CALLS.c.duration_ms
    steps = (ran - initial + step - 1) // step
    return case((func.coalesce(ran, 0) <= 0, 0), (ran <= initial, initial), else_=initial + steps * step)
