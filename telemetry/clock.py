"""Time as an argument: durations from a monotonic clock, wall-clock time for display only."""

import time
from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One moment, read from both clocks at once."""

    monotonic: float
    """Seconds on a clock that never goes back; only differences mean anything."""
    unix_nanos: int
    """Nanoseconds since 1970 UTC, for display and for span times."""

    def since(self, earlier: "Instant") -> float:
        """Seconds from ``earlier`` to here, clamped at zero."""
        return max(0.0, self.monotonic - earlier.monotonic)

    def minus(self, seconds: float) -> "Instant":
        """The moment this many seconds before this one."""
        return Instant(self.monotonic - seconds, self.unix_nanos - round(seconds * 1e9))


class Clock(Protocol):
    """Where a component gets its time from."""

    def now(self) -> Instant:
        """The present moment."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> Instant:
        """The present moment, as the operating system has it."""
        return Instant(time.monotonic(), time.time_ns())
