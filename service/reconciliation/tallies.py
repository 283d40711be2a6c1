"""The sums over call records that correspond to each counter, as SQL."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, and_, case, func, literal, not_, or_

from service.reconciliation.counters import REJECTIONS, rejection_field
from service.reconciliation.figures import Field
from service.reconciliation.query import Interval
from service.records.record import DurationSource
from service.records.store import CALLS
from service.records.tracked import STALE
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import EndReason, RejectionReason

Condition = ColumnElement[bool]
Number = ColumnElement[int]
MICROS_PER_MS = 1000
"""Claims are in microseconds, all other moments in milliseconds."""
_ROW = CALLS.c
_CLAIMED_MS = _ROW.claim // MICROS_PER_MS
_OWN = _ROW.received_ms == _CLAIMED_MS
_TAKEN_OVER = _ROW.received_ms != _CLAIMED_MS
_TAKEN = _ROW.state.not_in([CallState.PENDING.value, CallState.REJECTED.value])
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
_GONE_ON_WITH = and_(_TAKEN_OVER, or_(_ROW.ended_ms.is_(None), _ROW.duration_source == DurationSource.RESUMED.value))


@dataclass(frozen=True, slots=True)
class Tally:
    """A sum over rows, and what of it may belong elsewhere."""

    value: Number
    less: Number | None = None
    """Expression for how much lower the true value can be; None for not at all."""
    more: Number | None = None
    """Expression for how much higher the true value can be."""


def count(condition: Condition) -> Number:
    """Return the number of rows for which this holds."""
    return func.sum(case((condition, 1), else_=0))


def of_process() -> Mapping[Field, Tally]:
    """Return the quantities that a process's counters have of the rows it holds."""
    return {
        Field.RECEIVED: Tally(count(_OWN), more=count(or_(_DECIDED_LATE, _UNDECIDED))),
        Field.ACCEPTED: Tally(count(and_(_OWN, _TAKEN)), more=count(and_(_TAKEN, _DECIDED_LATE))),
        **{field: Tally(count(and_(or_(_OWN, _DECIDED_LATE), _rejected(field)))) for field in REJECTIONS},
        Field.STARTED: Tally(count(and_(_OWN, _STARTED)), more=count(_STARTED_LATE)),
        Field.ENDED: Tally(count(_SEEN)),
        Field.FAILED: Tally(count(_FAILED)),
        Field.REFERRED: Tally(count(and_(_ROW.referred_ms.is_not(None), or_(_OWN, _ROW.referred_ms >= _CLAIMED_MS)))),
        # One that was given up when it was taken over has ended in no counter.
        Field.STALE: Tally(count(_STALE), less=count(and_(_STALE, _TAKEN_OVER))),
        Field.SHUTDOWN: Tally(count(_SHUTDOWN)),
        Field.TAKEN_OVER: Tally(
            count(_GONE_ON_WITH),
            less=count(and_(_GONE_ON_WITH, or_(_ROW.ended_ms.is_(None), _DECIDED_LATE))),
            more=count(and_(_STALE, _TAKEN_OVER)),
        ),
        Field.MINUTES: Tally(func.sum(_ROW.billed_ms), less=func.sum(case((_TAKEN_OVER, _elsewhere()), else_=0))),
        Field.ACTIVE: Tally(count(_ROW.state == CallState.STARTED.value)),
        Field.PENDING: Tally(count(_ROW.state.in_([CallState.PENDING.value, CallState.ACCEPTED.value]))),
    }


def in_interval(interval: Interval, *, overlap_ms: int = 0, late_ms: int = 0) -> Mapping[Field, Tally]:
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
        Field.RECEIVED: Tally(count(within(_ROW.received_ms)), more=decided_twice),
        Field.ACCEPTED: _late(within(_ROW.decided_ms), _TAKEN, _DECIDED_LATE, decided_twice),
        **{field: _rejections(field, within(decided), decided_twice) for field in REJECTIONS},
        Field.STARTED: _late(within(_ROW.started_ms), _STARTED, _STARTED_LATE, started_twice),
        Field.ENDED: Tally(count(and_(_SEEN, within(_ROW.ended_ms))), more=given_up),
        Field.FAILED: Tally(count(and_(_FAILED, within(_ROW.ended_ms))), more=given_up),
        Field.REFERRED: Tally(count(within(_ROW.referred_ms)), more=count(taken_over)),
        # Its end is its last activity; it was counted when that had been long enough ago.
        Field.STALE: Tally(
            count(and_(_STALE, within(_ROW.written_ms))), less=count(and_(_STALE, _TAKEN_OVER, within(_ROW.written_ms)))
        ),
        Field.SHUTDOWN: Tally(count(and_(_SHUTDOWN, within(_ROW.ended_ms)))),
        Field.TAKEN_OVER: Tally(count(taken_over)),
        Field.MINUTES: Tally(func.sum(billed), less=doubtful, more=doubtful),
    }


def _late(within: Condition, condition: Condition, late: Condition, twice: Number) -> Tally:
    """Return the range of a transition that the process which took a call over may be the first to count."""
    return Tally(count(and_(condition, within)), less=count(and_(condition, within, late)), more=twice)


def ran_within(interval: Interval) -> Number:
    """A call's time that lies in the interval, in milliseconds."""
    begin = _ROW.usage_from_ms
    end = begin + func.coalesce(_ROW.duration_ms, _ROW.billed_ms)
    first = case((begin < interval.start_ms, literal(interval.start_ms, BigInteger)), else_=begin)
    last = case((end > interval.end_ms, literal(interval.end_ms, BigInteger)), else_=end)
    return case((last > first, last - first), else_=0)


def _rejected(field: Field, *, died: bool = False) -> Condition:
    reason = next(reason for reason in RejectionReason if rejection_field(reason) is field)
    rejected = and_(_ROW.state == CallState.REJECTED.value, _ROW.reason == reason.value)
    return rejected if died else and_(rejected, not_(func.coalesce(_NEVER_DECIDED, False)))


def _rejections(field: Field, within: Condition, twice: Number) -> Tally:
    condition = and_(_rejected(field, died=True), within)
    nobodys = count(and_(condition, _NEVER_DECIDED)) if field is Field.REJECTED_CARRIER else None
    return Tally(count(condition), less=nobodys, more=twice)


def _elsewhere() -> Number:
    """Return the most of a taken-over call's time that others can have billed: all but what ran here."""
    here = case((_ROW.last_seen_ms > _CLAIMED_MS, _ROW.last_seen_ms - _CLAIMED_MS), else_=0)
    here = case((_ROW.duration_source == DurationSource.LAST_SIGN_OF_LIFE.value, 0), else_=here)
    return case((_ROW.billed_ms > here, _ROW.billed_ms - here), else_=0)
