"""Usage in SQL: calls that lie in one slot are summed by the database, the few that cross a boundary come one by one.

Each statement reads one index alone, ``ix_call_records_usage`` or for one tenant ``ix_call_records_tenant_usage``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, case, func, literal, not_, null, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CompoundSelect, FromClause

from service.records.store import CALLS
from service.usage.period import HOUR_MS, Grouping, LocalTime, Period, Unit
from service.usage.rules import PER_SECOND, ROUNDINGS, Rounding, Rules
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import UNKNOWN_TENANT

WHOLE = 0
"""The slot of a period that is not divided."""
Number = ColumnElement[int]
OPEN = "open"
"""The outcome of calls that are not over."""
_NEVER_STARTED = (CallOutcome.REJECTED.value, CallOutcome.UNANSWERED.value, CallOutcome.ABANDONED.value)


@dataclass(slots=True)
class Sums:
    """Figures that lines of usage add up."""

    calls: int = 0
    answered: int = 0
    """Of these, those whose media session began."""
    still_open: int = 0
    """Of these, those that run: their time grows."""
    duration_ms: int = 0
    rounded_ms: int = 0
    split_calls: int = 0
    """Calls a part of which is in another slot or outside the period; their surplus is where they end."""

    def add(self, other: "Sums") -> None:
        """Add the figures of another line."""
        self.calls += other.calls
        self.answered += other.answered
        self.still_open += other.still_open
        self.duration_ms += other.duration_ms
        self.rounded_ms += other.rounded_ms
        self.split_calls += other.split_calls


@dataclass(frozen=True, slots=True)
class Share:
    """A call, or the part of one that falls into one slot."""

    slot: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class PeriodSlots:
    """A period and how it is divided."""

    period: Period
    local: LocalTime
    unit: Unit | None

    @classmethod
    def of(cls, period: Period, unit: Unit | None) -> "PeriodSlots":
        """Return the slots of a period."""
        return cls(period, LocalTime.over(period.zone, period.start_ms, period.end_ms), unit)

    def slot(self, at_ms: int) -> int:
        """Return the slot a moment is in."""
        return WHOLE if self.unit is None else self.local.slot(self.unit, at_ms)

    def end(self, at_ms: int) -> int:
        """Return the end of that slot, or of the period."""
        whole = self.period.end_ms
        return whole if self.unit is None else min(whole, self.local.slot_end(self.unit, at_ms))

    def edges(self) -> Iterator[tuple[int, int]]:
        """Yield the first moment and the number of each slot of the period, in order."""
        at_ms = self.period.start_ms
        while at_ms < self.period.end_ms:
            yield at_ms, self.slot(at_ms)
            at_ms = self.end(at_ms)


def shares(
    slots: PeriodSlots, *, start_ms: int, duration_ms: int, answered: bool, still_open: bool, rounding: Rounding
) -> Iterator[Share]:
    """Yield the parts of a call that fall into the period."""
    period, end_ms = slots.period, start_ms + duration_ms
    rounded_ms = rounding.rounded(duration_ms)
    starts_within = period.start_ms <= start_ms < period.end_ms
    if rounding.by_start:
        if starts_within:
            yield Share(slots.slot(start_ms), Sums(1, int(answered), int(still_open), duration_ms, rounded_ms))
        return
    if starts_within:
        yield Share(slots.slot(start_ms), Sums(1, int(answered), int(still_open)))
    at_ms = max(start_ms, period.start_ms)
    while at_ms < min(end_ms, period.end_ms):
        until = min(end_ms, slots.end(at_ms))
        part = until - at_ms
        surplus = rounded_ms - duration_ms if until == end_ms else 0
        split = int(part < duration_ms)
        yield Share(slots.slot(at_ms), Sums(0, 0, 0, part, part + surplus, split))
        at_ms = until


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Period, grouping, rules and filter of a report."""

    slots: PeriodSlots
    grouping: Grouping
    rules: Rules
    tenant_id: str | None
    look_back_ms: int
    """Longest time before the period at which a call that reaches into it can have started, in milliseconds."""


async def longest_call_ms(session: AsyncSession) -> int:
    """Return the length of the longest closed call in milliseconds; the last entry of an index."""
    return int(await session.scalar(select(func.coalesce(func.max(CALLS.c.duration_ms), 0))) or 0)


