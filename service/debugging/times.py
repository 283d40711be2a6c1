"""Offsets from a call's reception as the answers show them: rounded, and with the wall-clock time beside them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service.api.answers import moment
from telemetry.clock import Instant

DECIMALS = 6
"""Of seconds: a microsecond is finer than anything here is measured."""


@dataclass(frozen=True, slots=True)
class Times:
    """The moments of one call."""

    received: Instant

    def at(self, offset: float) -> datetime:
        """The wall-clock time this many seconds after the reception."""
        return moment(self.received) + timedelta(seconds=offset)

    def at_nanos(self, unix_nanos: int) -> datetime:
        """The wall-clock time of a span or a log line."""
        return moment(Instant(0.0, unix_nanos))

    def since_received(self, unix_nanos: int) -> float:
        """Seconds from the reception to the time of a span, by the wall clock."""
        return rounded((unix_nanos - self.received.unix_nanos) / 1e9)

    def perhaps(self, offset: float | None) -> datetime | None:
        """The same for a moment that may not have come."""
        return None if offset is None else self.at(offset)

    def point(self, offset: float) -> dict[str, Any]:
        """The fields that say when something happened."""
        return {"at": self.at(offset), "offset_seconds": rounded(offset)}

    def stretch(self, start: float, end: float | None) -> dict[str, Any]:
        """The fields that say when something began and how long it took."""
        return self.point(start) | {"duration_seconds": None if end is None else rounded(max(0.0, end - start))}


def rounded(seconds: float) -> float:
    """Seconds as shown."""
    return round(seconds, DECIMALS)


def rounded_if(seconds: float | None) -> float | None:
    """The same for a duration that may not be known."""
    return None if seconds is None else rounded(seconds)
