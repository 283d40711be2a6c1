"""Tenants of a fleet ranked: a copy of every sum, kept in each process that is asked for rankings.

A ranking looks at every tenant, which the store cannot do for each question. So the sums are copied once, with what
they were when each window began, and while rankings are asked for the copy follows what changes. A page is then as old
as the copy, which it says, and costs the same however many processes there are. Unlike the other numbers it is the
store's alone: what this process has counted and not sent yet, within half a second, is not in it.
"""

import asyncio
import logging
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import repeat
from math import inf
from operator import sub
from time import monotonic
from typing import Final

from service.fleet.errors import StoreAwayError
from service.fleet.live.counts import COUNTED, STORE_AWAY, Coverage, FleetUnansweredError, begun_ms
from service.fleet.live.fields import read
from service.fleet.live.scripts import BUCKETS
from service.fleet.live.store import Changed, ChangedPage, LiveStore
from service.fleet.member import Member
from service.fleet.steps import MINUTE_MS
from service.fleet.store import AT_ONCE, Peaks, SlotStore
from service.periodic import PeriodicWorker
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.figures import Value, Window
from telemetry.metrics.gauges import Limits
from telemetry.metrics.history import SEVERAL, Place, Ranked, Ranking
from telemetry.metrics.live_table import EVERYTHING, ROW_WIDTH, Selection
from telemetry.metrics.past import WindowName
from telemetry.semconv.attributes import TenantId

_logger = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 5.0
"""Seconds between two refreshments of the copy."""

KEPT_SECONDS: Final = 300.0
"""Seconds after the last question for which the copy is kept."""

FILL_SECONDS: Final = 1.0
"""Seconds that a question waits for a copy, which is longer on its way where there are many tenants."""

OLDEST_SECONDS: Final = 60.0
"""The greatest age of a copy that answers where it cannot be brought up to date in time."""

MAX_TENANTS: Final = 50_000
"""The most tenants that are ranked: 1 kB each, more where numbers are large, and as much again for a refreshment."""

MAX_ORDERS: Final = 12
"""The most orders, of a figure in a window, that are kept sorted; of those asked for last."""

_STALE_SECONDS: Final = 2 * REFRESH_SECONDS
_STRETCH: Final = 100
_WINDOWS: Final = (WindowName.FIVE_MINUTES, WindowName.HOUR, WindowName.DAY)
_WIDTHS: Final = "bhiq"

Columns = list["array[int]"]
"""By number, in the order of a window's; in each the tenants by position. As narrow as what is in them."""


@dataclass(frozen=True, slots=True)
class FleetRanked:
    """A part of a ranking."""

    ranked: Sequence[Ranked]
    windows: Mapping[str, Window]
    """By tenant, everything that was counted in the window."""
    coverage: Coverage


def _wide_enough(column: "array[int]", values: Sequence[int]) -> "array[int]":
    """Return the column, or one like it that has room for these values, too."""
    for code in _WIDTHS[_WIDTHS.index(column.typecode) :]:
        try:
            array(code, values)
        except OverflowError:
            continue
        return column if code == column.typecode else array(code, column)
    raise OverflowError


def _put(columns: Columns, number: int, position: int, value: int) -> None:
    try:
        columns[number][position] = value
    except OverflowError:
        columns[number] = _wide_enough(columns[number], (value,))
        columns[number][position] = value


def _append(columns: Columns, rows: Sequence[Sequence[int]]) -> None:
    """Append tenants, a row of numbers each."""
    for number, values in enumerate(yielding(zip(*rows, strict=True))):
        columns[number] = _wide_enough(columns[number], values)
        columns[number].extend(values)


@dataclass(slots=True)
class _Bucket:
    """The part of the copy that one bucket of the store has."""

    generation: str
    version: int = -1
    """Changes of the bucket that are in the copy."""
    begun_ms: dict[WindowName, int] = field(default_factory=dict)
    """The beginning of each window, in Unix milliseconds of the store."""
    now_ms: int = 0


