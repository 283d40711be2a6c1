"""Periods of time in a time zone, and their division into months, days or hours."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Self
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MAX_DAYS = 3700
"""The longest period: ten years."""
MAX_SLOTS = 100_000
"""Months, days or hours a period may be divided into."""
FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Years a period may lie in."""
_LOOK_MS = DAY_MS
# No zone has changed its offset and back again within a day.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})
# Names of files beside the zones: what they mean depends on the machine, or is nothing.


class Unit(StrEnum):
    """Units that divide time."""

    MONTH = "month"
    DAY = "day"
    HOUR = "hour"

    @property
    def milliseconds(self) -> int:
        """Length while no clock changes; of a month the least."""
        return {Unit.MONTH: 28 * DAY_MS, Unit.DAY: DAY_MS, Unit.HOUR: HOUR_MS}[self]


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
        """Return the zone from a day before the period to a day after it."""
        return cls(zone, tuple(_stretches(zone, start_ms - DAY_MS, end_ms + DAY_MS)))

    def slot(self, unit: Unit, at_ms: int) -> int:
        """Return the number of the month or day, or the moment the hour began, that this moment is in."""
        offset = self._stretch(at_ms).offset_ms
        if unit is Unit.MONTH:
            local = _EPOCH + timedelta(milliseconds=at_ms + offset)
            return local.year * 12 + local.month - 1
        whole = (at_ms + offset) // unit.milliseconds
        return whole if unit is Unit.DAY else whole * HOUR_MS - offset

    def slot_end(self, unit: Unit, at_ms: int) -> int:
        """Return the first moment after this one that is in another slot."""
        slot, end = self.slot(unit, at_ms), at_ms
        while self.slot(unit, end) == slot:
            end = self._next_edge(unit, end)
        return end

    def label(self, unit: Unit, slot: int) -> str:
        """Return the slot for people: a month, a date, or a moment with its offset."""
        if unit is Unit.MONTH:
            return f"{slot // 12:04d}-{slot % 12 + 1:02d}"
        if unit is Unit.DAY:
            return (_EPOCH + timedelta(days=slot)).date().isoformat()
        offset = self._stretch_of_hour(slot).offset_ms
        local = _EPOCH + timedelta(milliseconds=slot + offset)
        sign, minutes = "-" if offset < 0 else "+", abs(offset) // 60_000
        return f"{local:%Y-%m-%dT%H:%M:%S}{sign}{minutes // 60:02d}:{minutes % 60:02d}"

    def _stretch(self, at_ms: int) -> Stretch:
        return self.stretches[max(0, bisect_right(self.stretches, at_ms, key=lambda s: s.start_ms) - 1)]

    def _stretch_of_hour(self, slot: int) -> Stretch:
        """Return the stretch an hour counts from; one that a change of clocks cuts counts from before it."""
        own = [s for s in self.stretches if slot < s.start_ms < slot + HOUR_MS]
        return next((s for s in own if (slot + s.offset_ms) % HOUR_MS == 0), self._stretch(slot))

    def _next_edge(self, unit: Unit, at_ms: int) -> int:
        stretch = self._stretch(at_ms)
        local = at_ms + stretch.offset_ms
        if unit is Unit.MONTH:
            month = self.slot(unit, at_ms) + 1
            edge = milliseconds(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)) - stretch.offset_ms
        else:
            edge = (local // unit.milliseconds + 1) * unit.milliseconds - stretch.offset_ms
        changes = (s.start_ms for s in self.stretches if s.start_ms > at_ms)
        return min(edge, next(changes, edge))


def moment(at_ms: int, zone: ZoneInfo) -> datetime:
    """Return the moment on the zone's clocks."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)


def milliseconds(at: datetime) -> int:
    """Return an aware moment in milliseconds since 1970 UTC."""
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


class PeriodError(ValueError):
    """A period that cannot be asked for; ``field`` is the parameter that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class Dimension(StrEnum):
    """Facts that lines of usage are told apart by."""

    TENANT = "tenant"
    MONTH = "month"
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
        """Return the period between two dates (local midnights) or moments; raise :class:`PeriodError`."""
        found = zone_named(zone)
        period = cls(parse_moment("from", start, found), parse_moment("to", end, found), found)
        if period.start_ms >= period.end_ms:
            raise PeriodError("to", "must be later than from: it is the first moment that no longer belongs")
        if period.end_ms - period.start_ms > MAX_DAYS * Unit.DAY.milliseconds:
            raise PeriodError("to", f"must be at most {MAX_DAYS} days after from")
        return period

    @property
    def start(self) -> datetime:
        """First moment, on the zone's clocks."""
        return moment(self.start_ms, self.zone)

    @property
    def end(self) -> datetime:
        """First moment after it, on the zone's clocks."""
        return moment(self.end_ms, self.zone)


@dataclass(frozen=True, slots=True)
class Grouping:
    """The facts lines are told apart by: at most one unit of time, tenant and outcome besides."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def parse(cls, text: str, period: Period) -> Self:
        """Parse dimensions separated by commas; raise :class:`PeriodError`."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in set(Dimension)]
        if unknown or not names or len(set(names)) < len(names) or len(set(names) & set(Unit)) > 1:
            known = "must be tenant, month, day, hour, outcome, or several of them, of month, day and hour one"
            raise PeriodError("group_by", known)
        grouping = cls(tuple(Dimension(name) for name in names))
        unit = grouping.unit
        if unit is not None and (period.end_ms - period.start_ms) // unit.milliseconds > MAX_SLOTS:
            raise PeriodError("group_by", f"would divide the period into more than {MAX_SLOTS} parts")
        return grouping

    @property
    def unit(self) -> Unit | None:
        """Unit that divides time; ``None``: the period is one line."""
        return next((Unit(dimension.value) for dimension in self.dimensions if dimension.value in set(Unit)), None)

    @property
    def by_tenant(self) -> bool:
        """True if tenants are told apart."""
        return Dimension.TENANT in self.dimensions

    @property
    def by_outcome(self) -> bool:
        """True if outcomes are told apart."""
        return Dimension.OUTCOME in self.dimensions


def bounded(field: str, at: datetime) -> int:
    """Return an aware moment in milliseconds; raise :class:`PeriodError` for one in a year beyond all billing."""
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise PeriodError(field, f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return milliseconds(at)


def zone_named(name: str) -> ZoneInfo:
    """Return the IANA time zone of this name; raise :class:`PeriodError`."""
    wrong = PeriodError("tz", "must be a name of the IANA time zone database, such as Europe/Berlin")
    if name in _NO_ZONES or name.startswith(("posix/", "right/")):
        raise wrong
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Not in the database, not a relative path, a folder of the database.
        raise wrong from None


def parse_moment(field: str, text: str, zone: ZoneInfo) -> int:
    """Return a date (the local midnight) or a moment in milliseconds; raise :class:`PeriodError`."""
    # 20261101 is a date to the parser, and a number to everybody else.
    text = "" if text.isdecimal() else text
    try:
        if len(text) == len("2026-01-01"):
            # Where clocks are put forward at midnight, this is the first moment after it.
            at = datetime.combine(date.fromisoformat(text), time(), zone)
        else:
            at = datetime.fromisoformat(text)
    except ValueError:
        raise PeriodError(field, "must be a date, or a date and time, in ISO 8601, such as 2026-01-31") from None
    return bounded(field, at if at.tzinfo is not None else at.replace(tzinfo=zone))
