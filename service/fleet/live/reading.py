"""The numbers of the fleet as any of its processes reads them: its own as of now, those of the others as last sent."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from service.fleet.errors import StoreAwayError
from service.fleet.live.fields import GAUGES, ROW, Row, amounts, minus, plus, read
from service.fleet.live.publisher import NotPublishedError, Publisher
from service.fleet.live.scripts import BUCKETS
from service.fleet.live.store import TOTAL, LiveStore, NotFilledError, Sum
from service.fleet.member import Member
from service.fleet.store import Peaks, SlotStore
from service.storage.database import DATABASE_ERRORS
from telemetry.metrics.figures import Window
from telemetry.metrics.gauges import Limits
from telemetry.metrics.history import HistoryStretch
from telemetry.metrics.live_table import BOUNDS, MS_PER_SECOND, Distribution, Numbers, Selection
from telemetry.metrics.past import WindowName
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, TenantId

_MINUTE_MS: Final = 60_000

_STEPS: Final[Mapping[WindowName, tuple[int, int]]] = {
    WindowName.FIVE_MINUTES: (5, 1),
    WindowName.HOUR: (60, 5),
    WindowName.DAY: (1440, 60),
}
# Minutes of each window, and of the steps that its edge is exact to the half of.

_COUNTERS: Final = slice(len(GAUGES), -len(BOUNDS))
# Of a row, the numbers that a window has.

_SEVERAL: Final = frozenset({OTHER, UNKNOWN_TENANT})


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
        return Window((self.now_ms - start_ms) / 1000, added[_COUNTERS], peak_in_use, limit)

    def start_ms(self, name: WindowName) -> int:
        """Return when a window began, in Unix milliseconds of the store."""
        return self._before(name)[0]

    def _before(self, name: WindowName) -> tuple[int, Row | None]:
        """Return when a window began and what had been counted then; None for nothing."""
        if name is WindowName.SINCE_START:
            return self.coverage.since_ms, None
        minutes, step = _STEPS[name]
        start = round((self.now_ms / _MINUTE_MS - minutes) / step) * step
        start_ms = max(start * _MINUTE_MS, self.born_ms)
        # What was counted then did not change before the first minute from then on that is remembered.
        later = [row for minute, row in self.past if minute >= start_ms // _MINUTE_MS]
        return start_ms, later[-1] if later else self.row

    def course(self, name: WindowName, selection: Selection) -> tuple[HistoryStretch, ...]:
        """Return the parts of a window between the minutes that are remembered, the oldest first."""
        start_ms, before = self._before(name)
        edges = [(minute * _MINUTE_MS, row) for minute, row in self.past if minute * _MINUTE_MS > start_ms]
        places = [len(GAUGES) + column for column in selection.columns()]
        parts, begun = [], before or [0] * len(self.row)
        for until, row in (*reversed(edges), (self.now_ms, self.row)):
            added = tuple(row[place] - begun[place] for place in places)
            parts.append(HistoryStretch((self.now_ms - start_ms) / 1000, (self.now_ms - until) / 1000, added, None))
            start_ms, begun = until, row
        return tuple(parts)


class FleetNumbers:
    """Reads the sums of the fleet.

    Args:
        store: the sums.
        publisher: this process's part in them.
        member: this process among the others.
        slots: the places of all calls.
        live: what it has counted.
        limits: how many calls are let in at once.
    """

    def __init__(
        self,
        store: LiveStore,
        publisher: Publisher,
        member: Member,
        slots: SlotStore,
        live: LiveMetricsReader,
        limits: Limits,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._member = member
        self._live = live
        self._slots = slots
        self._limits = limits
        self.since_ms = 0
        """Since when the fleet counts, in Unix milliseconds."""

    async def counts(self, tenant_id: str | None = None, *, past: bool = False) -> FleetCounts:
        """Return the counts of one tenant, or of all together; with ``past`` what they were in the last day, too.

        Raises:
            FleetUnansweredError: if the store does not answer, or has not got this process's counts yet.
        """
        name = TOTAL if tenant_id is None else tenant_id
        live_age, holder = await self._live.refreshed(), self._publisher.holder
        try:
            found = await self._store.sum_of(name, holder, past=past)
            own = self._publisher.row(name, holder)
        except StoreAwayError as error:
            self._member.doubt(error)
            raise FleetUnansweredError("The store of the fleet does not answer.") from error
        except NotPublishedError:
            raise FleetUnansweredError("This process has not told the fleet yet what it counted.") from None
        if not found.generation:
            self._publisher.look_at(name)
            raise FleetUnansweredError("The store of the fleet is empty, and is being filled again.")
        row = plus(minus(read(found.sum), read(found.own)), own)
        seen = bool(found.sum) or self._live.store.position(tenant_id) is not None
        return FleetCounts(row, seen, self._coverage(live_age), found.born_ms, found.now_ms, _past(found))

    async def every(self) -> Mapping[str, Row]:
        """Return every tenant's sum, once this process has sent what it counted; raise as :meth:`counts`."""
        try:
            await self._publisher.publish()
            return {
                tenant_id: read(text) for bucket in range(BUCKETS) async for tenant_id, text in self._store.sums(bucket)
            }
        except (StoreAwayError, NotPublishedError, NotFilledError, *DATABASE_ERRORS) as error:
            raise FleetUnansweredError("The store of the fleet does not answer, or is being filled again.") from error

    async def windows(self, tenant_id: str | None = None) -> tuple[FleetCounts, Mapping[WindowName, Window]]:
        """Return the counts with what was counted in each window; raise as :meth:`counts`.

        The most slots held at once are those that were let in: of the time since the fleet began to count nobody keeps
        them.
        """
        name = TOTAL if tenant_id is None else tenant_id
        counts, peaks = await asyncio.gather(self.counts(tenant_id, past=True), self._peaks(name))
        limit = self._limit(tenant_id)
        windows = {}
        for window in WindowName:
            start_ms = counts.start_ms(window)
            known = window is not WindowName.SINCE_START and name not in _SEVERAL
            peak = peaks.since(start_ms) if known else None
            windows[window] = counts.window(window, limit=limit, peak_in_use=peak)
        return counts, windows

    async def _peaks(self, name: str) -> Peaks:
        try:
            return (await self._slots.peaks([name]))[name]
        except StoreAwayError as error:
            self._member.doubt(error)
            raise FleetUnansweredError("The store of the fleet does not answer.") from error

    def _limit(self, tenant_id: str | None) -> int | None:
        if tenant_id is None:
            return self._limits.total()
        return None if tenant_id in _SEVERAL else self._limits.of(TenantId(tenant_id))

    def _coverage(self, live_age: float) -> Coverage:
        heard = self._publisher.heard
        if heard is None:
            raise FleetUnansweredError("This process has not told the fleet yet what it counted.")
        age = heard.oldest_seconds + (monotonic() - heard.at)
        living = max(self._member.seen.living, heard.speaking)
        return Coverage(max(age, live_age), heard.speaking, living, self.since_ms)


def _past(found: Sum) -> tuple[tuple[int, Row], ...]:
    lines = (line.partition(" ") for line in found.past.splitlines())
    return tuple((int(minute), read(text)) for minute, _, text in lines)
