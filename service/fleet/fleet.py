"""The fleet as one process sees it: built in one place, joined at the start, left at the end."""

import os
import socket
from asyncio import timeout
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Protocol

from opentelemetry.metrics import Observation

from service.fleet.capacity import FleetCapacity
from service.fleet.checks import START_TRIES, check_store
from service.fleet.errors import TOO_SLOW, StoreAwayError, StoreUnusableError
from service.fleet.held import HeldCalls
from service.fleet.member import CapacityMode, Member
from service.fleet.repair import Repair
from service.fleet.scripts import LAYOUT, Script
from service.fleet.sharing import OnOutage
from service.fleet.store import FleetView, SlotStore
from service.records.calls import CallRecords
from service.storage.database import Database
from service.storage.installation import installation_id
from telemetry.clock import Clock

LEAVE_SECONDS: Final = 0.5
"""Seconds that signing off may take."""


class Connection(Protocol):
    """The connection to a store; :class:`service.fleet.connection.StoreConnection` is one."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        """Return what a script answers; raise StoreAwayError if there is no answer."""
        ...

    async def run_all(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]
    ) -> list[Any | StoreAwayError]:
        """Return what a script answers to each keys and arguments, or why there is no answer."""
        ...

    async def configuration(self) -> Sequence[Mapping[str, Any]]:
        """Return what each server that takes writes says of itself; raise StoreUnusableError if it cannot be asked."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


@dataclass(frozen=True, slots=True)
class FleetHealth:
    """For ``/readyz``: calls go on in either mode."""

    mode: CapacityMode
    on_outage: OnOutage
    processes: int
    """Processes that lived at the last heartbeat, this one included."""
    held: int
    """Slots that this process holds."""
    gone_with_slots: int
    """Processes that are gone and still held slots at the last heartbeat."""
    returns: int
    """Times since the start that this process took a new epoch."""
    decided_locally: int
    """Decisions since the start that were made while the store was away."""
    in_doubt: int
    """Calls since the start about which the store did not answer in time, while it was not known to be away."""
    away_seconds: float | None
    beat_age_seconds: float | None
    last_error: str | None
    """The kind of the last failure since the start."""


class Fleet:
    """This process among those that share a store and a database.

    Args:
        connection: to the store.
        prefix: keeps fleets that share a store apart.
        instance_id: this process's, new with each process.
        database: the database that all processes of the fleet use.
        records: the records of this process's calls.
        clock: the source of time.
        on_outage: what becomes of new calls while the store is away.
        stale_seconds: how long a slot without a record is kept once its process is gone.
    """

    def __init__(
        self,
        connection: Connection,
        prefix: str,
        instance_id: str,
        database: Database,
        records: CallRecords,
        clock: Clock,
        *,
        on_outage: OnOutage,
        stale_seconds: float,
    ) -> None:
        self._connection = connection
        self._database = database
        self._instance_id = instance_id
        self._records = records
        self._clock = clock
        self._stale_seconds = stale_seconds
        self._started = clock.now()
        self._database_id = ""
        self._held = HeldCalls()
        self.store = SlotStore(connection, prefix)
        self.member = Member(self.store, instance_id, self._identity, self._info, self._held, clock)
        self.capacity = FleetCapacity(self.store, self.member, self._held, records, on_outage)
        self._repair = Repair(self.store, self.member, self._held, records, clock, age_seconds=stale_seconds)
        self.member.on_return = records.check_claims
        self.member.repair = self._repair.own
        self.member.on_back = self.capacity.store_is_back
        self.member.under_way = self.capacity.under_way

    def _identity(self) -> str:
        return self._database_id

    async def start(self) -> None:
        """Check the store, and join; the schema of the database must be there.

        Raises:
            StoreUnusableError: if a fleet cannot stand on the store, in one sentence.
        """
        await check_store(self._connection)
        self._database_id = await installation_id(self._database)
        for more in reversed(range(START_TRIES)):
            try:
                await self.member.join()
                await self.member.beat()
                await self.store.prepare(self.member.holder)
                break
            except StoreAwayError as error:
                # What may have come of a try that had no answer is fenced soon, and holds no slot.
                if not more or str(error) != TOO_SLOW:
                    raise StoreUnusableError(
                        f"REDIS_URL: the store took no change ({error}); it must be a primary that is not loading"
                    ) from None
        self.member.start()
        self.capacity.start()

    async def look(self) -> None:
        """Free slots that processes which are gone have left; for the heartbeat's hooks."""
        await self._repair.look()

    async def view(self) -> FleetView:
        """Return every process of the fleet; raise StoreAwayError if the store does not answer."""
        return await self.store.look()

    def mode(self) -> CapacityMode:
        """Return where slots are decided upon now."""
        return self.member.mode

    def observed(self) -> list[Observation]:
        """Return the reading of the gauge that says whether slots are decided upon in the store."""
        return [Observation(int(not self.member.away))]

    def observed_in_doubt(self) -> list[Observation]:
        """Return the reading of the counter of calls that no answer came about in time."""
        return [Observation(self.capacity.in_doubt)]

    def hand_over(self) -> None:
        """Leave the slots of running calls to the process that comes next."""
        self.capacity.hand_over()

    async def stop(self, budget_seconds: float = LEAVE_SECONDS) -> None:
        """Give back what waits, sign off, and let go of the store, all within about the budget."""
        await self.member.stop()
        await self.capacity.stop(budget_seconds / 2)
        if self.member.holder:
            with suppress(StoreAwayError, TimeoutError):
                async with timeout(budget_seconds / 2):
                    await self.store.leave(self.member.holder)
        await self._connection.close()

    def health(self) -> FleetHealth:
        """Return how the fleet is seen at this moment."""
        member = self.member
        return FleetHealth(
            member.mode,
            self.capacity.on_outage,
            member.seen.living,
            self.capacity.in_use,
            member.fenced_others,
            member.returns,
            self.capacity.decided_locally,
            self.capacity.in_doubt,
            member.away_seconds,
            member.beat_age_seconds,
            member.last_error,
        )

    def _info(self) -> Mapping[str, Any]:
        """Return what the others are told of this process; its epoch tells its holder."""
        started = self._clock.now().unix_ms - round(self._clock.now().since(self._started) * 1000)
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version("callscope"),
            "layout": LAYOUT,
            "started_ms": started,
            "calls": self._records.health().open,
            **self.capacity.told(),
            "mode": self.member.mode,
        }
