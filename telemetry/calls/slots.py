"""Capacity slots that calls hold, and the most held at once in the last five minutes."""

from dataclasses import dataclass
from typing import Final

from telemetry.clock import Instant

PEAK_WINDOW_SECONDS = 300.0
"""Length of the window a peak covers."""
_STEP_SECONDS: Final = 5.0
# The peak is kept per step, so that a history is at most 62 pairs however busy a tenant is.


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls that hold a slot."""

    pending: int
    active: int
    peak_in_use: int
    """The most slots held at once in the last five minutes, by calls that were let in."""

    @property
    def in_use(self) -> int:
        """Slots held now."""
        return self.pending + self.active


class SlotCounter:
    """Counts slots and remembers the peak. Not thread-safe: the tracker's lock guards it."""

    __slots__ = ("_active", "_most", "_past", "_pending", "_step", "_undecided")

    def __init__(self) -> None:
        self._pending = 0
        self._active = 0
        self._undecided = 0
        self._step = 0.0
        self._most = 0
        # (step, most slots held in it), without the steps that a later one equals or exceeds.
        self._past: list[tuple[float, int]] = []

    def count(self, now: Instant, pending: int, active: int, *, undecided: int = 0) -> None:
        """Add to or take from the slots held, ``undecided`` of the pending ones by calls that may be turned away.

        These are in no peak: a call that finds no room is pending for as long as its rejection takes, and many may be
        at once; that was never a slot in use.
        """
        self._advance_to(now)
        before = self._let_in
        self._pending += pending
        self._active += active
        self._undecided += undecided
        self._most = max(self._most, before, self._let_in)

    @property
    def _let_in(self) -> int:
        return self._pending + self._active - self._undecided

    def usage(self, now: Instant) -> Usage:
        """Return the slots held now and the peak of the window that ends now."""
        self._advance_to(now)
        peak = self._past[0][1] if self._past else 0
        return Usage(self._pending, self._active, max(peak, self._most, self._let_in))

    def _advance_to(self, now: Instant) -> None:
        step = now.monotonic // _STEP_SECONDS
        if step <= self._step:
            return
        past = self._past
        while past and past[-1][1] <= self._most:
            past.pop()
        if self._most:
            past.append((self._step, self._most))
        self._step, self._most = step, 0
        while past and past[0][0] < step - PEAK_WINDOW_SECONDS / _STEP_SECONDS:
            del past[0]
