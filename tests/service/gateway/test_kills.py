"""Killed again and again under load, the service loses no call, no slot and no more than a heartbeat of minutes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from service.records.record import Row
from service.simulator import leg
from service.simulator.script_writer import Shares
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import numbers_of, simulated_tenants
from service.simulator.timing import TimeScale
from service.simulator.traffic import Plan, Traffic
from tests.peers.gateway import FALLBACK, Gateway
from tests.peers.peers import Peers
from tests.peers.service import SECRET, Service
from tests.service.gateway.crashes import Bounds, Crashes, Sessions, recorded

pytestmark = pytest.mark.endurance

KILLS = 20
TWICE = 7
"""Each so many-th kill is followed by another one while the next process starts."""

SEED = 20
HEARTBEAT = 1.0
BOUNDS = Bounds(heartbeat=HEARTBEAT, skew=3.0)
LIFE = (0.1, 2.0)
"""How long a process lives between its start and its end, in seconds."""

SHARES = Shares(duplicates=0.1, unknown=0.1, late=0.0)
UNANSWERED = {"unanswered", "undelivered", "abandoned", "left"}
"""Ends of calls that the service took no care of."""


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)])
async def test_twenty_kills_under_load_lose_nothing(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of the carrier's truth has one record, minutes are right within a heartbeat a kill, no slot leaks."""
    monkeypatch.setattr(leg, "GroundTruth", Sessions)
    url = f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"
    if backend == "postgresql":
        peers: Peers = request.getfixturevalue("peers")
        url = peers.postgres().url
    tenants = simulated_tenants(3, max_concurrent_calls=1_000)
    line = CarrierOptions(
        secret=SECRET,
        numbers=numbers_of(tenants),
        time_scale=TimeScale(scale=0.5, caller_timeout=5),
        ring_seconds=60,
        linger_seconds=300,
        delivery_attempts=1_000,
        fallback_instructions=FALLBACK,
    )
    async with Simulator(line) as carrier:
        service = Service(tmp_path, carrier.base_url, _environment(url))
        await asyncio.to_thread(service.import_tenants, tenants)
        await asyncio.to_thread(service.start)
        carrier.target = service.address
        crashes = Crashes(service, Random(SEED))  # noqa: S311 -- reproducible, not secret
        try:
            async with service.client() as client:
                gateway = Gateway(carrier, service, client)
                await _kill_under_load(gateway, crashes)
                await gateway.quiet()
                await _nothing_leaked(gateway)
        finally:
            assert await asyncio.to_thread(service.stop) == 0, service.log
        rows = await recorded(url)
        _each_call_is_recorded_once(carrier.ground_truth(), rows)
        _minutes_are_right(carrier, rows, crashes)


def _environment(url: str) -> Mapping[str, str]:
    return {
        "DATABASE_URL": url,
        "CALL_HEARTBEAT_SECONDS": str(HEARTBEAT),
        "STALE_CALL_SECONDS": "300",
        "MAX_CONCURRENT_CALLS": "1000",
        "FALLBACK_INSTRUCTIONS": FALLBACK,
    }


async def _kill_under_load(gateway: Gateway, crashes: Crashes) -> None:
    rng = Random(SEED)  # noqa: S311 -- reproducible, not secret
    traffic = Traffic(gateway.carrier, Plan("kills", seed=SEED, calls_per_second=3, max_running=25, shares=SHARES))
    running = asyncio.create_task(traffic.run())
    for kill in range(1, KILLS + 1):
        await asyncio.sleep(rng.uniform(*LIFE))
        await (crashes.kill_twice() if kill % TWICE == 0 else crashes.kill())
        _invariants_hold(await gateway.get("/api/v1/metrics/live"))
    traffic.stop()
    await running


def _invariants_hold(numbers: Mapping[str, float]) -> None:
    assert numbers["started_calls"] == numbers["ended_calls"] + numbers["active_calls"]
    assert numbers["accepted_calls"] >= numbers["started_calls"]
    assert numbers["failed_calls"] <= numbers["ended_calls"]
    assert all(number >= 0 for number in numbers.values())


async def _nothing_leaked(gateway: Gateway) -> None:
    debug = await gateway.get("/api/v1/metrics/capacity/debug")
    assert (debug["consistent"], debug["inconsistencies"]) == (True, [])
    assert (debug["active_calls"], debug["accepted_calls"], debug["pending_calls"]) == ([], [], [])
    _invariants_hold(await gateway.get("/api/v1/metrics/live"))


def _each_call_is_recorded_once(ground_truth: Mapping[str, Any], rows: Mapping[str, Row]) -> None:
    calls = {call["call_id"]: call for call in ground_truth["calls"]}
    assert len(calls) == ground_truth["global"]["placed"] > KILLS
    assert set(rows) == set(calls)
    unanswered = {call_id for call_id, call in calls.items() if call["end"] in UNANSWERED}
    # A process can die between putting a rejection on record and telling the carrier of it.
    assert {rows[call_id]["outcome"] for call_id in unanswered} <= {"rejected", "unanswered"}
    assert {row["tenant_id"] for row in rows.values()} <= set(ground_truth["tenants"])
    assert {violation["what"] for violation in ground_truth["violations"]} <= {"sideband before accept"}


def _minutes_are_right(carrier: Simulator, rows: Mapping[str, Row], crashes: Crashes) -> None:
    tally = carrier._registry.ground_truth
    assert isinstance(tally, Sessions)
    wrong = []
    for report in tally._reports:
        billed = (rows[report.call_id]["duration_ms"] or 0) / 1000
        least, most = 0.0, 0.0
        if report.started:
            least, most = BOUNDS.of(report, tally.spans[report.call_id], crashes.outages)
        if not least <= billed <= most:
            wrong.append((report, billed, least, most))
    assert wrong == []
