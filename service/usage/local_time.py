"""Days and hours of a time zone as integers, so that a database can compute with them as well as this module.

A zone is a list of stretches, each with one offset from UTC. All arithmetic is on milliseconds since 1970 UTC. A day on
which clocks change has 23 or 25 hours, and an hour that comes twice is two hours.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_LOOK_MS = DAY_MS
# No zone has changed its offset and back again within a day.

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Unit(StrEnum):
    """How time is divided."""

    DAY = "day"
    HOUR = "hour"

    @property
    def milliseconds(self) -> int:
        """Its length while no clock changes."""
        return DAY_MS if self is Unit.DAY else HOUR_MS


@dataclass(frozen=True, slots=True)
class Stretch:
    """From this moment on, until the next stretch, local time is this far ahead of UTC."""

    start_ms: int
    offset_ms: int


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A zone's stretches over some period."""

    zone: ZoneInfo
    stretches: tuple[Stretch, ...]

    @classmethod
    def over(cls, zone: ZoneInfo, start_ms: int, end_ms: int) -> "LocalTime":
        """The zone from a day before the period to a day after it."""
        return cls(zone, tuple(_stretches(zone, start_ms - DAY_MS, end_ms + DAY_MS)))

    def slot(self, unit: Unit, at_ms: int) -> int:
        """The number of the day, or the moment the hour began, that this moment is in."""
        offset = self._stretch(at_ms).offset_ms
        whole = (at_ms + offset) // unit.milliseconds
        return whole if unit is Unit.DAY else whole * HOUR_MS - offset

    def slot_end(self, unit: Unit, at_ms: int) -> int:
        """The first moment after this one that is in another slot."""
        slot, end = self.slot(unit, at_ms), at_ms
        while self.slot(unit, end) == slot:
            end = self._next_edge(unit, end)
        return end

    def label(self, unit: Unit, slot: int) -> str:
        """The slot for people: a date, or a moment with its offset."""
        if unit is Unit.DAY:
            return (_EPOCH + timedelta(days=slot)).date().isoformat()
        offset = self._stretch_of_hour(slot).offset_ms
        local = _EPOCH + timedelta(milliseconds=slot + offset)
        sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60_000
        return f"{local:%Y-%m-%dT%H:%M:%S}{sign}{minutes // 60:02d}:{minutes % 60:02d}"

    def _stretch(self, at_ms: int) -> Stretch:
        return self.stretches[max(0, bisect_right(self.stretches, at_ms, key=lambda s: s.start_ms) - 1)]

    def _stretch_of_hour(self, slot: int) -> Stretch:
        """An hour that a change of clocks cuts begins, by its own reckoning, in the stretch before."""
        own = [s for s in self.stretches if slot < s.start_ms < slot + HOUR_MS]
        return next((s for s in own if (slot + s.offset_ms) % HOUR_MS == 0), self._stretch(slot))

    def _next_edge(self, unit: Unit, at_ms: int) -> int:
        stretch = self._stretch(at_ms)
        local = at_ms + stretch.offset_ms
        edge = (local // unit.milliseconds + 1) * unit.milliseconds - stretch.offset_ms
        changes = (s.start_ms for s in self.stretches if s.start_ms > at_ms)
        return min(edge, next(changes, edge))


def moment(at_ms: int, zone: ZoneInfo) -> datetime:
    """The moment on the zone's clocks."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)


def milliseconds(at: datetime) -> int:
    """An aware moment in milliseconds since 1970 UTC."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _stretches(zone: ZoneInfo, start_ms: int, end_ms: int) -> Iterator[Stretch]:
    offset = _offset(zone, start_ms)
    yield Stretch(start_ms, offset)
    for look in range(start_ms, end_ms, _LOOK_MS):
        later = _offset(zone, look + _LOOK_MS)
        if later != offset:
            yield Stretch(_change(zone, look, look + _LOOK_MS, offset), later)
            offset = later


def _change(zone: ZoneInfo, before_ms: int, after_ms: int, offset: int) -> int:
    while after_ms - before_ms > 1:
        middle = (before_ms + after_ms) // 2
        if _offset(zone, middle) == offset:
            before_ms = middle
        else:
            after_ms = middle
    return after_ms


def _offset(zone: ZoneInfo, at_ms: int) -> int:
    return (moment(at_ms, zone).utcoffset() or timedelta()) // timedelta(milliseconds=1)
