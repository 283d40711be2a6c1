"""This process as one of the fleet: its epoch, its heartbeats, and its return once it was fenced."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from service.fleet.errors import StoreAwayError, StoreUnusableError
from service.fleet.held import HeldCalls
from service.fleet.sharing import FleetSeen
from service.fleet.store import ANSWER_SECONDS, BEAT_SECONDS, Beat, SlotStore, UnregisteredError
from service.periodic import PeriodicWorker
from telemetry.clock import Clock
from telemetry.semconv.attributes import TenantId

_logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 0.25
"""Seconds between two looks at whether the store is back."""

STALE_BEATS: Final = 2
"""Heartbeats within which a process must have seen the fleet, before the one that failed, for its share to apply."""

DIFFERENT_BEATS: Final = 5
"""Heartbeats in a row at which a busy process and the store had different numbers, before all slots are compared."""

_ASSERTIONS: Final = 5
# A flood of calls that are let in here must not keep the store from deciding; what is left is asserted soon.

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
        """Called once the store is back."""
        self.on_fenced: Callable[[str], None] = _ignore_one
        """Called with each holder that a heartbeat of this process fenced."""
        self.under_way: Callable[[], bool] = _never
        """Returns true while changes of this process's slots are under way to the store, or may be."""
        self._asserting = False
        self._doubted = self._assert_due = self._renewing = False
        self._away_since: float | None = None
        self._last_error: str | None = None
        self._last_beat: float | None = None
        self._known_writes = 0
        self._born_at = self._seen_at = float("-inf")
        self._differed = 0
        self._beating = PeriodicWorker(
            self._beat_when_due, interval=PROBE_SECONDS, failed=self._failed, name="callscope-fleet-heartbeat"
        )

    # State ------------------------------------------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """True from a heartbeat that failed until the store holds again what this process holds."""
        return self._away_since is not None

    @property
    def asserting(self) -> bool:
        """True while the store answers and has yet to be told what this process holds: it was fenced, or lost some."""
        return self._asserting and not self.away

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
        return self._now() - self._born_at < self._store.silence_seconds and self.returns > 0

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

    def doubt(self, error: Exception) -> None:
        """Have a heartbeat ask at once whether the store is there: something else got no answer from it."""
        self._last_error = _kind(error)
        self._doubted = True
        self._beating.wake()

    async def asked(self) -> None:
        """Wait until a heartbeat has been answered, or has failed; never if none is being sent."""
        await self._beating.passed()

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
        self._asserting = True
        self._beating.wake()

    def assert_soon(self) -> None:
        """Have the store told of all slots that this process holds."""
        self.assert_next()
        self._beating.wake()

    def assert_next(self) -> None:
        """Have the store told of all slots when a heartbeat looks next, within :data:`PROBE_SECONDS`."""
        self._assert_due = True

    def renew(self) -> None:
        """Take a new epoch at the next heartbeat: somewhere in the store this one is known for gone."""
        self._renewing = self._doubted = True
        self._beating.wake()

    # Heartbeats -------------------------------------------------------------------------------------------------------

    async def _beat_when_due(self) -> None:
        age = self.beat_age_seconds
        due = age is None or age >= self._beat_seconds - PROBE_SECONDS / 2
        if due or self.away or self._asserting or self._assert_due or self._doubted:
            await self.beat()

    async def beat(self) -> None:
        """Send a heartbeat; return to the fleet if the store does not know this process any more.

        Raises:
            StoreAwayError: if the store does not answer.
        """
        self._doubted = False
        floor, own, moment = self._known_writes, self._held.by_tenant(), self.seen.moment
        comparable = not self.under_way()
        beat = await self._beat_or_return()
        differs = self._differs(beat, comparable=comparable and beat.writes == floor == self._known_writes)
        if self.away or self._asserting or self._assert_due or beat.writes < floor or differs:
            own, moment, beat = await self._assert()
        self._took(beat, own, moment)

    async def _beat_or_return(self) -> Beat:
        if not self._renewing:
            with suppress(UnregisteredError):
                return await self._store.beat(self.holder, self._info(), self.seen.tenants)
        beat = await self._return()
        self._renewing = False
        return beat

    async def _assert(self) -> tuple[Mapping[TenantId, int], int, Beat]:
        """Have the store hold what this process holds; return the heartbeat after it, and when that was sent.

        What was seen before does not count what is asserted now. Calls that are let in here meanwhile are asserted too,
        as from the next moment on the store decides.
        """
        for _ in range(_ASSERTIONS):
            self._assert_due = False
            await self.repair()
            own, moment = self._held.by_tenant(), self.seen.moment
            beat = await self._store.beat(self.holder, self._info(), self.seen.tenants)
            if not self._assert_due:
                break
        return own, moment, beat

    async def _return(self) -> Beat:
        """Take a new epoch, and check what is still this process's under it."""
        _logger.warning("the fleet has fenced this process, or its store was emptied; it returns under a new epoch")
        self._asserting = True
        self.returns += 1
        await self.join()
        await self.on_return()
        return await self._store.beat(self.holder, self._info())

    def _differs(self, beat: Beat, *, comparable: bool) -> bool:
        """Return true if the store holds another number of slots than this process, which is not due to traffic.

        If something is under way, a difference may be due to that, unless it stays.
        """
        if beat.held == len(self._held):
            self._differed = 0
            return False
        self._differed += 1
        if not comparable and self._differed < DIFFERENT_BEATS:
            return False
        self._differed = 0
        return True

    def _took(self, beat: Beat, own: Mapping[TenantId, int], moment: int) -> None:
        self._last_beat = self._now()
        self.acknowledged(beat.writes)
        self.born(beat.born_seconds)
        if not self.settling:
            # An emptied store knows less of the others than what was seen of them before.
            self.seen.living, self.seen.rank = beat.living, beat.rank
            self.seen.listed(moment, beat.total, beat.tenants, own, complete=beat.complete)
            self.seen.stale, self._seen_at = False, self._now()
        self.fenced_others = beat.fenced
        for holder in beat.fenced_now:
            _logger.warning("a process of the fleet fell silent and is fenced: %s", holder)
            self.on_fenced(holder)
        self._asserting = False
        if self._away_since is not None:
            _logger.warning("the fleet's store is back after %.1f s", self._now() - self._away_since)
            self._away_since = None
            self.on_back()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, StoreAwayError | StoreUnusableError):
            _logger.error("a heartbeat of the fleet failed", exc_info=error)
        self._went_away(error)

    def _went_away(self, error: Exception) -> None:
        self._last_error = _kind(error)
        if self._away_since is None:
            self._away_since = self._now()
            # Others may have filled since then what was free: a share of older numbers is no share.
            self.seen.stale = self._now() - self._seen_at > STALE_BEATS * self._beat_seconds + ANSWER_SECONDS
            _logger.warning("the fleet's store is away (%s); capacity is decided here", self._last_error)


def _kind(error: Exception) -> str:
    return str(error) or type(error).__name__


async def _nothing() -> None:
    """Do nothing."""


def _ignore() -> None:
    """Do nothing."""


def _ignore_one(_holder: str) -> None:
    """Do nothing."""


def _never() -> bool:
    """Return false."""
    return False
