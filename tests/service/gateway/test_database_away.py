"""The database away under load: calls go on, and their records arrive afterwards, each once."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from service.simulator.script_writer import Shares
from service.simulator.traffic import Plan, Traffic
from tests.peers.gateway import SECONDS_A_CALL, Gateway, eventually, gateway
from tests.peers.peers import Peers
from tests.peers.postgres import Postgres
from tests.service.gateway.crashes import recorded

pytestmark = pytest.mark.endurance

HEARTBEAT = 1.0
CALLS = 20
"""So many calls come in before the database goes, so many while it is away, and so many afterwards."""

PLAN = Plan("away", seed=30, calls_per_second=5, max_running=60, shares=Shares(unknown=0.0, late=0.0))

UNSEEN = ("instructions_db_errors", "fallback_instructions_used")
"""What the carrier cannot see: the service's own errors, and instructions that did not come as far as an accept."""

Away = Callable[[Postgres], AbstractContextManager[None]]


@pytest.mark.parametrize(
    "away", [Postgres.frozen, Postgres.halted], ids=["it answers nothing", "it refuses connections"]
)
async def test_calls_go_on_without_a_database(away: Away, peers: Peers, tmp_path: Path) -> None:
    """Calls of known tenants are taken and end as ever; the state says what is wrong, and nothing is missing later."""
    server = peers.postgres()
    environment = {"DATABASE_URL": server.url, "CALL_HEARTBEAT_SECONDS": str(HEARTBEAT)}
    async with gateway(tmp_path / "service", environment, scale=0.05) as pair:
        await _go_through(pair, server, away)
        await pair.quiet()
        ground_truth, said, differences = await pair.answers()
        assert [difference for difference in differences if difference.field not in UNSEEN] == []
        assert said["global"]["accepted_calls"] >= 3 * CALLS
        await eventually(lambda: _state_is(pair, "writing"), "the records to be written")
        health = await _records(pair)
        assert (health["refused"], health["spilled_bytes"]) == (0, 0)
        rows = await recorded(server.url)
    calls = {call["call_id"]: call for call in ground_truth["calls"]}
    assert set(rows) == set(calls)
    for call_id, call in calls.items():
        billed = (rows[call_id]["duration_ms"] or 0) / 1000
        assert billed == pytest.approx(call["seconds"], abs=SECONDS_A_CALL), call


async def _go_through(pair: Gateway, server: Postgres, away: Away) -> None:
    traffic = Traffic(pair.carrier, PLAN)
    running = asyncio.create_task(traffic.run())
    await eventually(lambda: _taken(pair, CALLS), "calls before")
    outage = away(server)
    await asyncio.to_thread(outage.__enter__)
    try:
        before = pair.carrier.counts()["global"]["accepted_calls"]
        await eventually(lambda: _taken(pair, before + CALLS), "calls without a database")
        await eventually(lambda: _state_is(pair, "spilling"), "the state to say so")
        await eventually(lambda: _is_degraded(pair), "readiness to say so, and to stay")
    finally:
        await asyncio.to_thread(outage.__exit__, None, None, None)
    before = pair.carrier.counts()["global"]["accepted_calls"]
    await eventually(lambda: _taken(pair, before + CALLS), "calls afterwards")
    traffic.stop()
    await running


async def _taken(pair: Gateway, calls: float) -> bool:
    return bool(pair.carrier.counts()["global"]["accepted_calls"] >= calls)


async def _records(pair: Gateway) -> dict[str, Any]:
    """What the public readiness says of records, whether or not the process is ready."""
    information: dict[str, Any] = (await pair.client.get("/readyz")).json()["information"]
    records: dict[str, Any] = information["records"]
    return records


async def _is_degraded(pair: Gateway) -> bool:
    """Ready all the same, for calls are taken; the database is named as what is wrong."""
    answer = await pair.client.get("/readyz")
    assert answer.status_code == HTTPStatus.OK, answer.text
    told = answer.json()
    return told["status"] == "degraded" and not told["checks"]["database"]["ok"]


async def _state_is(pair: Gateway, state: str) -> bool:
    return bool((await _records(pair))["state"] == state)
