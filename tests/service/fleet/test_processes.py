"""Three real processes, one Redis, one database: the limit held as the carrier sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import numbers_of, simulated_tenants
from service.simulator.timing import TimeScale
from tests.peers.gateway import FALLBACK, eventually
from tests.peers.service import SECRET, Service
from tests.service.gateway.crashes import recorded
from tests.service.gateway.harness import a_call
from tests.service.gateway.test_one_owner import deliver_to
from tests.service.gateway.test_owner_processes import Process, url

__all__ = ["url"]

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

LIMIT = 6
SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")), Pause(10.0)), CallerHangsUp())


class FleetProcess(Process):
    """One process of a fleet."""

    async def slots(self) -> int:
        """Return the slots in use in the whole fleet."""
        return int((await self.get("/api/v1/fleet"))["in_use"])


@asynccontextmanager
async def fleet(
    count: int, database: str, store: str, folder: Path, *, patience_seconds: float = 600, **settings: str
) -> AsyncIterator[tuple[Simulator, list[FleetProcess]]]:
    """So many services that share a store and a database, and a carrier that calls the first.

    Callers ring, and wait for a service that has left, for ``patience_seconds``.
    """
    tenants = simulated_tenants(2, max_concurrent_calls=1_000)
    line = CarrierOptions(
        secret=SECRET,
        numbers=numbers_of(tenants),
        time_scale=TimeScale(scale=0.05),
        ring_seconds=patience_seconds,
        linger_seconds=patience_seconds,
        delivery_attempts=1_000,
        fallback_instructions=FALLBACK,
    )
    environment = {
        "DATABASE_URL": database,
        "REDIS_URL": store,
        "SPILL_FOLDER": str(folder / "spill"),
        "CALL_HEARTBEAT_SECONDS": "1",
        "MAX_CONCURRENT_CALLS": str(LIMIT),
        **{name.upper(): value for name, value in settings.items()},
    }
    async with Simulator(line) as carrier, AsyncExitStack() as opened:
        running: list[FleetProcess] = []
        for number in range(count):
            own = folder / f"process-{number}"
            own.mkdir()
            service = Service(own, carrier.base_url, environment)
            if not running:
                await asyncio.to_thread(service.import_tenants, tenants)
            await asyncio.to_thread(service.start)
            opened.push_async_callback(asyncio.to_thread, service.stop)
            running.append(FleetProcess(service, await opened.enter_async_context(service.client())))
        carrier.target = running[0].service.address
        yield carrier, running


async def test_one_limit_over_three_processes(
    url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ninety calls, each announced to all three at once: never more than the limit run, and no slot is left over."""
    async with fleet(3, url, store_url, tmp_path) as (carrier, running):
        deliver_to(carrier, monkeypatch, *(process.service.address for process in running))
        await asyncio.gather(*(carrier.place_call(a_call(carrier, SHORT)) for _ in range(90)))

        async def empty() -> bool:
            return not await running[0].slots()

        await eventually(empty, "no slot to be held")
        assert carrier.counts()["global"]["most_at_once"] == LIMIT
        live = [await process.live() for process in running]
        decided = sum(each["accepted_calls"] + each["rejected_calls_capacity"] for each in live)
        assert decided == 90
        assert sum(each["accepted_calls"] for each in live) >= LIMIT
        assert carrier.ground_truth()["violations"] == []
    assert len(await recorded(url)) == 90
