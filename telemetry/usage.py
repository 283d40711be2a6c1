"""How many slots are held, and how many were at the worst of the last five minutes."""

from collections import deque
from dataclasses import dataclass

from telemetry.clock import Instant

PEAK_WINDOW_SECONDS = 300.0
"""How far back a peak looks."""

_STEP_SECONDS = 5.0
# The peak is kept per step, so that a history is at most 61 pairs however busy a tenant is.


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
        self._steps: deque[tuple[int, int]] = deque()

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
        peak = max((most for _, most in self._steps), default=in_use)
        return Usage(self._pending, self._active, max(peak, in_use))

    def _remember(self, now: Instant, in_use: int) -> None:
        step = int(now.monotonic // _STEP_SECONDS)
        if self._steps and self._steps[-1][0] == step:
            self._steps[-1] = (step, max(self._steps[-1][1], in_use))
            return
        self._forget(now)
        self._steps.append((step, in_use))

    def _forget(self, now: Instant) -> None:
        oldest = (now.monotonic - PEAK_WINDOW_SECONDS) // _STEP_SECONDS
        while self._steps and self._steps[0][0] < oldest:
            self._steps.popleft()
