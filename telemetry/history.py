"""What was counted in the last minutes, hour and day, of every tenant, in bounded memory.

A sampler calls :meth:`History.sample` about once a minute. Each sample becomes a step that holds what was added since
the last, of those tenants alone whose numbers changed. Steps that leave a window become parts of coarser ones, which
the next window has more use for; past a day they are forgotten. A window's sum is kept up to date all along, so that
reading it costs nothing that grows with its length.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import sub
from threading import Lock
from typing import Final, Protocol

from telemetry import vector
from telemetry.attributes import TenantId
from telemetry.clock import Instant
from telemetry.steps import SAMPLE_SECONDS, Level, Step
from telemetry.usage import Usage
from telemetry.vector import Counted, Vector

_TOTAL: Final = ""
# All tenants together, among the tenants' ids.

_NOTHING: Final = vector.zeros()
# Never changed.


class WindowName(StrEnum):
    """How far back to look."""

    SINCE_START = "since_start"
    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "24h"


class CapacitySource(Protocol):
    """Who knows how many calls hold a slot; :class:`telemetry.tracker.CallTracker` does."""

    def usage(self) -> Usage:
        """Of all tenants together."""
        ...

    def tenant_usage(self) -> Mapping[TenantId, Usage]:
        """Of each tenant that has held one lately."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in a stretch of time."""

    seconds: float
    """How long the stretch really is: the window, give or take half a step, or less if the process is younger."""
    counted: Vector
    """See :mod:`telemetry.vector`."""
    peak_in_use: int | None
    """The most slots held at once, up to the last sample; the edge is exact to five minutes. ``None`` before the first
    sample."""

    def number(self, name: str) -> float:
        """What was added to a counter of the live view."""
        return vector.counter(self.counted, name)


@dataclass(frozen=True, slots=True)
class HistorySize:
    """How much is kept."""

    steps: int
    differences: int
    """A step has one for each tenant that changed in it."""
    packed_bytes: int


class History:
    """Windows of every tenant's numbers. Safe for threads; reading and sampling belong into one that may take a while.

    Args:
        store: what has been counted since the start. Bring it up to date before sampling and reading.
        capacity: who knows the slots in use.
        now: the moment of the start.
    """

    def __init__(self, store: Counted, capacity: CapacitySource, now: Instant) -> None:
        self._store = store
        self._capacity = capacity
        self._started = self._sampled = now.monotonic
        self._lock = Lock()
        self._last: dict[str, Vector] = {}
        self._peaks: dict[str, int] = {}
        self._samples = 0
        self._levels = {
            WindowName.FIVE_MINUTES: Level(SAMPLE_SECONDS, 300.0),
            WindowName.HOUR: Level(300.0, 3600.0),
            WindowName.DAY: Level(3600.0, 86_400.0),
        }

    def sample(self, now: Instant) -> None:
        """Note what has changed since the last sample."""
        with self._lock:
            step = Step(self._sampled, now.monotonic)
            for key in (_TOTAL, *self._store.tenants()):
                self._note(step, key)
            self._note_peaks(step)
            self._sampled = now.monotonic
            self._samples += 1
            self._pass_on([step], now.monotonic)

    def window(self, name: WindowName, now: Instant, tenant_id: str | None = None) -> Window:
        """What happened in a window up to this moment, to one tenant or to all; zeros for a tenant never seen."""
        key = tenant_id or _TOTAL
        with self._lock:
            if name is WindowName.SINCE_START:
                counted = self._added(key, _NOTHING) or _NOTHING
                return Window(max(0.0, now.monotonic - self._started), counted, self._peaks.get(key, self._no_peak))
            levels = self._levels_of(name)
            start = min((level.steps[0].start for level in levels if level.steps), default=self._sampled)
            peak = max(level.peak(key) for level in levels) if self._samples else None
            return Window(max(0.0, now.monotonic - start), self._counted(levels, key), peak)

    def size(self) -> HistorySize:
        """How much is kept."""
        with self._lock:
            steps = [step for level in self._levels.values() for step in level.steps]
            packed = [difference for step in steps for difference in step.added.values()]
            return HistorySize(len(steps), len(packed), sum(map(len, packed)))

    @property
    def _no_peak(self) -> int | None:
        """The peak of a tenant that has never held a slot; unknown before the first sample."""
        return 0 if self._samples else None

    def _note(self, step: Step, key: str) -> None:
        before = self._last.get(key, _NOTHING)
        after = self._added(key, before)
        if after is not None:
            step.added[key] = vector.pack(before, after)
            self._last[key] = after

    def _note_peaks(self, step: Step) -> None:
        step.peaks = {_TOTAL: self._capacity.usage().peak_in_use}
        step.peaks |= {str(key): usage.peak_in_use for key, usage in self._capacity.tenant_usage().items()}
        for key, peak in step.peaks.items():
            self._peaks[key] = max(peak, self._peaks.get(key, 0))

    def _added(self, key: str, before: Vector) -> "Vector | None":
        return vector.changed(self._store, key or None, before)

    def _pass_on(self, steps: list[Step], now: float) -> None:
        """Give each level its new steps; what leaves it goes to the next, and past the last is forgotten."""
        for level in self._levels.values():
            for step in steps:
                level.take(step)
            steps = level.leaving(now)

    def _levels_of(self, name: WindowName) -> list[Level]:
        """The levels that make up a window: its own and all finer ones."""
        names = list(self._levels)
        return [self._levels[finer] for finer in names[: names.index(name) + 1]]

    def _counted(self, levels: list[Level], key: str) -> Vector:
        """The levels' sums, and what came since the last sample."""
        rows = [level.sums[key] for level in levels if key in level.sums]
        before = self._last.get(key, _NOTHING)
        after = self._added(key, before)
        if after is not None:
            rows.append(array("q", map(sub, after, before)))
        return array("q", map(sum, zip(*rows, strict=True))) if rows else _NOTHING
