"""The fleet over HTTP: who lives, who holds what, and what disagrees."""

import asyncio

import pytest

from service.api.fleet import disagreements
from service.fleet.connection import StoreConnection
from service.fleet.store import FleetView, Process
from service.gateway.capacity import Slot
from tests.service.fleet.harness import FleetMember, fleet_of

INFO = {"held": 2, "writes": 9, "calls": 2, "mode": "fleet", "version": "1", "pid": 7, "host": "a"}
ONE = Process("one:5", 0.5, None, 2, 9, INFO)


@pytest.mark.parametrize(
    ("process", "says"),
    [
        (Process("two:6", None, 3.0, 1, 4, {}), "is gone and 1 slots of it wait"),
        (Process("two:6", 5.0, None, 1, 4, {"held": 1}), "has not shown for 5.0 s that it lives"),
        (Process("two:6", 0.1, None, 1, 4, {"held": 1, "mode": "local"}), "decided about slots by itself"),
        (Process("two:6", 0.1, None, 1, 4, {"held": 3, "writes": 4}), "held 3 slots at its last heartbeat, and 1 are"),
        (Process("two:6", 0.1, None, 1, 4, {"held": 1, "version": "2"}), "several versions run: 1, 2"),
    ],
)
def test_what_does_not_fit_is_said(process: Process, says: str) -> None:
    """Each kind of disagreement has a sentence of its own."""
    (sentence,) = disagreements(FleetView([ONE, process], 3, 60.0))
    assert says in sentence


@pytest.mark.parametrize("told", [{"held": 3, "writes": 3}, {"held": 3, "writes": None}, {"held": 3}])
def test_a_busy_process_disagrees_with_nobody(told: dict[str, int | None]) -> None:
    """What it held at its last heartbeat is not compared with slots that have changed since, or were changing then."""
    busy = Process("two:6", 0.1, None, 1, 4, told)
    assert list(disagreements(FleetView([ONE, busy], 3, 60.0))) == []


@pytest.mark.peers
async def test_a_fleet_under_traffic_disagrees_about_nothing(connection: StoreConnection) -> None:
    """While calls come and go in three members that send heartbeats, no look finds anything that does not fit."""
    async with fleet_of(connection, "one", "two", "three") as members:
        over = asyncio.Event()

        async def calls(member: FleetMember, line: int) -> None:
            number = 0
            while not over.is_set():
                number += 1
                slot = await member.admit(f"{member.name}-{line}-{number}", total=20)
                await asyncio.sleep(0.001 * (number % 5))
                if isinstance(slot, Slot):
                    slot.release()

        traffic = [asyncio.create_task(calls(member, line)) for member in members for line in range(8)]
        compared = 0
        for look in range(150):
            await members[look % 3].member.beat()
            view = await members[0].store.look()
            compared += sum(process.info.get("writes") == process.writes for process in view.processes)
            assert list(disagreements(view)) == []
        over.set()
        await asyncio.gather(*traffic)
        assert compared, "no process was ever compared"


def test_slots_that_nobody_holds_are_said() -> None:
    """Slots in use that are under no process's name are a leak."""
    assert list(disagreements(FleetView([ONE], 5, 60.0))) == ["the processes' slots add up to 2, and 5 are in use"]
    assert list(disagreements(FleetView([ONE], 2, 60.0))) == []
