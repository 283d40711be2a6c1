"""What usage is asked of: a period, a time zone, and how to divide it."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Self
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


MAX_DAYS = 3700
"""The longest period: ten years."""
MAX_SLOTS = 100_000
"""Days or hours a period may be divided into."""


class PeriodError(ValueError):
    """A period that cannot be asked for; ``field`` is the parameter that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class Dimension(StrEnum):
    """What lines of usage are told apart by."""

    TENANT = "tenant"
    DAY = "day"
    HOUR = "hour"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Period:
    """From a moment, which belongs to it, up to one that does not."""

    start_ms: int
    end_ms: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, start: str, end: str, zone: str = "UTC") -> Self:
        """The period between two dates (local midnights) or moments. Raises :class:`PeriodError`."""
        found = _zone(zone)
        period = cls(_moment("from", start, found), _moment("to", end, found), found)
        if period.start_ms >= period.end_ms:
            raise PeriodError("to", "must be later than from: it is the first moment that no longer belongs")
        if period.end_ms - period.start_ms > MAX_DAYS * Unit.DAY.milliseconds:
            raise PeriodError("to", f"must be at most {MAX_DAYS} days after from")
        return period

    @property
    def start(self) -> datetime:
        """Its first moment, on the zone's clocks."""
        return moment(self.start_ms, self.zone)

    @property
    def end(self) -> datetime:
        """The first moment after it, on the zone's clocks."""
        return moment(self.end_ms, self.zone)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How lines are told apart: at most one division of time, tenant and outcome besides."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def parse(cls, text: str, period: Period) -> Self:
        """Dimensions separated by commas. Raises :class:`PeriodError`."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in set(Dimension)]
        if unknown or not names or len(set(names)) < len(names) or {Dimension.DAY, Dimension.HOUR} <= set(names):
            raise PeriodError("group_by", "must be tenant, day, hour, outcome, or several of them, of day and hour one")
        grouping = cls(tuple(Dimension(name) for name in names))
        unit = grouping.unit
        if unit is not None and (period.end_ms - period.start_ms) // unit.milliseconds > MAX_SLOTS:
            raise PeriodError("group_by", f"would divide the period into more than {MAX_SLOTS} parts")
        return grouping

    @property
    def unit(self) -> Unit | None:
        """How time is divided, if it is."""
        named = (dimension.value for dimension in self.dimensions if dimension in (Dimension.DAY, Dimension.HOUR))
        return next(map(Unit, named), None)

    @property
    def by_tenant(self) -> bool:
        """Whether tenants are told apart."""
        return Dimension.TENANT in self.dimensions

    @property
    def by_outcome(self) -> bool:
        """Whether outcomes are told apart."""
        return Dimension.OUTCOME in self.dimensions


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Not in the database, not a relative path, a folder of the database.
        raise PeriodError("tz", "must be a name of the IANA time zone database, such as Europe/Berlin") from None


def _moment(field: str, text: str, zone: ZoneInfo) -> int:
    try:
        if len(text) == len("2026-01-01"):
            # Where clocks are put forward at midnight, this is the first moment after it.
            return milliseconds(datetime.combine(date.fromisoformat(text), time(), zone))
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PeriodError(field, "must be a date, or a date and time, in ISO 8601, such as 2026-01-31") from None
    return milliseconds(at if at.tzinfo is not None else at.replace(tzinfo=zone))
