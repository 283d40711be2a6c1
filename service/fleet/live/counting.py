"""This process's part in the numbers of the fleet: what it sends, what it folds of the gone, what it reads."""

import asyncio
import logging
from contextlib import suppress
from typing import Final, Protocol

from service.fleet.errors import StoreAwayError
from service.fleet.live.folding import Folding
from service.fleet.live.lost import LostCalls
from service.fleet.live.publisher import NotPublishedError, Publisher, PublishingHealth, Recorded, at_once
from service.fleet.live.reading import FleetNumbers
from service.fleet.live.store import BatchScripts, LiveStore, NotFilledError
from service.fleet.member import Member
from service.fleet.store import SlotStore
from service.storage.database import Database
from telemetry.clock import Clock
from telemetry.metrics.gauges import Limits
from telemetry.metrics.reader import LiveMetricsReader

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
"""Seconds between two looks of the first process of a fleet for rows of those that are gone."""

STOP_SECONDS: Final = 1.0
"""Seconds that sending and folding the last counts may take."""


class Joined(Protocol):
    """This process as one of a fleet; :class:`service.fleet.fleet.Fleet` is it."""

    @property
    def store(self) -> SlotStore:
        """The places of all calls, and the processes that live."""
        ...

    @property
    def member(self) -> Member:
        """The process among them."""
        ...


class FleetCounting:
    """Built in one place, begun once the fleet is joined, ended before it is left.

    Args:
        connection: to the store.
        prefix: keeps fleets that share a store apart.
        fleet: this process among the others.
        database: the one that all processes of the fleet use.
        live: what this process counts.
        lost: calls that it found to be over.
        limits: how many calls are let in at once.
        clock: the source of time.
        recorded: waits, not for long, until the database has what was counted before.
    """

    def __init__(
        self,
        connection: BatchScripts,
        prefix: str,
        fleet: Joined,
        database: Database,
        live: LiveMetricsReader,
        lost: LostCalls,
        limits: Limits,
        clock: Clock,
        *,
        recorded: Recorded = at_once,
    ) -> None:
        self._slots, self._member = fleet.store, fleet.member
        self._clock = clock
        self._last_look = float("-inf")
        self._folds: set[asyncio.Task[None]] = set()
        store = LiveStore(connection, prefix)
        self._folding = Folding(store, database, clock)
        self._publisher = Publisher(store, fleet.member, live, lost, self._folding, recorded)
        self.numbers = FleetNumbers(store, self._publisher, fleet.member, fleet.store, live, limits)
        """Reads the numbers of the fleet."""
        fleet.member.on_fenced = self._fold_soon

    async def start(self) -> None:
        """Begin to send; the process has joined the fleet, and answers for it from here on.

        Raises:
            DATABASE_ERRORS: what the database raises.
        """
        try:
            self.numbers.since_ms = await self._folding.begin()
            await self._publisher.publish()
        except (StoreAwayError, NotPublishedError, NotFilledError) as error:
            _logger.warning("the fleet has not been told yet what is counted here: %s", type(error).__name__)
        self._publisher.start()
        self.numbers.ranking.start()

    async def look(self) -> None:
        """Fold those that are gone, if this process is the first of those that live; for the heartbeat's hooks."""
        now = self._clock.now().monotonic
        if self._member.seen.rank or self._member.away or now - self._last_look < LOOK_SECONDS:
            return
        self._last_look = now
        try:
            await self._folding.look(self._living)
        except StoreAwayError as error:
            self._member.doubt(error)

    async def stop(self) -> None:
        """Send and fold what is left, as far as that takes no longer than :data:`STOP_SECONDS`."""
        await self.numbers.ranking.stop()
        for task in self._folds:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._publisher.stop()

    def health(self) -> PublishingHealth:
        """Return the counts of what was sent."""
        return self._publisher.health()

    def _fold_soon(self, holder: str) -> None:
        task = asyncio.create_task(self._folding.fold_gone(holder), name="callscope-fleet-fold")
        self._folds.add(task)
        task.add_done_callback(self._folds.discard)

    async def _living(self) -> set[str]:
        view = await self._slots.look()
        return {process.holder for process in view.processes if process.beat_age_seconds is not None}
