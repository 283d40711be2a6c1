"""The numbers of the fleet as any of its processes reads them: its own as of now, those of the others as last sent."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from time import monotonic

from service.fleet.errors import StoreAwayError
from service.fleet.live.counts import STORE_AWAY, Coverage, FleetCounts, FleetUnansweredError
from service.fleet.live.fields import Row, minus, plus, read
from service.fleet.live.publisher import Heard, NotPublishedError, Publisher
from service.fleet.live.ranking import FleetRanked, FleetRanking
from service.fleet.live.scripts import BUCKETS
from service.fleet.live.store import RECENT_MS, TOTAL, LiveStore, NotFilledError, Sum
from service.fleet.member import Member
from service.fleet.store import Peaks, SlotStore
from service.storage.database import DATABASE_ERRORS
from telemetry.metrics.figures import Window
from telemetry.metrics.gauges import Limits
from telemetry.metrics.history import SEVERAL, HistoryStretch, Ranked, Ranking
from telemetry.metrics.live_table import Selection
from telemetry.metrics.past import WindowName
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import OTHER, TenantId


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
        self.ranking = FleetRanking(store, slots, member, limits, self._coverage_now)
        """Ranks the tenants."""
        self.since_ms = 0
        """Since when the fleet counts, in Unix milliseconds."""

    async def counts(self, tenant_id: str | None = None, *, past: bool = False) -> FleetCounts:
        """Return the counts of one tenant, or of all together; with ``past`` what they were in the last day, too.

        Raises:
            FleetUnansweredError: if the store does not answer, or has not got this process's counts yet.
        """
        name = TOTAL if tenant_id is None else tenant_id
        live_age, holder, heard = await self._live.refreshed(), self._publisher.holder, self._publisher.heard
        with self._answered():
            found = await self._store.sum_of(name, holder, past=past)
            row = self._row(name, holder, found)
        seen = bool(found.sum) or self._live.store.position(tenant_id) is not None
        coverage = self._coverage(heard, live_age, found.filled_seconds)
        return FleetCounts(row, seen, coverage, found.born_ms, found.now_ms, _past(found))

    async def rows(self, tenants: Iterable[str]) -> tuple[Mapping[str, Row], Coverage]:
        """Return the counts of these tenants, zeros for one never seen; an empty name is that of all together.

        The tenants of a bucket are of one moment. Raises as :meth:`counts`.
        """
        live_age, holder, heard = await self._live.refreshed(), self._publisher.holder, self._publisher.heard
        rows: dict[str, Row] = {}
        filled_seconds = inf
        with self._answered():
            async for some in self._store.sums_of(tenants, holder):
                rows |= {name: self._row(name, holder, found) for name, found in some.items()}
                filled_seconds = min(filled_seconds, *(found.filled_seconds for found in some.values()))
        return rows, self._coverage(heard, live_age, filled_seconds)

    def _row(self, name: str, holder: str, found: Sum) -> Row:
        """Return a sum with what this process counts as of now in place of what it has sent."""
        if not found.generation:
            self._publisher.look_at(name)
            raise FleetUnansweredError("The store of the fleet is empty, and is being filled again.")
        return plus(minus(read(found.sum), read(found.own)), self._publisher.row(name, holder))

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Raise FleetUnansweredError for whatever keeps the store from answering for this process."""
        if self._member.away:
            # Nobody waits for a store that is known not to answer.
            raise FleetUnansweredError(STORE_AWAY)
        try:
            yield
        except StoreAwayError as error:
            self._member.doubt(error)
            raise FleetUnansweredError(STORE_AWAY) from error
        except NotPublishedError:
            raise FleetUnansweredError("This process has not told the fleet yet what it counted.") from None

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
        # It may be one of those past the bound, which count together: then nothing is known of it.
        unknown = not counts.seen and (await self.counts(OTHER)).seen
        limit = self._limit(tenant_id)
        windows = {}
        for window in WindowName:
            start_ms = counts.start_ms(window)
            known = window is not WindowName.SINCE_START and name not in SEVERAL and not unknown
            peak = peaks.since(start_ms) if known else None
            windows[window] = counts.window(window, limit=limit, peak_in_use=peak)
        if unknown:
            windows = {window: replace(found, numbers=()) for window, found in windows.items()}
        return counts, windows

    async def course(
        self, name: WindowName, selection: Selection, tenant_id: str | None = None
    ) -> tuple[FleetCounts, tuple[HistoryStretch, ...]]:
        """Return the counts with the parts of a window, the oldest first; raise as :meth:`counts`."""
        tenant = TOTAL if tenant_id is None else tenant_id
        counts, peaks = await asyncio.gather(self.counts(tenant_id, past=True), self._peaks(tenant))
        return counts, counts.course(name, selection, None if tenant in SEVERAL else peaks)

    async def ranked(self, ranking: Ranking, count: int, after: Ranked | None = None) -> FleetRanked:
        """Return so many tenants in order, behind ``after`` if it is given.

        Raises:
            FleetUnansweredError: if the store does not answer, or there are more tenants than are ranked.
        """
        return await self.ranking.ranked(ranking, count, after)

    async def _coverage_now(self, filled_seconds: float) -> Coverage:
        with self._answered():
            return self._coverage(self._publisher.heard, await self._live.refreshed(), filled_seconds)

    async def _peaks(self, name: str) -> Peaks:
        with self._answered():
            return (await self._slots.peaks([name]))[name]

    def _limit(self, tenant_id: str | None) -> int | None:
        if tenant_id is None:
            return self._limits.total()
        return None if tenant_id in SEVERAL else self._limits.of(TenantId(tenant_id))

    def _coverage(self, heard: Heard | None, live_age: float, filled_seconds: float) -> Coverage:
        """Return what sums cover after this was heard, in buckets that were filled so many seconds ago, or more."""
        if heard is None:
            raise FleetUnansweredError("This process has not told the fleet yet what it counted.")
        since = monotonic() - heard.at
        # What was heard then says nothing of now, or of what was filled anew since; this process speaks for itself.
        speaking = heard.speaking if since * 1000 < RECENT_MS and since < filled_seconds else 1
        living = max(self._member.seen.living, speaking)
        return Coverage(max(heard.oldest_seconds + since, live_age), speaking, living, self.since_ms)


def _past(found: Sum) -> tuple[tuple[int, Row], ...]:
    lines = (line.partition(" ") for line in found.past.splitlines())
    return tuple((int(minute), read(text)) for minute, _, text in lines)
