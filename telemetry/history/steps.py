"""The steps that windows are made of, and the levels of coarseness they pass through."""

from dataclasses import dataclass, replace
from typing import Final

from telemetry.history import columns
from telemetry.history.columns import NOTHING, Column
from telemetry.slots import SLOTS
from telemetry.turns import in_turns
from telemetry.usage import PEAK_WINDOW_SECONDS

SAMPLE_SECONDS: Final = 60.0
"""How often to sample: a window's edge is exact to half of its own step, and the shortest window's step is this."""

Table = tuple[Column, ...]
"""A column for each slot, see :mod:`telemetry.slots`."""

NO_TABLE: Final[Table] = (NOTHING,) * SLOTS


@dataclass(frozen=True, slots=True)
class Step:
    """What was added in a stretch of time."""

    start: float
    end: float
    added: Table
    peaks: "Column | None"
    """The most slots held at once, the step's start exact to five minutes. ``None`` if that is not known: peaks are
    remembered for five minutes, and nobody asked for longer."""

    def and_then(self, later: "Step") -> "Step":
        """Both as one step."""
        return Step(self.start, later.end, plus(self.added, later.added), highest(self.peaks, later.peaks))


@dataclass(frozen=True, slots=True)
class Level:
    """Steps of about one length, back to some age; what is older has been added up."""

    step_seconds: float
    until_seconds: float
    steps: tuple[Step, ...] = ()
    before: Table = NO_TABLE
    """What had been counted when the oldest step, or the level that follows if there is none, began."""

    def take(self, step: Step) -> "Level":
        """Append a step, as part of the last one if both together are no longer than a step here."""
        # Samples are a little late, never early: half a sample more is the same step.
        if self.steps and step.end - self.steps[-1].start <= self.step_seconds + SAMPLE_SECONDS / 2:
            return replace(self, steps=(*self.steps[:-1], self.steps[-1].and_then(step)))
        return replace(self, steps=(*self.steps, step))

    def part(self, now: float) -> "tuple[Level, tuple[Step, ...]]":
        """The level without the steps that lie mostly beyond its reach, and those."""
        gone = [step for step in self.steps if now - (step.start + step.end) / 2 > self.until_seconds]
        before = self.before
        for step in gone:
            before = plus(before, step.added)
        return replace(self, steps=self.steps[len(gone) :], before=before), tuple(gone)


def peaks_known(since_last_sample: float) -> bool:
    """Whether the peaks remembered now reach back to the last sample."""
    return since_last_sample <= PEAK_WINDOW_SECONDS


def plus(one: Table, other: Table) -> Table:
    """The sums, slot by slot."""
    return tuple(columns.plus(*pair) for pair in in_turns(zip(one, other, strict=True)))


def highest(one: "Column | None", other: "Column | None") -> "Column | None":
    """The higher peaks; unknown if one of them is."""
    return None if one is None or other is None else columns.highest(one, other)