@dataclass(slots=True)
class _Copy:
    """Every tenant's numbers; changed by one refreshment, and by nobody once it is shown."""

    buckets: dict[int, _Bucket] = field(default_factory=dict)
    tenants: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    bucket_of: "array[int]" = field(default_factory=lambda: array("B"))
    tables: dict[WindowName, Columns] = field(default_factory=lambda: {name: _no_tenants() for name in WindowName})

    def begin(self) -> "_Copy":
        """Return a copy of the copy, to be changed."""
        return _Copy(
            {number: replace(bucket, begun_ms=dict(bucket.begun_ms)) for number, bucket in self.buckets.items()},
            list(self.tenants),
            dict(self.places),
            self.bucket_of[:],
            {name: [column[:] for column in yielding(columns)] for name, columns in self.tables.items()},
        )

    def take(self, number: int, moved: Sequence[WindowName], found: Sequence[Changed]) -> None:
        """Take tenants of a bucket: their sums if they changed, and what they were when ``moved`` windows began."""
        fresh: dict[WindowName, list[Sequence[int]]] = {name: [] for name in WindowName}
        for changed in yielding(found):
            numbers = read(changed.sum)[COUNTED] if changed.sum else None
            position = self.places.get(changed.tenant_id)
            if position is None:
                self.places[changed.tenant_id] = len(self.tenants)
                self.tenants.append(changed.tenant_id)
                self.bucket_of.append(number)
                # Of one that the last refreshment did not see, everything was added since.
                numbers = numbers or [0] * ROW_WIDTH
                begun = {name: _since(numbers, text) for name, text in zip(moved, changed.begun, strict=True)}
                for name, rows in fresh.items():
                    rows.append(begun.get(name, numbers))
                continue
            if numbers is not None:
                self._counted(position, numbers)
            totals = self._row(WindowName.SINCE_START, position) if moved else []
            for name, text in zip(moved, changed.begun, strict=True):
                self._set(name, position, _since(totals, text))
        for name, rows in fresh.items():
            _append(self.tables[name], rows)

    def _row(self, name: WindowName, position: int) -> list[int]:
        return [column[position] for column in self.tables[name]]

    def _set(self, name: WindowName, position: int, numbers: list[int]) -> None:
        known = self._row(name, position)
        if numbers != known:
            for column, (number, before) in enumerate(zip(numbers, known, strict=True)):
                if number != before:
                    _put(self.tables[name], column, position, number)

    def _counted(self, position: int, numbers: list[int]) -> None:
        """Set a sum. Whatever it grew by has been added in every window; what it was when they began stays."""
        known = self._row(WindowName.SINCE_START, position)
        if numbers != known:
            for column, (number, before) in enumerate(zip(numbers, known, strict=True)):
                if number != before:
                    for columns in self.tables.values():
                        _put(columns, column, position, columns[column][position] + number - before)


def _since(totals: Sequence[int], begun: str) -> list[int]:
    """Return what was added since a sum was as this text has it, which is empty if nothing was."""
    return list(map(sub, totals, read(begun)[COUNTED])) if begun else [0] * ROW_WIDTH


def _no_tenants() -> Columns:
    return [array("b") for _ in range(ROW_WIDTH)]


