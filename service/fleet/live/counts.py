"""The counts of all processes of a fleet together, since the fleet began and in windows up to now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from service.fleet.live.fields import GAUGES, ROW, Row, amounts, minus
from service.fleet.steps import MINUTE_MS, step_of
from service.fleet.store import Peaks
from telemetry.metrics.figures import Window
from telemetry.metrics.history import HistoryStretch
from telemetry.metrics.live_table import BOUNDS, MS_PER_SECOND, Distribution, Numbers, Selection
from telemetry.metrics.past import WindowName

STORE_AWAY: Final = "The store of the fleet does not answer."
"""Cause of most answers that a fleet cannot give, for people."""

_WINDOWS: Final[Mapping[WindowName, tuple[int, int]]] = {
    WindowName.FIVE_MINUTES: (5, 1),
    WindowName.HOUR: (60, 5),
    WindowName.DAY: (1440, 60),
}
# Minutes of each window, and of the steps that its edge is exact to the half of.

COUNTED: Final = slice(len(GAUGES), -len(BOUNDS))
"""The part of a row that a window has."""


def begun_ms(name: WindowName, now_ms: int, born_ms: int) -> int:
    """Return when a window of so many minutes began, in Unix milliseconds: at a step, or when the store was filled."""
    minutes, step = _WINDOWS[name]
    start = round((now_ms / MINUTE_MS - minutes) / step) * step
    return max(start * MINUTE_MS, born_ms)


class FleetUnansweredError(Exception):
    """The fleet cannot be answered for now; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The processes and the time that the numbers of a fleet cover."""

    age_seconds: float
    """Age of the rows of whoever was heard of least lately; this process's own are as of now."""
    speaking: int
    """Processes heard of lately, this one among them."""
    processes: int
    """Processes that live."""
    since_ms: int
    """Since when the fleet counts, in Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """The counts of one tenant, or of all together, by all processes of the fleet since it began to count."""

    row: Row
    seen: bool
    """False for a tenant that no process has counted anything of."""
    coverage: Coverage
    born_ms: int
    """Since when the past is remembered, in Unix milliseconds of the store."""
    now_ms: int
    past: tuple[tuple[int, Row], ...]
    """Minutes since 1970 with what was counted when they began, the latest first; none if they were not asked for."""

    def numbers(self) -> Numbers:
        """Return every field of the live view; open calls are the fleet's, and none was handed over."""
        return amounts(self.row)

    def distributions(self) -> dict[str, Distribution]:
        """Return the distributions that hold anything, by instrument; without examples."""
        found, place = {}, len(ROW.counters)
        for name, total in zip(BOUNDS, self.row[-len(BOUNDS) :], strict=True):
            counts = self.row[place : place + len(BOUNDS[name]) + 1]
            place += len(counts)
            if any(counts):
                found[name] = Distribution(BOUNDS[name], counts, total / MS_PER_SECOND)
        return found

    def window(self, name: WindowName, *, limit: int | None, peak_in_use: int | None) -> Window:
        """Return what was counted in a window up to now."""
        start_ms, before = self._before(name)
        added = self.row if before is None else minus(self.row, before)
        return Window((self.now_ms - start_ms) / 1000, added[COUNTED], peak_in_use, limit)

    def start_ms(self, name: WindowName) -> int:
        """Return when a window began, in Unix milliseconds of the store."""
        return self._before(name)[0]

    def _before(self, name: WindowName) -> tuple[int, Row | None]:
        """Return when a window began and what had been counted then; None for nothing."""
        if name is WindowName.SINCE_START:
            return self.coverage.since_ms, None
        start_ms = begun_ms(name, self.now_ms, self.born_ms)
        # What was counted then did not change before the first minute from then on that is remembered.
        later = [row for minute, row in self.past if minute >= start_ms // MINUTE_MS]
        return start_ms, later[-1] if later else self.row

    def course(self, name: WindowName, selection: Selection, peaks: Peaks | None = None) -> tuple[HistoryStretch, ...]:
        """Return the parts of a window between the minutes that are remembered, the oldest first.

        A part in which nothing was counted may be long; one in which something was is a minute, five, or an hour long.
        Of a part in which no slot was taken or given back, ``peaks`` do not tell the most that were held.
        """
        start_ms, before = self._before(name)
        places = [len(GAUGES) + column for column in selection.columns()]
        edges = [(minute * MINUTE_MS, row) for minute, row in self.past if minute * MINUTE_MS > start_ms]
        parts, begun = [], before or [0] * len(self.row)
        for until_ms, row in (*reversed(edges), (self.now_ms, self.row)):
            added = tuple(row[place] - begun[place] for place in places)
            for first, last, numbers in self._settled(start_ms, until_ms, added):
                peak = None if peaks is None else peaks.between(first, last)
                began, ended = (self.now_ms - first) / 1000, (self.now_ms - last) / 1000
                parts.append(HistoryStretch(began, ended, numbers, peak))
            start_ms, begun = until_ms, row
        return tuple(parts)

    def _settled(
        self, start_ms: int, until_ms: int, added: tuple[int, ...]
    ) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Yield what was counted between two minutes that are remembered, and the time in which nothing was.

        The store remembers a minute when a sum changes in it, and further back the first one of five and of an hour: so
        whatever was counted was counted in the minute, the five, or the hour that the first one begins.
        """
        minute = start_ms // MINUTE_MS
        size = step_of(self.now_ms // MINUTE_MS - minute)
        end_ms = min((minute // size + 1) * size * MINUTE_MS, until_ms)
        yield start_ms, end_ms, added
        if end_ms < until_ms:
            yield end_ms, until_ms, (0,) * len(added)
