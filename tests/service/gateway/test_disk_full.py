"""A disk without room, below database and spill alike: calls go on, and the state says what is wrong."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.simulator.script_writer import Shares
from service.simulator.traffic import Plan, Traffic
from tests.peers.gateway import Gateway, eventually, gateway
from tests.service.gateway.crashes import recorded
from tests.support.disks import fill

pytestmark = pytest.mark.endurance

CALLS = 15
PLAN = Plan("full", seed=5, calls_per_second=5, max_running=40, shares=Shares(unknown=0.0, late=0.0))


async def test_calls_go_on_with_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """Neither database nor spill take a byte: calls come and go as ever, it is told and counted; all arrives later."""
    url = f"sqlite+aiosqlite:///{small_disk / 'callscope.db'}"
    environment = {"DATABASE_URL": url, "SPILL_FOLDER": str(small_disk / "spill"), "CALL_HEARTBEAT_SECONDS": "1"}
    async with gateway(tmp_path / "service", environment, scale=0.05) as pair:
        traffic = Traffic(pair.carrier, PLAN)
        running = asyncio.create_task(traffic.run())
        await _taken(pair, CALLS)
        ballast = small_disk / "ballast"
        await asyncio.to_thread(fill, ballast)
        full = await eventually(lambda: _refusing(pair), "the state to say so")
        await _taken(pair, CALLS)
        assert full["last_error"] is not None
        live = await pair.get("/api/v1/metrics/live")
        assert live["started_calls"] == live["ended_calls"] + live["active_calls"]
        ballast.unlink()
        await _taken(pair, CALLS)
        traffic.stop()
        await running
        await pair.quiet()
        ground_truth, _, differences = await pair.answers()
        assert [difference for difference in differences if difference.field != "instructions_db_errors"] == []
        health = await eventually(lambda: _writing(pair), "the records to be written")
        assert health["refused"] == 0
        assert health["unkept"] > 0
        rows = await recorded(url)
    assert set(rows) == {call["call_id"] for call in ground_truth["calls"]}


async def _taken(pair: Gateway, calls: int) -> None:
    """Wait until so many more calls were accepted."""
    wanted = pair.carrier.counts()["global"]["accepted_calls"] + calls

    async def reached() -> bool:
        return bool(pair.carrier.counts()["global"]["accepted_calls"] >= wanted)

    await eventually(reached, "more calls to be accepted")


async def _records(pair: Gateway) -> dict[str, Any]:
    answer = (await pair.client.get("/readyz")).json()
    records: dict[str, Any] = answer["information"]["records"]
    return records


async def _refusing(pair: Gateway) -> dict[str, Any] | None:
    records = await _records(pair)
    return records if records["state"] == "refusing" else None


async def _writing(pair: Gateway) -> dict[str, Any] | None:
    records = await _records(pair)
    return records if records["state"] == "writing" and not records["waiting"] else None
