"""Members of a fleet as objects of one process, with a store between that can be taken from them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from service.fleet.capacity import FleetCapacity
from service.fleet.errors import StoreAwayError
from service.fleet.held import HeldCalls
from service.fleet.member import Member
from service.fleet.repair import Repair
from service.fleet.scripts import Script
from service.fleet.sharing import OnOutage
from service.fleet.store import Scripts, SlotStore
from service.gateway.capacity import InDoubt, Slot
from service.records.store import Owner
from telemetry.calls.events import LimitHit
from telemetry.calls.lifecycle import CallState
from telemetry.clock import SystemClock
from telemetry.semconv.attributes import CallId, TenantId
from tests.support.patience import PATIENT_SECONDS

ACME = TenantId("acme")
STALE_SECONDS = 0.0


class FaultyStore:
    """Passes scripts on, unless it is told to fail as networks do."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self.away = self.loses_replies = False
        self.hanging: set[Script] = set()
        """Scripts that get to the store once :attr:`go_on` is set."""
        self.losing: list[Script] = []
        """Scripts of which one reply each is lost, after they were carried out."""
        self.asked: list[Script] = []
        self.go_on = asyncio.Event()

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        self.asked.append(script)
        if self.away:
            raise StoreAwayError("ConnectionError")
        if script in self.hanging:
            await self.go_on.wait()
        answer = await self._scripts.run(script, keys, arguments)
        if script in self.losing:
            self.losing.remove(script)
            raise StoreAwayError("ConnectionError")
        if self.loses_replies:
            raise StoreAwayError("ConnectionError")
        return answer

    async def run_all(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]
    ) -> list[Any | StoreAwayError]:
        return [await self._run_or_error(script, *call) for call in calls]

    async def _run_or_error(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        try:
            return await self.run(script, keys, arguments)
        except StoreAwayError as error:
            return error


class FakeRecords:
    """The records that all members of a fleet share."""

    def __init__(self) -> None:
        self.claims: dict[CallId, int] = {}
        self.lost: set[CallId] = set()
        self.let_go_of: list[CallId] = []
        self.by_call: dict[CallId, Owner] = {}
        self.unsure = False

    def claim_of(self, call_id: CallId) -> int:
        return self.claims.get(call_id, 1)

    def certain(self, call_id: CallId) -> bool:  # noqa: ARG002 -- the protocol's signature
        return not self.unsure

    def is_lost(self, call_id: CallId) -> bool:
        return call_id in self.lost

    def let_go(self, call_id: CallId) -> None:
        self.let_go_of.append(call_id)

    async def owners(self, call_ids: Sequence[CallId]) -> Mapping[str, Owner]:
        return {call_id: self.by_call[call_id] for call_id in call_ids if call_id in self.by_call}

    def recorded(self, call_id: CallId, instance_id: str, *, over: bool) -> None:
        self.by_call[call_id] = Owner(instance_id, 1, CallState.STARTED, over=over, handed_over=False)


class FleetMember:
    """One process of the fleet."""

    def __init__(
        self, scripts: Scripts, name: str, on_outage: OnOutage = OnOutage.SHARE, records: FakeRecords | None = None
    ) -> None:
        self.faulty, self.name = FaultyStore(scripts), name
        self.records = records or FakeRecords()
        self.held = HeldCalls()
        clock = SystemClock()
        self.store = SlotStore(self.faulty, "test", silence_seconds=PATIENT_SECONDS)
        # Its heartbeats come when a test sends them, and when something has to know whether the store is there.
        self.member = Member(
            self.store, name, lambda: "db", lambda: {**self.capacity.told()}, self.held, clock, beat_seconds=3600.0
        )
        self.capacity = FleetCapacity(self.store, self.member, self.held, self.records, on_outage)
        # A busy machine makes a store slow; the test that is about the deadline sets its own.
        self.capacity.asking.decision_seconds = 60.0
        self.repair = Repair(self.store, self.member, self.held, self.records, clock, age_seconds=STALE_SECONDS)
        self.member.repair = self.repair.own
        self.member.on_back = self.capacity.store_is_back
        self.member.under_way = self.capacity.under_way

    async def start(self) -> None:
        await self.member.join()
        await self.member.beat()
        self.capacity.start()
        self.member.start()

    async def stop(self) -> None:
        await self.member.stop()
        await self.capacity.stop(0.0)

    async def admit(
        self, call_id: str, *, limit: int = 100, total: int = 100, tenant: TenantId = ACME
    ) -> Slot | LimitHit | InDoubt:
        return await self.capacity.admit(CallId(call_id), tenant, limit=limit, total_limit=total)

    async def let_in(self, *call_ids: str) -> list[Slot]:
        slots = [await self.admit(call_id) for call_id in call_ids]
        assert all(isinstance(slot, Slot) for slot in slots)
        return [slot for slot in slots if isinstance(slot, Slot)]

    async def loses_the_store(self) -> None:
        """Have the store go away from this member, and a heartbeat notice it."""
        self.faulty.away = True
        self.member.doubt(StoreAwayError("ConnectionError"))
        await until(lambda: self.member.away)

    async def in_store(self) -> dict[str, str]:
        """Return the calls with slots, each with its holder's name."""
        return {place.call_id: place.holder.rpartition(":")[0] async for place in self.store.places()}

    async def released(self) -> None:
        """Wait until what was given back has reached the store."""
        while self.capacity._releasing and not self.member.away:
            await self.capacity._giving_back.passed()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something that other tasks bring about holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- there is no event for what a test wants to see
            await asyncio.sleep(0.001)


@asynccontextmanager
async def fleet_of(
    scripts: Scripts, *names: str, on_outage: OnOutage = OnOutage.SHARE, records: FakeRecords | None = None
) -> AsyncIterator[list[FleetMember]]:
    """Members that have joined and know of each other; their heartbeats come when a test sends them."""
    members = [FleetMember(scripts, name, on_outage, records) for name in names]
    for member in members:
        await member.start()
    for member in members:
        await member.member.beat()
    try:
        yield members
    finally:
        for member in members:
            await member.stop()
