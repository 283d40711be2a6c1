"""Processes of one database under signals: the calls of one that stops, stands still or dies are another's, once."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from service.records.store import CALLS
from service.simulator.faults import Operation
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import numbers_of, simulated_tenants
from service.simulator.timing import TimeScale
from service.storage.database import Database
from tests.peers.gateway import FALLBACK, eventually
from tests.peers.peers import Peers
from tests.peers.service import SECRET, Service
from tests.service.gateway.crashes import recorded
from tests.service.gateway.harness import a_call
from tests.service.gateway.test_one_owner import deliver_to
from tests.support.databases import BACKENDS

pytestmark = pytest.mark.endurance

SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")), Pause(5.0)), CallerHangsUp())
STALE_SECONDS = 4
TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())


class Process:
    """One service process and a client of it."""

    def __init__(self, service: Service, client: httpx2.AsyncClient) -> None:
        self.service, self.client = service, client

    async def get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.client.get(path)).raise_for_status().json()
        return answer

    async def live(self) -> dict[str, float]:
        """Return what this process counts alone."""
        return await self.get("/api/v1/metrics/live?scope=process")

    async def idle(self) -> bool:
        return not (await self.get("/api/v1/metrics/capacity/debug?scope=process"))["global"]["in_use"]

    def signal(self, number: signal.Signals) -> None:
        self.service._program._signal_family(number)


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"
    peers: Peers = request.getfixturevalue("peers")
    return peers.postgres().url


@asynccontextmanager
async def processes(
    count: int, url: str, folder: Path, **chosen: str
) -> AsyncIterator[tuple[Simulator, list[Process]]]:
    """So many services on one database, and a carrier that calls the first; ``chosen`` are settings."""
    tenants = simulated_tenants(2, max_concurrent_calls=1_000)
    line = CarrierOptions(
        secret=SECRET,
        numbers=numbers_of(tenants),
        time_scale=TimeScale(scale=0.05),
        ring_seconds=120,
        linger_seconds=300,
        delivery_attempts=1_000,
        fallback_instructions=FALLBACK,
    )
    environment = {
        "DATABASE_URL": url,
        "SPILL_FOLDER": str(folder / "spill"),
        "CALL_HEARTBEAT_SECONDS": "1",
        **{name.upper(): value for name, value in chosen.items()},
    }
    async with Simulator(line) as carrier, AsyncExitStack() as opened:
        running: list[Process] = []
        for number in range(count):
            own = folder / f"process-{number}"
            own.mkdir()
            service = Service(own, carrier.base_url, environment)
            if not running:
                await asyncio.to_thread(service.import_tenants, tenants)
            await asyncio.to_thread(service.start)
            opened.push_async_callback(asyncio.to_thread, service.stop)
            running.append(Process(service, await opened.enter_async_context(service.client())))
        carrier.target = running[0].service.address
        yield carrier, running


def asked(carrier: Simulator, call_id: str) -> dict[Operation, int]:
    return dict(carrier._registry.find(call_id).requests)


async def started(process: Process) -> bool:
    return (await process.live())["active_calls"] == 1


async def settled(process: Process) -> bool:
    """Return true if no record waits: one stopped in the middle of writing keeps SQLite's lock, and all others out."""
    return not (await process.get("/readyz"))["information"]["records"]["waiting"]


def on(check: Callable[[Process], Awaitable[bool]], process: Process) -> Callable[[], Awaitable[bool]]:
    return lambda: check(process)


