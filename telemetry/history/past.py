"""What is remembered of the last day, as one value that never changes: a new sample makes a new one."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Final, Self

from telemetry.clock import Instant
from telemetry.history import columns
from telemetry.history.columns import NOTHING, Column
from telemetry.history.steps import NO_TABLE, SAMPLE_SECONDS, Level, Step, Table, highest, peaks_known
from telemetry.turns import in_turns


class WindowName(StrEnum):
    """How far back to look."""

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
    """What had been counted at the last sample."""
    peaks: "Column | None"
    """The most slots held at once since the start; ``None`` if that is not known."""
    levels: tuple[Level, ...]

    @classmethod
    def begin(cls, now: Instant) -> Self:
        """No past yet."""
        return cls(now.monotonic, now.monotonic, NO_TABLE, NOTHING, tuple(_LEVELS.values()))

    def and_then(self, now: Instant, counted: Table, peaks: Column) -> "Past":
        """The past once this has been counted too; ``peaks`` are those of the last five minutes."""
        added = tuple(columns.minus(*pair) for pair in in_turns(zip(counted, self.counted, strict=True)))
        known = peaks if peaks_known(now.monotonic - self.sampled) else None
        step = Step(self.sampled, now.monotonic, added, known)
        return Past(self.started, now.monotonic, counted, highest(self.peaks, known), _passed_on(self.levels, step))

    def seconds(self, name: WindowName, now: Instant) -> float:
        """How long a window is."""
        if name is WindowName.SINCE_START:
            return max(0.0, now.monotonic - self.started)
        start = min((level.steps[0].start for level in self._levels(name) if level.steps), default=self.sampled)
        return max(0.0, now.monotonic - start)

    def before(self, name: WindowName) -> Table:
        """What had been counted when a window began."""
        return NO_TABLE if name is WindowName.SINCE_START else self._levels(name)[-1].before

    def peaks_in(self, name: WindowName) -> "Sequence[Column | None]":
        """Peaks whose highest, with that of the last five minutes, is the window's."""
        if name is WindowName.SINCE_START:
            return (self.peaks,)
        if name is WindowName.FIVE_MINUTES:
            return ()
        return [step.peaks for level in self._levels(name) for step in level.steps]

    def tables(self) -> list[Table]:
        """All that takes room, apart from peaks."""
        steps = [step.added for level in self.levels for step in level.steps]
        return [self.counted, *(level.before for level in self.levels), *steps]

    def _levels(self, name: WindowName) -> Sequence[Level]:
        return self.levels[: list(_LEVELS).index(name) + 1]


def _passed_on(levels: Sequence[Level], step: Step) -> tuple[Level, ...]:
    """Give each level its new steps; what leaves it goes to the next, and past the last is forgotten."""
    passed: list[Level] = []
    steps: tuple[Step, ...] = (step,)
    for level in levels:
        kept, steps = reduce(Level.take, steps, level).part(step.end)
        passed.append(kept)
    return tuple(passed)
