"""Time as an argument: durations from a monotonic clock, wall-clock time for display only."""

import time
from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One moment, read from both clocks at once."""

    monotonic: float
    """Seconds on a clock that never goes back; only differences mean anything."""
    unix_nanos: int
    """Nanoseconds since 1970 UTC, for display and for span times."""

    @property
    def unix_ms(self) -> int:
        """Whole milliseconds since 1970 UTC, rounded down."""
        return self.unix_nanos // 1_000_000

    def since(self, earlier: "Instant") -> float:
        """Return the seconds from ``earlier`` to this moment, 0 if ``earlier`` is later."""
        return max(0.0, self.monotonic - earlier.monotonic)

    def minus(self, seconds: float) -> "Instant":
        """Return the moment ``seconds`` before this one; a negative number gives a later one."""
        return Instant(self.monotonic - seconds, self.unix_nanos - round(seconds * 1e9))


class Clock(Protocol):
    """The source of a component's time."""

    def now(self) -> Instant:
        """Return the present moment."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> Instant:
        """Return the present moment as the operating system has it."""
        return Instant(time.monotonic(), time.time_ns())
