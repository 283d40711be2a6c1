"""Counts of the last day as one value that never changes: a new sample makes a new one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Final, Self

from telemetry.calls.slots import PEAK_WINDOW_SECONDS
from telemetry.clock import Instant
from telemetry.metrics import columns
from telemetry.metrics.columns import NOTHING, Column
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.live_table import ROW_WIDTH

SAMPLE_SECONDS: Final = 60.0
"""Seconds between two samples, the step of the shortest window; a window's edge is exact to half of its step."""
Table = tuple[Column, ...]
"""A column for each slot, see :mod:`telemetry.metrics.live_table`."""
NO_TABLE: Final[Table] = (NOTHING,) * ROW_WIDTH


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """Amounts added in a stretch of time."""

    start: float
    end: float
    added: Table
    peaks: "Column | None"
    """The most slots held at once, the step's start exact to five minutes. ``None`` if that is not known: peaks are
    remembered for five minutes, and nobody asked for longer."""

    def and_then(self, later: "HistoryStep") -> "HistoryStep":
        """Return both as one step."""
        return HistoryStep(self.start, later.end, plus(self.added, later.added), highest(self.peaks, later.peaks))


@dataclass(frozen=True, slots=True)
class Level:
    """Steps of about one length, back to some age; what is older has been added up."""

    step_seconds: float
    until_seconds: float
    steps: tuple[HistoryStep, ...] = ()
    before: Table = NO_TABLE
    """Amounts counted before the oldest step, or before the level that follows if there is none."""

    def take(self, step: HistoryStep) -> "Level":
        """Return the level with a step appended, merged into the last one if both are no longer than a step here."""
        # Samples are a little late, never early: half a sample more is the same step.
        if self.steps and step.end - self.steps[-1].start <= self.step_seconds + SAMPLE_SECONDS / 2:
            return replace(self, steps=(*self.steps[:-1], self.steps[-1].and_then(step)))
        return replace(self, steps=(*self.steps, step))

    def part(self, now: float) -> "tuple[Level, tuple[HistoryStep, ...]]":
        """Return the level without the steps that lie mostly beyond its reach, and those."""
        gone = [step for step in self.steps if now - (step.start + step.end) / 2 > self.until_seconds]
        before = self.before
        for step in gone:
            before = plus(before, step.added)
        return replace(self, steps=self.steps[len(gone) :], before=before), tuple(gone)


def peaks_known(since_last_sample: float) -> bool:
    """Return true if the peaks remembered now reach back to the last sample."""
    return since_last_sample <= PEAK_WINDOW_SECONDS


def plus(one: Table, other: Table) -> Table:
    """Return the sums, column by column."""
    return tuple(columns.plus(*pair) for pair in yielding(zip(one, other, strict=True)))


def highest(one: "Column | None", other: "Column | None") -> "Column | None":
    """Return the higher peaks; ``None`` if one of them is not known."""
    return None if one is None or other is None else columns.highest(one, other)


class WindowName(StrEnum):
    """A stretch of time that ends now."""

    SINCE_START = "since_start"
    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "24h"


_LEVELS: Final = {
    WindowName.FIVE_MINUTES: Level(SAMPLE_SECONDS, 300.0),
    WindowName.HOUR: Level(300.0, 3600.0),
    WindowName.DAY: Level(3600.0, 86_400.0),
}


# From fine to coarse. A window is made of the level of its name and of all finer ones.
@dataclass(frozen=True, slots=True)
class Past:
    """Everything up to a sample. ``started`` and ``sampled`` are seconds of the monotonic clock."""

    started: float
    sampled: float
    counted: Table
    """Amounts counted at the last sample."""
    peaks: "Column | None"
    """The most slots held at once since the start; ``None`` if that is not known."""
    levels: tuple[Level, ...]

    @classmethod
    def begin(cls, now: Instant) -> Self:
        """Return a past without samples."""
        return cls(now.monotonic, now.monotonic, NO_TABLE, NOTHING, tuple(_LEVELS.values()))

    def and_then(self, now: Instant, counted: Table, peaks: Column) -> "Past":
        """Return the past once this has been counted too; ``peaks`` are those of the last five minutes."""
        added = tuple(columns.minus(*pair) for pair in yielding(zip(counted, self.counted, strict=True)))
        known = peaks if peaks_known(now.monotonic - self.sampled) else None
        step = HistoryStep(self.sampled, now.monotonic, added, known)
        return Past(self.started, now.monotonic, counted, highest(self.peaks, known), _passed_on(self.levels, step))

    def seconds(self, name: WindowName, now: Instant) -> float:
        """Return a window's length."""
        if name is WindowName.SINCE_START:
            return max(0.0, now.monotonic - self.started)
        start = min((level.steps[0].start for level in self._levels(name) if level.steps), default=self.sampled)
        return max(0.0, now.monotonic - start)

    def before(self, name: WindowName) -> Table:
        """Return the amounts counted before a window began."""
        return NO_TABLE if name is WindowName.SINCE_START else self._levels(name)[-1].before

    def peaks_in(self, name: WindowName) -> "Sequence[Column | None]":
        """Return the columns of peaks whose highest, with that of the last five minutes, is the window's."""
        if name is WindowName.SINCE_START:
            return (self.peaks,)
        if name is WindowName.FIVE_MINUTES:
            return ()
        return [step.peaks for level in self._levels(name) for step in level.steps]

    def steps_in(self, name: WindowName) -> list[HistoryStep]:
        """Return the steps that a window up to the last sample is made of, the oldest first."""
        return [step for level in reversed(self._levels(name)) for step in level.steps]

    def tables(self) -> list[Table]:
        """Return every table kept, apart from peaks."""
        steps = [step.added for level in self.levels for step in level.steps]
        return [self.counted, *(level.before for level in self.levels), *steps]

    def _levels(self, name: WindowName) -> Sequence[Level]:
        return self.levels[: list(_LEVELS).index(name) + 1]


def _passed_on(levels: Sequence[Level], step: HistoryStep) -> tuple[Level, ...]:
    """Give each level its new steps; what leaves it goes to the next, and past the last is forgotten."""
    passed: list[Level] = []
    steps: tuple[HistoryStep, ...] = (step,)
    for level in levels:
        kept, steps = reduce(Level.take, steps, level).part(step.end)
        passed.append(kept)
    return tuple(passed)
