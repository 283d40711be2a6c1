"""Counts of the last minutes, hour and day, of every tenant, in bounded memory.

A sampler calls :meth:`History.sample` about once a minute. Each sample becomes a step that holds what was added since
the last. Steps that leave a window become parts of coarser ones, which the next window has more use for; past a day
they are forgotten. What had been counted when a window began is kept up to date all along, so that reading a window is
one subtraction, and costs nothing that grows with its length.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import repeat
from operator import sub
from threading import Lock
from typing import Final, NamedTuple, Protocol

from telemetry.calls.slots import Usage
from telemetry.clock import Instant
from telemetry.metrics import columns
from telemetry.metrics.columns import NOTHING, Column
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.figures import CapacitySource, DerivedFigure, LiveCounts, Value, Window
from telemetry.metrics.gauges import Limits
from telemetry.metrics.live_table import EVERYTHING, ROW_WIDTH, Selection
from telemetry.metrics.past import Past, Table, WindowName, highest
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, TenantId

_STRETCH: Final = 100
# Rows read in one go, with the store's lock held: a few tenths of a millisecond.

SEVERAL: Final = frozenset({OTHER, UNKNOWN_TENANT})
"""Labels of no single tenant: they have no limit, and nobody counts how many slots they held at once."""

_NO_USAGE: Final = Usage(0, 0, 0)


@dataclass(frozen=True, slots=True)
class HistorySize:
    """Memory that the history takes."""

    steps: int
    bytes: int
    """Of numbers."""


@dataclass(frozen=True, slots=True)
class HistoryStretch:
    """Amounts added to one tenant's numbers in a part of a window."""

    start: float
    """Seconds before the moment of reading at which it began."""
    end: float
    """Seconds before it at which it ended; 0 for the part that goes on."""
    numbers: tuple[int, ...]
    """In the order of the selection."""
    peak_in_use: int | None
    """The most slots held at once; None if that is not known, or of the part that goes on."""

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return self.start - self.end


class History:
    """Windows of every tenant's numbers. Safe for threads; what takes a while leaves the interpreter to others.

    Args:
        store: what has been counted since the start. Bring it up to date before sampling and reading.
        capacity: who knows the slots in use.
        limits: how many there are.
        now: the moment of the start.
    """

    def __init__(self, store: LiveCounts, capacity: CapacitySource, limits: Limits, now: Instant) -> None:
        self._store = store
        self._capacity = capacity
        self._limits = limits
        self._sampling = Lock()
        self._past = Past.begin(now)

    def sample(self, now: Instant) -> None:
        """Note what has changed since the last sample."""
        with self._sampling:
            self._past = self._past.and_then(now, self._table(), self._peaks())

    def of(self, now: Instant, tenant_id: str | None = None) -> Mapping[WindowName, Window]:
        """Return what was counted in each window up to this moment, of one tenant or of all.

        Zeros for a tenant never seen; but once there are tenants past the bound, which count together, it may be one of
        those, and nothing is known of it.
        """
        past, position = self._past, self._store.position(tenant_id)
        if position is None and self._store.position(OTHER) is not None:
            limit = self._limit(tenant_id)
            return {name: Window(past.seconds(name, now), (), None, limit) for name in WindowName}
        numbers = self._numbers(position)
        usage = self._capacity.usage(None if tenant_id is None else TenantId(tenant_id))
        return {
            name: Window(
                past.seconds(name, now),
                _since(past.before(name), numbers, position),
                _peak(past.peaks_in(name), position, tenant_id, usage),
                self._limit(tenant_id),
            )
            for name in WindowName
        }

    def every(self, name: WindowName, now: Instant, selection: Selection) -> Iterator[tuple[str, Window]]:
        """Yield every tenant seen with what was counted of it in one window, in chosen numbers."""
        past = self._past
        seconds, before = past.seconds(name, now), _chosen(past.before(name), selection)
        # Peaks are dear: of a day, there are some forty columns of them.
        peaks = [_highest(past.peaks_in(name)) if selection.peaks else None]
        usages = self._capacity.tenant_usage() if selection.peaks else {}
        for position, tenant_id, numbers in self._stretches(selection, before):
            peak = _peak(peaks, position, tenant_id, usages.get(TenantId(tenant_id), _NO_USAGE))
            yield tenant_id, Window(seconds, numbers, peak, self._limit(tenant_id) if selection.limits else None)

    def course(
        self, name: WindowName, now: Instant, selection: Selection, tenant_id: str | None = None
    ) -> tuple[HistoryStretch, ...]:
        """Return the parts of a window one after another, the oldest first; the last one goes on.

        Parts of the last five minutes are a minute long, earlier ones five minutes, and past an hour an hour. Empty for
        a tenant never seen.
        """
        past, position = self._past, self._store.position(tenant_id)
        if position is None:
            return ()
        slots = selection.columns()
        parts = [
            HistoryStretch(
                now.monotonic - step.start,
                now.monotonic - step.end,
                tuple(columns.at(step.added[slot], position) for slot in slots),
                None if step.peaks is None or tenant_id in SEVERAL else columns.at(step.peaks, position),
            )
            for step in past.steps_in(name)
        ]
        counted = [columns.at(past.counted[slot], position) for slot in slots]
        (row,) = self._store.rows(selection, position, 1)
        added = tuple(map(sub, selection.in_whole_numbers(row), counted))
        return (*parts, HistoryStretch(max(0.0, now.monotonic - past.sampled), 0.0, added, None))

    def size(self) -> HistorySize:
        """Return the number of steps kept and the bytes their numbers take."""
        past = self._past
        peaks = [past.peaks, *(step.peaks for level in past.levels for step in level.steps)]
        kept = [column for table in (*past.tables(), peaks) for column in table if column is not None]
        return HistorySize(len(peaks) - 1, sum(len(column) * column.itemsize for column in kept))

    def _table(self) -> Table:
        """Return everything counted until now, a column a number."""
        # Column by column from the start: ten thousand rows at once would have the garbage collector look at everything
        # there is, and the whole process wait for it.
        pending: list[list[int]] = [[] for _ in range(ROW_WIDTH)]
        for first in yielding(range(0, len(self._store.tenants()) + 1, _STRETCH)):
            rows = map(EVERYTHING.in_whole_numbers, self._store.rows(EVERYTHING, first, _STRETCH))
            for numbers, stretch in zip(pending, zip(*rows, strict=True), strict=True):
                numbers.extend(stretch)
        return tuple(columns.column(numbers) for numbers in yielding(pending))

    def _peaks(self) -> Column:
        """Return the most slots that each tenant held at once in the last five minutes."""
        peaks = [0] * (len(self._store.tenants()) + 1)
        peaks[0] = self._capacity.usage().peak_in_use
        for tenant_id, usage in self._capacity.tenant_usage().items():
            position = self._store.position(tenant_id)
            if position is not None and position < len(peaks):
                peaks[position] = usage.peak_in_use
        return columns.column(peaks)

    def _numbers(self, position: int | None) -> list[int]:
        if position is None:
            return [0] * ROW_WIDTH
        (row,) = self._store.rows(EVERYTHING, position, 1)
        return EVERYTHING.in_whole_numbers(row)

    def _stretches(self, selection: Selection, before: Sequence[Column]) -> Iterator[tuple[int, str, Sequence[int]]]:
        """Yield each tenant's position, name and what was added since the window began."""
        tenants = self._store.tenants()
        for first in yielding(range(1, len(tenants) + 1, _STRETCH)):
            rows = self._store.rows(selection, first, _STRETCH)
            # Position 0 is that of all tenants together. Of tenants seen only now the names are not there yet.
            names = tenants[first - 1 : first - 1 + len(rows)]
            for index, (tenant_id, row, begun) in enumerate(zip(names, rows, _across(before, first), strict=False)):
                yield first + index, tenant_id, tuple(map(sub, selection.in_whole_numbers(row), begun))

    def _limit(self, tenant_id: str | None) -> int | None:
        if tenant_id is None:
            return self._limits.total()
        return None if tenant_id in SEVERAL else self._limits.of(TenantId(tenant_id))


