"""A call across a boundary: which part of it falls where.

The rule: call time counts in the slot in which it ran, to the millisecond. The call itself counts in the slot in which
it started. What rounding adds counts in the slot in which the call's time ended, so that in every slot the rounded time
is at least the time that ran, and the sum over all slots is the sum over all calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from service.usage.local_time import LocalTime, Unit
from service.usage.period import Period
from service.usage.rounding import Rounding

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