def summed(query: UsageQuery) -> Select[Any]:
    """Select sums of the closed calls in one slot each: slot, tenant, outcome, reason, calls, answered, two durations.

    In the order of the slots; what is not grouped by is an empty text.
    """
    rounded, _, source = rounded_duration(query.rules)
    keys = [_slot(query, CALLS.c.usage_from_ms), *_keys(query.grouping)]
    ran = func.coalesce(CALLS.c.duration_ms, 0)
    sums = (func.count(), func.sum(_answered()), func.sum(ran), func.sum(rounded))
    named = [key.label(f"key_{number}") for number, key in enumerate(keys)]
    return (
        select(*named, *sums)
        .select_from(source)
        .where(_starts(query, query.slots.period.start_ms), _in_one_slot(query))
        .group_by(*named)
        .order_by(named[0])
    )


def crossing(query: UsageQuery) -> CompoundSelect[Any]:
    """Select the other calls, one by one, by their starts: start, duration, tenant, outcome, reason, answered."""
    row, start_ms = CALLS.c, query.slots.period.start_ms
    # Adding up a duration that is null makes no call reach in.
    reaches_in = row.usage_from_ms + row.duration_ms > start_ms
    across = and_(row.usage_from_ms >= start_ms, ~_in_one_slot(query))
    closed = select(row.usage_from_ms, row.duration_ms, row.tenant_id, row.outcome, row.reason, _answered()).where(
        _starts(query, start_ms - query.look_back_ms),
        or_(and_(row.usage_from_ms < start_ms, reaches_in), across),
    )
    started = case((row.started_ms.is_not(None), 1), else_=0)
    running = select(row.usage_from_ms, row.billed_ms, row.tenant_id, literal(OPEN), null(), started).where(
        row.ended_ms.is_(None),
        row.usage_from_ms < query.slots.period.end_ms,
        or_(row.usage_from_ms >= start_ms, row.usage_from_ms + row.billed_ms > start_ms),
        # Not by the column itself, whose index would bring the tenant's calls of all times.
        *_of_tenant(func.coalesce(row.tenant_id, ""), query.tenant_id),
    )
    return union_all(closed, running).order_by("usage_from_ms")


def _answered() -> Number:
    return case((CALLS.c.outcome.in_(_NEVER_STARTED), 0), else_=1)


def _starts(query: UsageQuery, from_ms: int) -> ColumnElement[bool]:
    row = CALLS.c
    started = (row.usage_from_ms >= from_ms, row.usage_from_ms < query.slots.period.end_ms)
    return and_(row.ended_ms.is_not(None), *started, *_of_tenant(row.tenant_id, query.tenant_id))


def _of_tenant(column: ColumnElement[str], tenant_id: str | None) -> list[ColumnElement[bool]]:
    """Return the condition on a call's tenant; calls that reached none are nobody's to pay for."""
    return [column != UNKNOWN_TENANT] if tenant_id is None else [column == tenant_id]


def _in_one_slot(query: UsageQuery) -> ColumnElement[bool]:
    """Return the condition that a call's last millisecond is in the slot of its first, and in the period."""
    start, ran = CALLS.c.usage_from_ms, func.coalesce(CALLS.c.duration_ms, 0)
    ends_within = start + ran <= query.slots.period.end_ms
    if query.slots.unit is None:
        return ends_within
    last = start + case((ran > 0, ran - 1), else_=0)
    return and_(ends_within, _slot(query, start) == _slot(query, last))


def _slot(query: UsageQuery, at_ms: Number) -> Number:
    """Return the same as :meth:`service.usage.period.LocalTime.slot`, for moments of the period."""
    unit = query.slots.unit
    if unit is None:
        return literal(WHOLE, BigInteger)
    if unit is Unit.MONTH:
        months = list(query.slots.edges())
        until_next = [(at_ms < later, literal(slot, BigInteger)) for (_, slot), (later, _) in pairwise(months)]
        last = literal(months[-1][1], BigInteger)
        return case(*until_next, else_=last) if until_next else last
    offset = _offset(query, at_ms)
    whole = (at_ms + offset) // unit.milliseconds
    return whole if unit is Unit.DAY else whole * HOUR_MS - offset


def _offset(query: UsageQuery, at_ms: Number) -> Number:
    stretches = query.slots.local.stretches
    until_next = [(at_ms < later.start_ms, literal(one.offset_ms, BigInteger)) for one, later in pairwise(stretches)]
    last = literal(stretches[-1].offset_ms, BigInteger)
    return case(*until_next, else_=last) if until_next else last