def _chosen(table: Table, selection: Selection) -> list[Column]:
    return [table[slot] for slot in selection.columns()]


def _across(before: Sequence[Column], first: int) -> Iterable[Sequence[int]]:
    """Yield the numbers of one tenant after another, from a position on."""
    stretches = [columns.stretch(column, first, _STRETCH) for column in before]
    return zip(*stretches, strict=True) if stretches else repeat(())


def _since(before: Table, numbers: Sequence[int], position: int | None) -> Sequence[int]:
    if position is None:
        return numbers
    return [number - columns.at(column, position) for number, column in zip(numbers, before, strict=True)]


def _highest(peaks: "Iterable[Column | None]") -> "Column | None":
    """Return the highest of each tenant; ``None`` if one of the columns is not known."""
    known: Column | None = NOTHING
    for column in yielding(peaks):
        known = highest(known, column)
    return known


def _peak(peaks: "Iterable[Column | None]", position: int | None, tenant_id: str | None, usage: Usage) -> int | None:
    """Return the highest, that of the last five minutes among them; ``None`` if it is not known."""
    if tenant_id in SEVERAL:
        return None
    highest_yet = usage.peak_in_use
    for column in peaks:
        if column is None:
            return None
        highest_yet = max(highest_yet, 0 if position is None else columns.at(column, position))
    return highest_yet


class EveryWindow(Protocol):
    """The windows of every tenant; :class:`History` has those of this process."""

    def every(self, name: WindowName, now: Instant, selection: Selection) -> Iterator[tuple[str, Window]]:
        """Yield every tenant seen with what was counted of it in one window, in chosen numbers."""
        ...


class Ranked(NamedTuple):
    """A tenant and its figure."""

    tenant_id: str
    value: Value
    """``None`` where it cannot be computed: such tenants come last, whichever the direction."""


Place = tuple[bool, float, str]
"""A tenant's position in the order; comparable with another's, also one from an earlier ranking."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """By what to rank, and which end comes first."""

    figure: DerivedFigure
    window: WindowName
    descending: bool

    def first(self, count: int, source: EveryWindow, now: Instant, after: Ranked | None = None) -> list[Ranked]:
        """Return so many tenants of those seen, in order, equal ones by their ids; behind ``after`` if it is given."""
        places = self.places(source, now)
        if after is not None:
            behind = self.place(after)
            places = (found for found in places if found[0] > behind)
        return [ranked for _, ranked in nsmallest(count, places)]

    def place(self, ranked: Ranked) -> Place:
        """Return a tenant's position in the order."""
        value = ranked.value or 0.0
        return (ranked.value is None, -value if self.descending else value, ranked.tenant_id)

    def places(self, source: EveryWindow, now: Instant) -> Iterator[tuple[Place, Ranked]]:
        """Yield every tenant with its position in the order, as the source has them."""
        compute = self.figure.compute
        for tenant_id, window in source.every(self.window, now, self.figure.chosen):
            ranked = Ranked(tenant_id, compute(window.numbers, window))
            yield self.place(ranked), ranked
