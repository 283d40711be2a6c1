"""How many slots are held, and how many were at the worst of the last five minutes."""

from dataclasses import dataclass

from telemetry.clock import Instant

PEAK_WINDOW_SECONDS = 300.0
"""How far back a peak looks."""

_STEP_SECONDS = 5.0
# The peak is kept per step, so that a history is at most 62 pairs however busy a tenant is.


@dataclass(frozen=True, slots=True)
class Usage:
    """How many calls hold a slot."""

    pending: int
    active: int
    peak_in_use: int
    """The most slots held at once in the last five minutes."""

    @property
    def in_use(self) -> int:
        """Slots held now."""
        return self.pending + self.active


class Tally:
    """Counts slots and remembers the peak. Not safe for threads by itself: the tracker's lock guards it."""

    __slots__ = ("_active", "_pending", "_steps")

    def __init__(self) -> None:
        self._pending = 0
        self._active = 0
        self._steps: list[tuple[float, int]] = []
        # Steps and the most slots held in each, but for those that a later one equals: the first is the peak.

    def count(self, now: Instant, pending: int, active: int, *, decided: bool) -> None:
        """Take or give back slots. A call counts in the peak once it is ``decided`` that it keeps its slot.

        One that finds no room is pending for as long as it takes to say so; that is no slot anybody had.
        """
        before = self._pending + self._active
        self._pending += pending
        self._active += active
        if decided:
            self._remember(now, max(before, self._pending + self._active))

    def usage(self, now: Instant) -> Usage:
        """The slots held now and at the peak."""
        self._forget(now)
        in_use = self._pending + self._active
        peak = self._steps[0][1] if self._steps else in_use
        return Usage(self._pending, self._active, max(peak, in_use))

    def _remember(self, now: Instant, in_use: int) -> None:
        steps, step = self._steps, now.monotonic // _STEP_SECONDS
        while steps and steps[-1][1] <= in_use:
            steps.pop()
        if not steps or steps[-1][0] != step:
            steps.append((step, in_use))
            self._forget(now)

    def _forget(self, now: Instant) -> None:
        oldest = (now.monotonic - PEAK_WINDOW_SECONDS) // _STEP_SECONDS
        while self._steps and self._steps[0][0] < oldest:
            del self._steps[0]
