"""Three full services under load on one Redis: killed again and again, and without their Redis for a while."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from service.records.record import Row
from service.simulator.record import End
from service.simulator.script_writer import Shares
from service.simulator.simulator import Simulator
from service.simulator.traffic import Plan, Traffic
from tests.peers.gateway import eventually
from tests.peers.peers import Peers
from tests.service.fleet.carrier import WatchedAtCarrier
from tests.service.fleet.minutes import wrong_minutes
from tests.service.fleet.test_processes import LIMIT, FleetProcess, fleet
from tests.service.gateway.crashes import recorded
from tests.service.gateway.harness import a_call
from tests.service.gateway.test_owner_processes import TALK

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

SEED = 7
KILLS = 20
HEARTBEAT = 1.0
NOTE_SECONDS = 3.0
"""Seconds that a note about a call may take until it is on record, on a busy machine."""
SHARES = Shares(duplicates=0.1, unknown=0.0, late=0.0)
UNANSWERED = {"unanswered", "undelivered", "abandoned", "left"}
"""Ends of calls that the service took no care of."""


class Fleet:
    """The services, of which some are being started again."""

    def __init__(self, processes: list[FleetProcess], random: Random) -> None:
        self.processes = processes
        self.serving = list(processes)
        self._random = random
        self._starting: list[asyncio.Task[None]] = []

    def address(self) -> str:
        """Return where one of those serves that do."""
        return self._random.choice(self.serving).service.address

    async def kill_one(self) -> None:
        """End one as a crash does, and have it started again meanwhile; one at least always serves."""
        while len(self.serving) < 2:  # noqa: ASYNC110 -- a start tells nobody
            await asyncio.sleep(0.1)
        victim = self._random.choice(self.serving)
        self.serving.remove(victim)
        await asyncio.to_thread(victim.service.kill)
        self._starting.append(asyncio.create_task(self._start(victim)))

    async def _start(self, process: FleetProcess) -> None:
        await asyncio.to_thread(process.service.start)
        self.serving.append(process)

    async def whole(self) -> None:
        """Wait until all serve."""
        await asyncio.gather(*self._starting)

    async def empty(self) -> bool:
        """Return true once no process has a call and the store no slot, and nothing disagrees."""
        idle = [await process.idle() for process in self.processes]
        state = await self.processes[0].get("/api/v1/fleet")
        return all(idle) and not state["in_use"] and not state["disagreements"]


def most_at_once(carrier: Simulator) -> int:
    """Return the most accepted calls that ran at the same time at the carrier."""
    return int(carrier.counts()["global"]["most_at_once"])


def deliver_to_any(carrier: Simulator, monkeypatch: pytest.MonkeyPatch, address: Callable[[], str]) -> None:
    """Have each attempt to announce a call go to whichever process ``address`` returns then."""
    deliver = carrier._sender.deliver

    async def to_any(_target: Callable[[], str], webhook_id: str, body: bytes) -> list[int]:
        return await deliver(address, webhook_id, body)

    monkeypatch.setattr(carrier._sender, "deliver", to_any)


async def test_twenty_kills_of_a_fleet_under_load(
    postgres_url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call is had once, its minutes are right within a heartbeat, the limit holds, and no slot is left over."""
    at_carrier = WatchedAtCarrier(monkeypatch)
    random = Random(SEED)  # noqa: S311 -- a test is to be the same each time
    waits = 30.0
    async with fleet(3, postgres_url, store_url, tmp_path, patience_seconds=waits, capacity_on_outage="closed") as (
        carrier,
        running,
    ):
        services = Fleet(running, random)
        deliver_to_any(carrier, monkeypatch, services.address)
        traffic = Traffic(carrier, Plan("kills", seed=SEED, calls_per_second=6, max_running=25, shares=SHARES))
        calls = asyncio.create_task(traffic.run())
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.1, 1.5))
            await services.kill_one()
        await services.whole()
        traffic.stop()
        await calls
        await eventually(services.empty, "no call and no slot to be left")
        assert most_at_once(carrier) <= LIMIT
        rows = await recorded(postgres_url)
        each_call_is_recorded_once(carrier.ground_truth(), rows)
        offset = time.time() - time.monotonic()
        assert wrong_minutes(at_carrier.calls, rows, offset, heartbeat=HEARTBEAT, note=NOTE_SECONDS) == []


def each_call_is_recorded_once(ground_truth: Mapping[str, Any], rows: Mapping[str, Row]) -> None:
    assert set(rows) == {call["call_id"] for call in ground_truth["calls"]}
    assert len(rows) > KILLS
    assert sum(call["started"] for call in ground_truth["calls"]) > KILLS
    unanswered = {call["call_id"] for call in ground_truth["calls"] if call["end"] in UNANSWERED}
    # A process can die between putting a rejection on record and telling the carrier of it.
    assert {rows[call_id]["outcome"] for call_id in unanswered} <= {"rejected", "unanswered"}
    # A process that a busy machine keeps waiting for longer than three heartbeats is taken for dead, and lives.
    assert {violation["what"] for violation in ground_truth["violations"]} <= {
        "sideband before accept",
        "second sideband",
    }


async def test_a_fleet_whose_redis_is_killed(
    sqlite_url: str, peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls run on without it; once it is back, empty, every slot of a running call is there, and no other one."""
    store = peers.redis()
    async with fleet(3, sqlite_url, store.url, tmp_path, capacity_on_outage="closed") as (carrier, running):
        addresses = [process.service.address for process in running]
        deliver_to_any(carrier, monkeypatch, iter_over(addresses))
        placing = [asyncio.create_task(carrier.place_call(a_call(carrier, TALK))) for _ in range(LIMIT + 3)]

        async def in_use(wanted: int) -> bool:
            live = sum([(await process.live())["active_calls"] for process in running])
            state = await running[0].get("/api/v1/fleet")
            return live == wanted == state["in_use"] and not state["disagreements"]

        await eventually(partial(in_use, LIMIT), "as many calls to run as may")
        await asyncio.to_thread(store.kill)

        async def decide_locally() -> bool:
            return all(
                [(await process.get("/readyz"))["information"]["fleet"]["mode"] == "local" for process in running]
            )

        await eventually(decide_locally, "every process to miss its store")
        refused = await carrier.place_call(a_call(carrier, TALK))
        assert refused.end == "rejected"
        await asyncio.sleep(8)  # longer than it takes to be fenced
        ended = sorted(carrier._registry.ground_truth.accepted)[:2]
        for call_id in ended:
            carrier._registry.find(call_id).caller_leaves(End.STOPPED)
        await asyncio.to_thread(store.start)
        await eventually(partial(in_use, LIMIT - len(ended)), "store, processes and carrier to be at one")
        assert most_at_once(carrier) == LIMIT
        carrier.hang_up_all()
        await asyncio.gather(*placing)
        await eventually(partial(in_use, 0), "no slot to be left")


def iter_over(addresses: list[str]) -> Callable[[], str]:
    """Return these one after the other, again and again."""
    turn = iter(range(1 << 30))
    return lambda: addresses[next(turn) % len(addresses)]