class RankedCopy:
    """Every tenant's windows at the moment of a refreshment: a source of rankings.

    Args:
        copy: the numbers, which nobody changes any more.
        coverage: what they cover, at that moment.
        limits: calls allowed at once.
        peaks: of every tenant; None if nobody asked for them.
    """

    def __init__(
        self, copy: _Copy, coverage: Coverage, limits: Limits, peaks: Mapping[str, Peaks] | None = None
    ) -> None:
        self._copy = copy
        self._coverage = coverage
        self._limits = limits
        self._taken = monotonic()
        self._orders: dict[Ranking, array[int]] = {}
        self._named: array[int] | None = None
        self.peaks = peaks

    @property
    def age_seconds(self) -> float:
        """Seconds since it was made."""
        return monotonic() - self._taken

    def stands(self, *, peaks: bool) -> bool:
        """Return true if it will do for a question, which may need the peaks."""
        return self.age_seconds <= _STALE_SECONDS and (self.peaks is not None or not peaks)

    @property
    def tenants(self) -> Sequence[str]:
        """Every tenant of which something was counted."""
        return self._copy.tenants

    def coverage(self) -> Coverage:
        """Return what the numbers cover, as of now."""
        return replace(self._coverage, age_seconds=self._coverage.age_seconds + self.age_seconds)

    def first(self, ranking: Ranking, count: int, after: Ranked | None) -> list[Ranked]:
        """Return so many tenants in order, behind ``after`` if it is given; the same as :meth:`Ranking.first`.

        The first one to ask for an order has it made, which takes a while: call it from a thread.
        """
        order = self.order(ranking)

        def place(position: int) -> Place:
            return ranking.place(self._ranked(ranking, position))

        start = 0 if after is None else bisect_right(order, ranking.place(after), key=place)
        return [self._ranked(ranking, position) for position in order[start : start + count]]

    def order(self, ranking: Ranking) -> "array[int]":
        """Return the positions of all tenants in order."""
        known = self._orders.get(ranking)
        if known is None:
            sign = -1.0 if ranking.descending else 1.0
            keys = [inf if value is None else sign * value for value in self._values(ranking)]
            # Of equal ones the order of their names stays: the sort is stable.
            known = array("I", sorted(self._by_name(), key=keys.__getitem__))
            self._orders[ranking] = known
        return known

    def _values(self, ranking: Ranking) -> list[Value]:
        """Return the figure of every tenant, by position."""
        name, figure, copy = ranking.window, ranking.figure, self._copy
        columns = self._chosen(name, figure.chosen)
        spans = {number: self._span(name, bucket) for number, bucket in copy.buckets.items()}

        @cache
        def window(bucket: int, peak: int | None, limit: int | None) -> Window:
            # Many tenants have theirs in common: it takes longer to make one than to compute most figures.
            return Window(spans[bucket][1], (), peak, limit)

        values: list[Value] = []
        for first in yielding(range(0, len(copy.tenants), _STRETCH)):
            stretch = slice(first, first + _STRETCH)
            tenants, buckets = copy.tenants[stretch], copy.bucket_of[stretch]
            peaks = (
                _peak(self.peaks, tenant, name, spans[bucket][0])
                for tenant, bucket in zip(tenants, buckets, strict=True)
            )
            limits = map(self._limit, tenants) if figure.chosen.limits else repeat(None)
            numbers = zip(*(column[stretch] for column in columns), strict=True) if columns else repeat(())
            windows = map(window, buckets, peaks if figure.chosen.peaks else repeat(None), limits)
            values.extend(map(figure.compute, numbers, windows))
        return values

    def _by_name(self) -> "array[int]":
        if self._named is None:
            self._named = array("I", sorted(range(len(self._copy.tenants)), key=self._copy.tenants.__getitem__))
        return self._named

    def windows(self, name: WindowName, tenants: Sequence[str], peaks: Mapping[str, Peaks]) -> Mapping[str, Window]:
        """Return everything that was counted of these tenants in a window."""
        columns = self._chosen(name, EVERYTHING)
        places = ((tenant_id, self._copy.places[tenant_id]) for tenant_id in tenants)
        return {
            tenant_id: self._window(name, position, [column[position] for column in columns], peaks)
            for tenant_id, position in places
        }

    def _chosen(self, name: WindowName, selection: Selection) -> Columns:
        return [self._copy.tables[name][column] for column in selection.columns()]

    def _ranked(self, ranking: Ranking, position: int) -> Ranked:
        chosen = [column[position] for column in self._chosen(ranking.window, ranking.figure.chosen)]
        window = self._window(ranking.window, position, chosen, self.peaks)
        return Ranked(self._copy.tenants[position], ranking.figure.compute(window.numbers, window))

    def _window(
        self, name: WindowName, position: int, numbers: Sequence[int], peaks: Mapping[str, Peaks] | None
    ) -> Window:
        tenant_id = self._copy.tenants[position]
        begun, seconds = self._span(name, self._copy.buckets[self._copy.bucket_of[position]])
        return Window(seconds, numbers, _peak(peaks, tenant_id, name, begun), self._limit(tenant_id))

    def _span(self, name: WindowName, bucket: _Bucket) -> tuple[int, float]:
        """Return when a window of a bucket's tenants began, in Unix milliseconds, and its length in seconds."""
        begun = self._coverage.since_ms if name is WindowName.SINCE_START else bucket.begun_ms[name]
        return begun, (bucket.now_ms - begun) / 1000

    def _limit(self, tenant_id: str) -> int | None:
        return None if tenant_id in SEVERAL else self._limits.of(TenantId(tenant_id))


