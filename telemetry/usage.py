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

    __slots__ = ("_active", "_most", "_past", "_pending", "_step")

    def __init__(self) -> None:
        self._pending = 0
        self._active = 0
        self._step = 0.0
        self._most = 0
        # The most slots held in this step, and in those before it but for those that a later one equals.
        self._past: list[tuple[float, int]] = []

    def count(self, now: Instant, pending: int, active: int, *, decided: bool) -> None:
        """Take or give back slots. A call counts in the peak once it is ``decided`` that it keeps its slot.

        One that finds no room is pending for as long as it takes to say so; that is no slot anybody had.
        """
        before = self._pending + self._active
        self._pending += pending
        self._active += active
        if decided:
            step = now.monotonic // _STEP_SECONDS
            if step > self._step:
                self._begin(step)
            self._most = max(self._most, before, before + pending + active)

    def usage(self, now: Instant) -> Usage:
        """The slots held now and at the peak."""
        step = now.monotonic // _STEP_SECONDS
        if step > self._step:
            self._begin(step)
        peak = self._past[0][1] if self._past else 0
        return Usage(self._pending, self._active, max(peak, self._most, self._pending + self._active))

    def _begin(self, step: float) -> None:
        past = self._past
        while past and past[-1][1] <= self._most:
            past.pop()
        if self._most:
            past.append((self._step, self._most))
        self._step, self._most = step, 0
        while past and past[0][0] < step - PEAK_WINDOW_SECONDS / _STEP_SECONDS:
            del past[0]
