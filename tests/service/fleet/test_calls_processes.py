"""Three real processes whose calls any of them tells, while one stands still and another dies."""

import asyncio
import signal
from pathlib import Path

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


async def test_any_of_three_processes_tells_of_all_calls(
    url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No list is ever short of a call: not while one stands still, is fenced, and its calls are taken over."""
    async with fleet(3, url, store_url, tmp_path, MAX_CONCURRENT_CALLS="100") as (carrier, running):
        deliver_to(carrier, monkeypatch, *(process.service.address for process in running))
        calls = [a_call(carrier, TALK) for _ in range(PLACED)]
        placing = [asyncio.create_task(carrier.place_call(call)) for call in calls]
        ids = {call.call_id for call in calls}

        async def all_started() -> bool:
            return sum([(await process.live())["active_calls"] for process in running]) == PLACED

        await eventually(all_started, "every call to run")

        async def told_by_all() -> bool:
            answers = [await listed(process) for process in running]
            assert all(found == ids for found, _ in answers)
            return all(headers["X-Calls-Processes"] == "3/3" for _, headers in answers)

        await eventually(told_by_all, "three processes to answer each of them")
        for process in running:
            details = [await process.get(f"{CALLS}/{call_id}?scope=fleet") for call_id in sorted(ids)]
            assert [detail["from_record"] for detail in details] == [False] * PLACED

        stopped, *others = running
        stopped.signal(signal.SIGSTOP)
        missed = False
        try:

            async def taken_over() -> bool:
                nonlocal missed
                for process in others:
                    found, headers = await listed(process)
                    assert found == ids, headers
                    missed = missed or "X-Calls-Silent" in headers
                live = [await process.live() for process in others]
                return sum(each["active_calls"] for each in live) == PLACED

            await eventually(taken_over, "the calls to be taken over")
            assert missed
        finally:
            stopped.signal(signal.SIGCONT)
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
        assert carrier.ground_truth()["violations"] == []