def _peak(peaks: Mapping[str, Peaks] | None, tenant_id: str, name: WindowName, begun_ms: int) -> int | None:
    if peaks is None or tenant_id in SEVERAL or name is WindowName.SINCE_START:
        return None
    known = peaks.get(tenant_id)
    return None if known is None else known.since(begun_ms)


class FleetRanking:
    """Keeps a copy of all sums while rankings are asked for.

    Args:
        store: the sums.
        slots: the places of all calls, with their peaks.
        member: this process among the others.
        limits: how many calls are let in at once.
        coverage: returns what sums cover now whose buckets were filled so many seconds ago; raises
            FleetUnansweredError.
    """

    def __init__(
        self,
        store: LiveStore,
        slots: SlotStore,
        member: Member,
        limits: Limits,
        coverage: Callable[[float], Awaitable[Coverage]],
    ) -> None:
        self._store = store
        self._slots = slots
        self._member = member
        self._limits = limits
        self._coverage = coverage
        self._copy = _Copy()
        self._shown: RankedCopy | None = None
        self._refreshing = asyncio.Lock()
        self._filling: asyncio.Task[RankedCopy] | None = None
        # However many ask for orders that nobody asked for before, to make them takes one processor at most.
        self._sorting = asyncio.Lock()
        self.fill_seconds = FILL_SECONDS
        """Seconds that a question waits for a copy."""
        self._asked = self._peaks_asked = float("-inf")
        self._orders: OrderedDict[Ranking, None] = OrderedDict()
        self._worker = PeriodicWorker(
            self._keep, interval=REFRESH_SECONDS, failed=self._failed, name="callscope-fleet-ranking"
        )

    def start(self) -> None:
        """Begin to follow, as soon as somebody asks; needs the running loop."""
        self._worker.start()

    async def stop(self) -> None:
        """Follow no longer."""
        await self._worker.stop()
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)

    async def ranked(self, ranking: Ranking, count: int, after: Ranked | None = None) -> FleetRanked:
        """Return so many tenants in order, behind ``after`` if it is given.

        Raises:
            FleetUnansweredError: if the store does not answer, there are more tenants than are ranked, or the copy is
                still on its way.
        """
        self._asked = monotonic()
        if ranking.figure.chosen.peaks:
            self._peaks_asked = self._asked
        self._orders[ranking] = None
        self._orders.move_to_end(ranking)
        while len(self._orders) > MAX_ORDERS:
            self._orders.popitem(last=False)
        shown = await self._fresh(peaks=ranking.figure.chosen.peaks)
        async with self._sorting:
            found = await asyncio.to_thread(shown.first, ranking, count, after)
        names = [one.tenant_id for one in found]
        peaks = shown.peaks if shown.peaks is not None else await self._peaks(names)
        windows = shown.windows(ranking.window, names, peaks)
        return FleetRanked(found, windows, shown.coverage())

    async def _fresh(self, *, peaks: bool) -> RankedCopy:
        """Return the copy, made or brought up to date if nobody has done that lately."""
        if self._member.away:
            raise FleetUnansweredError(STORE_AWAY)
        if self._shown is not None and self._shown.stands(peaks=peaks):
            return self._shown
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._filled(peaks=peaks), name="callscope-fleet-ranking-copy")
            self._filling.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait({self._filling}, timeout=self.fill_seconds)
        shown = self._filling.result() if done else self._shown
        if shown is None or shown.age_seconds > OLDEST_SECONDS or (peaks and shown.peaks is None):
            raise FleetUnansweredError("The sums of the fleet are being copied to be ranked; ask again in a moment.")
        return shown

    async def _filled(self, *, peaks: bool) -> RankedCopy:
        async with self._refreshing:
            shown = self._shown
            if shown is None or not shown.stands(peaks=peaks):
                shown = self._shown = await self._refreshed()
            return shown

    async def _keep(self) -> None:
        """Bring the copy up to date if somebody has asked lately; otherwise let go of it."""
        idle = monotonic() - self._asked
        async with self._refreshing:
            if idle > KEPT_SECONDS:
                self._copy, self._shown = _Copy(), None
                self._orders.clear()
            elif not self._member.away:
                self._shown = await self._refreshed()

    async def _refreshed(self) -> RankedCopy:
        try:
            heads = await self._heads()
            coverage = await self._coverage(min((head.now_ms - head.born_ms) / 1000 for head in heads))
            copy = await self._brought_up_to_date(heads)
            wanted = monotonic() - self._peaks_asked < KEPT_SECONDS
            peaks = await self._peaks(copy.tenants) if wanted else None
        except StoreAwayError as error:
            self._member.doubt(error)
            raise FleetUnansweredError(STORE_AWAY) from error
        self._copy = copy
        shown = RankedCopy(copy, coverage, self._limits, peaks)
        # Of those that were asked for lately: whoever asks next does not wait for them.
        for ranking in list(self._orders):
            if peaks is not None or not ranking.figure.chosen.peaks:
                await asyncio.to_thread(shown.order, ranking)
        return shown

    async def _heads(self) -> Sequence[ChangedPage]:
        """Return how far each bucket is."""
        heads = await asyncio.gather(*(self._store.changed(number, count=0) for number in range(BUCKETS)))
        if not all(head.generation for head in heads):
            raise FleetUnansweredError("The store of the fleet is empty, and is being filled again.")
        if sum(head.tenants for head in heads) > MAX_TENANTS:
            raise FleetUnansweredError(f"The fleet has more than {MAX_TENANTS:,} tenants, too many to be ranked.")
        return heads

    async def _brought_up_to_date(self, heads: Sequence[ChangedPage]) -> _Copy:
        known = self._copy.buckets
        filled = any(known[number].generation != head.generation for number, head in enumerate(heads) if known)
        copy = _Copy() if filled else await asyncio.to_thread(self._copy.begin)
        for number, head in enumerate(heads):
            await self._follow(copy, number, head)
        return copy

    async def _follow(self, copy: _Copy, number: int, head: ChangedPage) -> None:
        """Take what has changed in a bucket, and what was counted when windows began that begin later now."""
        bucket = copy.buckets.setdefault(number, _Bucket(head.generation))
        begun = {name: begun_ms(name, head.now_ms, head.born_ms) for name in _WINDOWS}
        moved = [name for name in _WINDOWS if bucket.begun_ms.get(name) != begun[name]]
        minutes = [begun[name] // MINUTE_MS for name in moved]
        rank = 0
        while True:
            page = await self._store.changed(number, since=bucket.version, rank=rank, first_minutes=minutes)
            if page.generation != head.generation:
                raise FleetUnansweredError("The store of the fleet was filled again meanwhile.")
            await asyncio.to_thread(copy.take, number, moved, page.found)
            rank += len(page.found)
            if page.last:
                break
        bucket.version, bucket.begun_ms, bucket.now_ms = head.version, begun, head.now_ms

    async def _peaks(self, tenants: Sequence[str]) -> Mapping[str, Peaks]:
        found: dict[str, Peaks] = {}
        try:
            for start in range(0, len(tenants), AT_ONCE):
                found |= await self._slots.peaks(tenants[start : start + AT_ONCE])
        except StoreAwayError as error:
            self._member.doubt(error)
            raise FleetUnansweredError(STORE_AWAY) from error
        return found

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, FleetUnansweredError):
            _logger.error("a ranking's copy of the fleet's sums could not be brought up to date", exc_info=error)