async def test_three_processes_share_calls_out(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of thirty calls, announced to all three at once, is counted, accepted and recorded by one of them."""
    async with processes(3, url, tmp_path) as (carrier, running):
        deliver_to(carrier, monkeypatch, *(process.service.address for process in running))
        await asyncio.gather(*(carrier.place_call(a_call(carrier, SHORT)) for _ in range(30)))
        for process in running:
            await eventually(process.idle, "no call to be open")
        live = [await process.live() for process in running]
        for field in ("accepted_calls", "started_calls", "ended_calls"):
            assert sum(each[field] for each in live) == 30, field
        assert carrier.ground_truth()["violations"] == []
        summaries = [await process.get("/api/v1/metrics/capacity/debug") for process in running]
        assert [each["inconsistencies"] for each in summaries] == [[], [], []]
    assert len(await recorded(url)) == 30


async def test_a_call_of_a_process_that_stood_still(url: str, tmp_path: Path) -> None:
    """Once another has taken the call over, the process that wakes lets go: no hang-up, no end counted, one record."""
    async with processes(2, url, tmp_path) as (carrier, (stopped, other)):
        call = a_call(carrier, TALK)
        placing = asyncio.create_task(carrier.place_call(call))
        await eventually(on(started, stopped), "the call to run")
        owner = await _owner(url)

        async def taken_over() -> bool:
            return await _owner(url) != owner

        await eventually(on(settled, stopped), "nothing to be written")
        stopped.signal(signal.SIGSTOP)
        try:
            await eventually(taken_over, "the other to take the call over")
        finally:
            stopped.signal(signal.SIGCONT)
        await eventually(stopped.idle, "the first to let go")
        await eventually(on(started, other), "the other to go on")
        live = await stopped.live()
        assert (live["active_calls"], live["ended_calls"], live["started_calls"]) == (0, 0, 1)
        assert asked(carrier, call.call_id)[Operation.HANGUP] == 0
        carrier.hang_up_all()
        assert (await placing).end == "stopped"
        await eventually(other.idle, "no call to be open")
        assert (await other.live())["ended_calls"] == 1
        debug = [await process.get("/api/v1/metrics/capacity/debug") for process in (stopped, other)]
        assert [each["inconsistencies"] for each in debug] == [[], []]
    (row,) = (await recorded(url)).values()
    assert (row["call_id"], row["state"]) == (call.call_id, "ended")


async def test_no_call_is_blamed_for_a_pause_of_its_process(url: str, tmp_path: Path) -> None:
    """Stopped for three times as long as a call may be silent, then continued: nobody is hung up on."""
    async with processes(1, url, tmp_path, stale_call_seconds=str(STALE_SECONDS)) as (carrier, (process,)):
        silent = a_call(carrier, TALK)
        placing = asyncio.create_task(carrier.place_call(silent))
        await eventually(on(started, process), "the call to run")
        process.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(3 * STALE_SECONDS)
        finally:
            process.signal(signal.SIGCONT)
        billed = (await process.live())["minutes_processed"]

        async def swept() -> bool:
            # Each heartbeat bills up to the last answer to a probe, the pause first, and then sweeps.
            return (await process.live())["minutes_processed"] > billed + 5 * STALE_SECONDS / 60

        await eventually(swept, "the sweeper to have looked many times")
        live = await process.live()
        assert (live["active_calls"], live["ended_calls"], live["failed_calls"]) == (1, 0, 0)
        assert asked(carrier, silent.call_id)[Operation.HANGUP] == 0
        assert "stood still" in process.service.log
        carrier.hang_up_all()
        assert (await placing).end == "stopped"
        await eventually(process.idle, "no call to be open")
    (row,) = (await recorded(url)).values()
    assert (row["state"], row["reason"]) == ("ended", "hangup")


async def _owner(url: str) -> str:
    """Return the process that holds the one call on record."""
    async with Database.from_url(url) as database, database.reading() as session:
        return str(await session.scalar(select(CALLS.c.instance_id)))


async def test_a_killed_process_is_followed_without_a_second_accept(url: str, tmp_path: Path) -> None:
    """Delivered again to the one that is left, a running call is a duplicate; it is attached to and ends there."""
    async with processes(2, url, tmp_path) as (carrier, (killed, other)):
        call = a_call(carrier, TALK)
        placing = asyncio.create_task(carrier.place_call(call))
        await eventually(on(started, killed), "the call to run")
        await asyncio.to_thread(killed.service.kill)
        await eventually(on(started, other), "the other to go on")
        before = asked(carrier, call.call_id)
        statuses = await carrier._sender.deliver(lambda: other.service.address, "wh_again", call.webhook_body(0))
        assert statuses[-1] == 200
        assert asked(carrier, call.call_id) == before
        carrier.hang_up_all()
        assert (await placing).end == "stopped"
        await eventually(other.idle, "no call to be open")
        assert carrier.ground_truth()["violations"] == []
    assert len(await recorded(url)) == 1
