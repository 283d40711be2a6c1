"""Three real processes whose calls any of them tells, while one stands still and another dies."""

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from tests.peers.gateway import eventually
from tests.service.fleet.test_processes import FleetProcess, fleet
from tests.service.gateway.harness import a_call
from tests.service.gateway.test_one_owner import deliver_to
from tests.service.gateway.test_owner_processes import url

__all__ = ["url"]

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

CALLS = "/api/v1/calls"
PLACED = 9
TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())


async def listed(process: FleetProcess) -> tuple[set[str], httpx2.Headers]:
    """The calls that a process lists, and what it says of the others."""
    answer = (await process.client.get(CALLS)).raise_for_status()
    body = answer.json()
    return {*(call["call_id"] for call in body["calls"]), *body["pending_call_ids"]}, answer.headers


async def recorded_calls(process: FleetProcess, ids: set[str]) -> list[dict[str, Any]]:
    """The records of these calls."""
    rows = (await process.get("/api/v1/call-records?limit=500"))["calls"]
    return [row for row in rows if row["call_id"] in ids]


async def runs(process: FleetProcess, call_id: str) -> list[bool]:
    """Whether the call runs, in a list; an empty one until that is decided."""
    answer = await process.client.get(f"{CALLS}/{call_id}")
    state = answer.json().get("state")
    return [state == "started"] if state in ("started", "rejected") else []


async def test_any_of_three_processes_tells_of_all_calls(
    url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No list is ever short of a call: not while one stands still, is fenced, and its calls are taken over."""
    async with fleet(3, url, store_url, tmp_path, MAX_CONCURRENT_CALLS="100") as (carrier, running):
        deliver_to(carrier, monkeypatch, *(process.service.address for process in running))
        ids, placing = set[str](), []
        while len(ids) < PLACED:
            # A process that is slow to decide, as one that has just started may be, turns calls away.
            call = a_call(carrier, TALK)
            placing.append(asyncio.create_task(carrier.place_call(call)))
            (started,) = await eventually(partial(runs, running[0], call.call_id), "a decision")
            ids |= {call.call_id} if started else set()

        async def told_by_all() -> bool:
            answers = [await listed(process) for process in running]
            assert all(found == ids for found, _ in answers)
            return all(headers["X-Calls-Processes"] == "3/3" for _, headers in answers)

        await eventually(told_by_all, "three processes to answer each of them")
        counts = {process: (await process.live())["active_calls"] for process in running}
        for process in running:
            details = [await process.get(f"{CALLS}/{call_id}?scope=fleet") for call_id in sorted(ids)]
            assert [detail["from_record"] for detail in details] == [False] * PLACED

        stopped, *others = sorted(running, key=counts.__getitem__, reverse=True)
        stopped_id = (await stopped.get(f"{CALLS}?scope=process"))["calls"][0]["call_id"]
        (holder,) = {row["instance_id"] for row in await recorded_calls(stopped, {stopped_id})}
        stopped.signal(signal.SIGSTOP)
        missed = False

        async def whole() -> None:
            nonlocal missed
            for process in others:
                found, headers = await listed(process)
                assert found == ids, headers
                missed = missed or holder in headers.get("X-Calls-Silent", "")

        async def claimed() -> bool:
            await whole()
            return holder not in {row["instance_id"] for row in await recorded_calls(others[0], ids)}

        async def run_elsewhere() -> bool:
            await whole()
            return sum([(await process.live())["active_calls"] for process in others]) == PLACED

        try:
            await eventually(claimed, "the calls to be taken over on record")
        finally:
            # The carrier lets nobody else attach while the connection of the one that stands still is open.
            stopped.signal(signal.SIGCONT)
        assert missed
        await eventually(run_elsewhere, "the others to go on with them")
        await eventually(stopped.idle, "the one that stood still to let go")
        await eventually(told_by_all, "three processes to answer again")
        call_id = min(ids)
        hung_up = await stopped.client.post(f"{CALLS}/{call_id}/hang-up")
        assert hung_up.status_code == 204, hung_up.text

        async def over() -> bool:
            told = [await process.get(f"{CALLS}/{call_id}") for process in running]
            return [each["outcome"] for each in told] == ["operator"] * 3

        await eventually(over, "all to tell that an operator hung up")
        carrier.hang_up_all()
        await asyncio.gather(*placing)
        # Those that took over tried to attach while the one that stood still had not let go.
        assert {violation["what"] for violation in carrier.ground_truth()["violations"]} <= {"second sideband"}