def _keys(grouping: Grouping) -> list[ColumnElement[Any]]:
    nothing = literal("")
    outcome = (CALLS.c.outcome, func.coalesce(CALLS.c.reason, "")) if grouping.by_outcome else (nothing, nothing)
    return [CALLS.c.tenant_id if grouping.by_tenant else nothing, *outcome]


def rounded_duration(rules: Rules) -> tuple[Number, ColumnElement[bool], FromClause]:
    """Return a call's rounded duration, if it counts where it started, and the tables both are computed from."""
    general_initial, general_step, general_by_start = _general(rules)
    if rules.only_general:
        return _rounded_by(general_initial, general_step), general_by_start, CALLS
    own = _own_rules().subquery("own")
    holds = and_(
        own.c.tenant_id == CALLS.c.tenant_id,
        own.c.valid_from_ms <= CALLS.c.usage_from_ms,
        or_(own.c.valid_until_ms.is_(None), own.c.valid_until_ms > CALLS.c.usage_from_ms),
    )
    initial = func.coalesce(own.c.initial_ms, general_initial)
    step = func.coalesce(own.c.step_ms, general_step)
    by_start = func.coalesce(own.c.by_start, general_by_start)
    return _rounded_by(initial, step), by_start, CALLS.outerjoin(own, holds)


def _own_rules() -> Select[Any]:
    row = ROUNDINGS.c
    until = func.lead(row.valid_from_ms).over(partition_by=row.tenant_id, order_by=row.valid_from_ms)
    terms = (row.initial_ms, row.step_ms, row.by_start)
    return select(row.tenant_id, row.valid_from_ms, *terms, until.label("valid_until_ms"))


def _general(rules: Rules) -> tuple[Number, Number, ColumnElement[bool]]:
    """Return first interval, step and place of counting of the general rule at a call's start."""
    at_ms = CALLS.c.usage_from_ms
    initial: Number = literal(PER_SECOND.initial_ms, BigInteger)
    step: Number = literal(PER_SECOND.step_ms, BigInteger)
    by_start: ColumnElement[bool] = literal(PER_SECOND.by_start)
    for agreed in rules.general:
        holds = at_ms >= agreed.valid_from_ms
        initial = case((holds, literal(agreed.rounding.initial_ms, BigInteger)), else_=initial)
        step = case((holds, literal(agreed.rounding.step_ms, BigInteger)), else_=step)
        by_start = case((holds, literal(agreed.rounding.by_start)), else_=by_start)
    return initial, step, by_start


def _rounded_by(initial: Number, step: Number) -> Number:
    """Return the same as :meth:`service.usage.rules.Rounding.rounded`."""
    ran = CALLS.c.duration_ms
    steps = (ran - initial + step - 1) // step
    return case((func.coalesce(ran, 0) <= 0, 0), (ran <= initial, initial), else_=initial + steps * step)


def billed_parts(query: UsageQuery) -> Select[Any]:
    """Select each closed call's part in the period: call, tenant, calls, answered, time and rounded time.

    Their sums are those of an undivided report; see :func:`shares`.
    """
    row, period = CALLS.c, query.slots.period
    rounded, by_start, source = rounded_duration(query.rules)
    start, ran = row.usage_from_ms, func.coalesce(row.duration_ms, 0)
    end = start + ran
    counted = case((start >= period.start_ms, 1), else_=0)
    from_ms = case((start > period.start_ms, start), else_=literal(period.start_ms, BigInteger))
    until_ms = case((end < period.end_ms, end), else_=literal(period.end_ms, BigInteger))
    within = until_ms - from_ms
    surplus = case((and_(ran > 0, end <= period.end_ms), rounded - ran), else_=0)
    part = case((by_start, ran * counted), else_=within)
    cost = case((by_start, rounded * counted), else_=within + surplus)
    return (
        select(
            row.call_id,
            row.tenant_id,
            counted.label("calls"),
            (counted * _answered()).label("answered_calls"),
            part.label("duration_ms"),
            cost.label("rounded_ms"),
        )
        .select_from(source)
        .where(
            _starts(query, period.start_ms - query.look_back_ms),
            or_(start >= period.start_ms, and_(end > period.start_ms, not_(by_start))),
        )
    )
