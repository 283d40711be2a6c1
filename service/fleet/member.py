"""This process as one of the fleet: its epoch, its heartbeats, and its return once it was fenced."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from service.fleet.errors import StoreAwayError, StoreUnusableError
from service.fleet.held import HeldCalls
from service.fleet.sharing import FleetSeen
from service.fleet.store import BEAT_SECONDS, SILENCE_SECONDS, Beat, SlotStore, UnregisteredError
from service.periodic import PeriodicWorker
from telemetry.clock import Clock

_logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 0.25
"""Seconds between two looks at whether the store is back."""

_NOBODY: Final = ""


class CapacityMode(StrEnum):
    """The place where a call's slot is decided upon."""

    FLEET = "fleet"
    """In the store, for all processes."""
    LOCAL = "local"
    """In this process, by ``CAPACITY_ON_OUTAGE``: the store is away."""


class Member:
    """Keeps this process registered. Its heartbeats come from the event loop that runs the calls.

    Args:
        store: the fleet's store.
        instance_id: this process's, new with each process.
        database: returns the id of the database that all processes of the fleet share.
        info: returns what the process says of itself.
        held: the slots it holds.
        clock: the source of time.
    """

    def __init__(
        self,
        store: SlotStore,
        instance_id: str,
        database: Callable[[], str],
        info: Callable[[], Mapping[str, Any]],
        held: HeldCalls,
        clock: Clock,
        *,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._store = store
        self._instance_id = instance_id
        self._database = database
        self._info = info
        self._held = held
        self._clock = clock
        self._beat_seconds = beat_seconds
        self.holder = _NOBODY
        """This process under its present epoch; empty before it has joined."""
        self.seen = FleetSeen()
        self.fenced_others = 0
        """Processes that are gone and still hold slots, at the last heartbeat."""
        self.returns = 0
        """Times since the start that this process was fenced, or the store emptied, and took a new epoch."""
        self.on_return: Callable[[], Awaitable[None]] = _nothing
        """Checks, under a new epoch, which calls are still this process's."""
        self.repair: Callable[[], Awaitable[None]] = _nothing
        """Makes the store hold what this process holds, and no more."""
        self.on_back: Callable[[], None] = _ignore
        """Called once decisions are the store's again."""
        self._asserting = False
        self._away_since: float | None = None
        self._last_error: str | None = None
        self._last_beat: float | None = None
        self._known_writes = 0
        self._born_at = float("-inf")
        self._differed = False
        self._beating = PeriodicWorker(
            self._beat_when_due, interval=PROBE_SECONDS, failed=self._failed, name="callscope-fleet-heartbeat"
        )

    # State ------------------------------------------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """True while the store does not answer, and until it holds again what this process holds."""
        return self._away_since is not None

    @property
    def mode(self) -> CapacityMode:
        """The place where slots are decided upon now."""
        return CapacityMode.LOCAL if self.away else CapacityMode.FLEET

    @property
    def away_seconds(self) -> float | None:
        """Seconds since the store went away; None while it has not."""
        return None if self._away_since is None else self._now() - self._away_since

    @property
    def beat_age_seconds(self) -> float | None:
        """Seconds since the store took the last heartbeat; None before the first."""
        return None if self._last_beat is None else self._now() - self._last_beat

    @property
    def last_error(self) -> str | None:
        """The kind of the last failure since the start."""
        return self._last_error

    @property
    def settling(self) -> bool:
        """True while an emptied store may not yet have heard of every process: others may still hold slots."""
        return self._now() - self._born_at < SILENCE_SECONDS and self.returns > 0

    def _now(self) -> float:
        return self._clock.now().monotonic

    # Lifecycle --------------------------------------------------------------------------------------------------------

    async def join(self) -> None:
        """Become one of the fleet, under an epoch greater than any before.

        Raises:
            StoreAwayError: if the store does not answer.
            StoreUnusableError: if this process does not fit those that live.
        """
        answer, value = await self._store.join(self._instance_id, self._database(), self._info(), before=self.holder)
        if answer == "database":
            raise StoreUnusableError(
                "DATABASE_URL: the processes of this fleet use another database; give all of them the same, or this one"
                " another REDIS_PREFIX"
            )
        if answer == "layout":
            raise StoreUnusableError(
                f"REDIS_URL: the fleet has layout {value}, which this version does not know; update this process, or"
                " give it another REDIS_PREFIX"
            )
        self.holder = value
        self._known_writes = 0

    def start(self) -> None:
        """Begin to send heartbeats; needs the running loop."""
        self._last_beat = self._now()
        self._beating.start()

    async def stop(self) -> None:
        """Send no more heartbeats."""
        await self._beating.stop()

    # What the store says ----------------------------------------------------------------------------------------------

    def failed(self, error: Exception) -> None:
        """Take the store for away, and look soon whether it is."""
        self._went_away(error)
        self._beating.wake()

    @property
    def known_writes(self) -> int:
        """Changes of this process's slots that the store has acknowledged, under the present epoch."""
        return self._known_writes

    def acknowledged(self, writes: int) -> None:
        """Note that the store has made so many changes of this process's slots."""
        self._known_writes = max(self._known_writes, writes)

    def born(self, seconds: float) -> None:
        """Note that the store has known the fleet for so long."""
        self._born_at = self._now() - seconds

    def lost_writes(self) -> None:
        """Have everything asserted at once: the store has lost what it acknowledged, as after a failover."""
        _logger.warning("the fleet's store has lost changes that it had acknowledged; all slots are asserted again")
        self._away_since = self._now() if self._away_since is None else self._away_since
        self._beating.wake()

    def assert_soon(self) -> None:
        """Have the store told of all slots that this process holds."""
        self._asserting = True
        self._beating.wake()

    # Heartbeats -------------------------------------------------------------------------------------------------------

    async def _beat_when_due(self) -> None:
        age = self.beat_age_seconds
        if self.away or self._asserting or age is None or age >= self._beat_seconds - PROBE_SECONDS / 2:
            await self.beat()

    async def beat(self) -> None:
        """Send a heartbeat; return to the fleet if the store does not know this process any more."""
        floor, tenants = self._known_writes, self.seen.tenants
        own = {tenant_id: self._held.of(tenant_id) for tenant_id in tenants}
        try:
            beat = await self._store.beat(self.holder, self._info(), tenants)
        except UnregisteredError:
            beat = await self._return()
        if not self.settling:
            for tenant_id, in_use in beat.tenants.items():
                self.seen.saw_tenant(tenant_id, in_use, own[tenant_id])
        if self.away or self._asserting or beat.writes < floor or self._stays_different(beat):
            self._asserting = False
            await self.repair()
        self._took(beat)

    async def _return(self) -> Beat:
        """Take a new epoch, and check what is still this process's under it."""
        _logger.warning("the fleet has fenced this process, or its store was emptied; it returns under a new epoch")
        self._away_since = self._now() if self._away_since is None else self._away_since
        self.returns += 1
        await self.join()
        await self.on_return()
        return await self._store.beat(self.holder, self._info())

    def _stays_different(self, beat: Beat) -> bool:
        """Return true if the store held another number of slots than this process at two heartbeats in a row.

        Once may be due to what was under way.
        """
        differs = beat.held != len(self._held)
        before, self._differed = self._differed, differs
        return differs and before

    def _took(self, beat: Beat) -> None:
        self._last_beat = self._now()
        self.acknowledged(beat.writes)
        self.born(beat.born_seconds)
        if not self.settling:
            # An emptied store knows less of the others than what was seen of them before.
            self.seen.living, self.seen.rank = beat.living, beat.rank
            self.seen.saw(beat.total, beat.held)
        self.fenced_others = beat.fenced
        for holder in beat.fenced_now:
            _logger.warning("a process of the fleet fell silent and is fenced: %s", holder)
        if self._away_since is not None:
            _logger.warning("the fleet's store is back after %.1f s", self._now() - self._away_since)
            self._away_since = None
            self.on_back()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, StoreAwayError | StoreUnusableError):
            _logger.error("a heartbeat of the fleet failed", exc_info=error)
        self._went_away(error)

    def _went_away(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        if self._away_since is None:
            self._away_since = self._now()
            _logger.warning("the fleet's store is away (%s); capacity is decided here", self._last_error)


async def _nothing() -> None:
    """Do nothing."""


def _ignore() -> None:
    """Do nothing."""
