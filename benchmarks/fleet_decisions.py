"""What a decision of a fleet's store takes over loopback, with few and with many processes registered.

One process asks about one call at a time, and gives its slot back, in a Redis in which so many processes are registered
and hold slots; each decision is one script. Then many calls come at the same time, and share scripts.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks import verdict
from service.fleet.address import StoreAddress
from service.fleet.capacity import FleetCapacity
from service.fleet.connection import StoreConnection
from service.fleet.held import HeldCalls
from service.fleet.member import Member
from service.fleet.store import HeldCall, SlotStore
from service.gateway.capacity import InDoubt, Slot
from telemetry.clock import SystemClock
from telemetry.semconv.attributes import CallId, TenantId
from tests.peers.binaries import find
from tests.peers.redis import Redis

INSTANCES: Final = (1, 10, 1_000)
SLOTS_EACH: Final = 10
"""Slots that each of the other processes holds."""
TENANTS: Final = 300
DECISIONS: Final = 5_000
AT_ONCE: Final = 100
LIMIT: Final = 1_000_000
MEDIAN_MS: Final = 1.0
P99_MS: Final = 5.0


class Claims:
    """The claims of calls that all are this process's."""

    def claim_of(self, call_id: CallId) -> int:  # noqa: ARG002 -- the protocol's signature
        """Return a claim."""
        return 1

    def certain(self, call_id: CallId) -> bool:  # noqa: ARG002 -- the protocol's signature
        """Return true."""
        return True

    def is_lost(self, call_id: CallId) -> bool:  # noqa: ARG002 -- the protocol's signature
        """Return false."""
        return False

    def let_go(self, call_id: CallId) -> None:
        """Never be asked to."""
        raise AssertionError(call_id)


class Asker:
    """The process whose decisions are measured."""

    def __init__(self, connection: StoreConnection, prefix: str) -> None:
        held = HeldCalls()
        self.store = SlotStore(connection, prefix, silence_seconds=3_600)
        self._member = Member(self.store, "asker", lambda: "db", dict, held, SystemClock())
        self._capacity = FleetCapacity(self.store, self._member, held, Claims())
        self._calls = 0

    async def start(self, others: int) -> None:
        """Register the others, which hold slots, and join them."""
        for number in range(others):
            _, holder = await self.store.join(f"other-{number}", "db", {"host": "a", "pid": number})
            calls = [
                HeldCall(CallId(f"rtc_{number}_{call}"), 1, TenantId(f"tenant-{(number + call) % TENANTS}"))
                for call in range(SLOTS_EACH)
            ]
            await self.store.hold(holder, calls)
        await self._member.join()
        await self._member.beat()
        self._member.start()
        self._capacity.start()

    async def stop(self) -> None:
        """Leave."""
        await self._member.stop()
        await self._capacity.stop(1.0)

    async def decide(self) -> Slot | None:
        """Have a call decided about; return None if it was refused in doubt, the machine being busy."""
        self._calls += 1
        tenant = TenantId(f"tenant-{self._calls % TENANTS}")
        slot = await self._capacity.admit(CallId(f"rtc_{self._calls}"), tenant, limit=LIMIT, total_limit=LIMIT)
        assert isinstance(slot, Slot | InDoubt), slot
        return slot if isinstance(slot, Slot) else None

    @property
    def in_doubt(self) -> int:
        """Decisions that were refused in doubt."""
        return self._capacity.in_doubt

    async def beat(self) -> None:
        """Send a heartbeat."""
        await self._member.beat()


async def measured(asker: Asker) -> list[float]:
    """Return the seconds that each of many decisions took, one after the other."""
    took = []
    for _ in range(DECISIONS):
        began = time.perf_counter()
        slot = await asker.decide()
        took.append(time.perf_counter() - began)
        if slot is not None:
            slot.release()
    return took


async def together(asker: Asker) -> float:
    """Return the decisions a second where many calls come at the same time."""
    began = time.perf_counter()
    for _ in range(DECISIONS // AT_ONCE):
        for slot in await asyncio.gather(*(asker.decide() for _ in range(AT_ONCE))):
            if slot is not None:
                slot.release()
    return DECISIONS / (time.perf_counter() - began)


async def main() -> None:
    """Measure each number of processes, and say what was found."""
    print("Decisions of a fleet's store over loopback")
    if find("redis-server") is None:
        raise SystemExit("redis-server is not on this machine: run `make peers`")
    with tempfile.TemporaryDirectory() as folder:
        server = Redis(Path(folder)).start()
        try:
            for instances in INSTANCES:
                await _of(server.url, instances)
        finally:
            server.stop()


async def _of(url: str, instances: int) -> None:
    connection = StoreConnection(StoreAddress.parse(url))
    asker = Asker(connection, f"of-{instances}")
    await asker.start(instances - 1)
    try:
        took = [seconds * 1e3 for seconds in await measured(asker)]
        beats = []
        for _ in range(100):
            began = time.perf_counter()
            await asker.beat()
            beats.append((time.perf_counter() - began) * 1e3)
        named = f"{instances:,} registered"
        verdict.at_most(f"{named}: a decision, median", median(took), MEDIAN_MS, " ms")
        verdict.at_most(f"{named}: a decision, p99", quantiles(took, n=100)[-1], P99_MS, " ms")
        verdict.figure(f"{named}: a heartbeat, median", median(beats), " ms")
        verdict.figure(f"{named}: {AT_ONCE} calls at the same time, decisions a second", await together(asker))
        verdict.figure(f"{named}: calls refused in doubt, of {2 * DECISIONS:,}", asker.in_doubt)
    finally:
        await asker.stop()
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
