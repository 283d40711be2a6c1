"""What usage is asked of: a period, a time zone, and how to divide it."""

from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import Self
from zoneinfo import ZoneInfo

from service.usage.local_time import Unit, milliseconds, moment

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
