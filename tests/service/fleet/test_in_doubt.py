"""Decisions in doubt: the store did not answer in time, and may be deciding for all others."""

import asyncio
import time
from collections import Counter

import pytest

from service.fleet.asking import _SLICES
from service.fleet.connection import StoreConnection
from service.fleet.member import CapacityMode
from service.fleet.scripts import ACQUIRE, BEAT
from service.fleet.sharing import OnOutage
from service.gateway.capacity import InDoubt, Slot
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CapacityScope
from tests.service.fleet.harness import FleetMember, fleet_of, until

pytestmark = pytest.mark.peers

DEADLINE = 0.05


def slow(member: FleetMember) -> None:
    """Have a member's questions about calls hang, and nothing else."""
    member.faulty.hanging.add(ACQUIRE)
    member.capacity.asking.decision_seconds = DEADLINE


def quick(member: FleetMember) -> None:
    """Have all that hangs come through."""
    member.faulty.hanging.clear()
    member.faulty.go_on.set()


@pytest.mark.parametrize("on_outage", [OnOutage.SHARE, OnOutage.CLOSED])
async def test_a_late_answer_lets_nobody_in(connection: StoreConnection, on_outage: OnOutage) -> None:
    """A call is refused once its time is up, though places are free; what the late answer took is given back."""
    async with fleet_of(connection, "one", "two", on_outage=on_outage) as (one, two):
        slow(one)
        assert await one.admit("a") == InDoubt()
        assert (one.capacity.in_doubt, one.capacity.decided_locally) == (1, 0)
        assert one.member.mode is CapacityMode.FLEET
        assert len(await two.let_in("b")) == 1
        quick(one)
        await until(lambda: not one.capacity.asking.late)
        await one.released()
        assert await one.in_store() == {"b": "two"}
        assert isinstance(await one.admit("c"), Slot)


async def test_waiting_for_the_process_itself_is_no_waiting_for_the_store(connection: StoreConnection) -> None:
    """A member that stood still for longer than a call may wait gives the store its whole time all the same."""
    async with fleet_of(connection, "one") as (one,):
        slow(one)
        asked = asyncio.create_task(one.admit("a"))
        await asyncio.sleep(0)
        time.sleep(2 * DEADLINE)  # noqa: ASYNC251 -- the event loop is to stand still
        assert await asked == InDoubt()
        assert one.capacity.asking._patience.waited == _SLICES
        assert await one.admit("b") == InDoubt()
        assert one.capacity.asking._patience.waited == 2 * _SLICES
        quick(one)
        await until(lambda: not one.capacity.asking.late)


async def test_a_late_answer_asks_the_heartbeat_at_once(connection: StoreConnection) -> None:
    """The next heartbeat is not waited for; as it is answered, the store is asked about the next call too."""
    async with fleet_of(connection, "one") as (one,):
        beats = Counter(one.faulty.asked)[BEAT]
        slow(one)
        assert await one.admit("a") == InDoubt()
        await until(lambda: Counter(one.faulty.asked)[BEAT] > beats)
        asked = Counter(one.faulty.asked)[ACQUIRE]
        assert await one.admit("b") == InDoubt()
        assert Counter(one.faulty.asked)[ACQUIRE] == asked + 1
        quick(one)
        await until(lambda: not one.capacity.asking.late)


async def test_never_over_among_slow_members(connection: StoreConnection) -> None:
    """Three hundred calls come to three members of which two get answers too late: never more than ten are in."""
    async with fleet_of(connection, "one", "two", "three") as members:
        slow(members[0])
        slow(members[1])
        asked = [member.admit(f"{member.name}-{n}", limit=10) for n in range(100) for member in members]
        answers = await asyncio.gather(*asked)
        assert sum(isinstance(answer, Slot) for answer in answers) <= 10
        assert {type(answer) for answer in answers} <= {Slot, InDoubt, LimitHit}
        for member in members[:2]:
            assert member.capacity.in_doubt == 100
            quick(member)
        for member in members:
            await until(lambda member=member: not member.capacity.asking.late)  # type: ignore[misc]
            await member.released()
        in_store = await members[0].in_store()
        assert set(in_store.values()) <= {"three"}
        assert len(in_store) == len(members[2].held)


async def test_only_a_failed_heartbeat_makes_the_share_apply(connection: StoreConnection) -> None:
    """Of four free places the first of two members may fill two once the store is away, and none before."""
    async with fleet_of(connection, "one", "two") as (one, _):
        slow(one)
        one.faulty.hanging.add(BEAT)
        assert await one.admit("a", total=4) == InDoubt()
        assert one.member.mode is CapacityMode.FLEET
        quick(one)
        await one.loses_the_store()
        answers = [await one.admit(f"b{n}", total=4) for n in range(4)]
        assert [isinstance(answer, Slot) for answer in answers] == [True, True, False, False]
        assert answers[-1] == LimitHit(CapacityScope.GLOBAL, 2, 2)


async def test_a_connection_that_breaks_is_followed_by_another_try(connection: StoreConnection) -> None:
    """The reply about a call is lost, the heartbeat is answered: asked again, the store says that it has its slot."""
    async with fleet_of(connection, "one", "two") as (one, _):
        one.faulty.losing.append(ACQUIRE)
        assert isinstance(await one.admit("a", total=1), Slot)
        assert await one.admit("b", total=1) == LimitHit(CapacityScope.GLOBAL, 1, 1)
        assert (one.capacity.in_doubt, one.capacity.decided_locally) == (0, 0)
        assert await one.in_store() == {"a": "one"}


async def test_open_lets_in_what_is_in_doubt(connection: StoreConnection) -> None:
    """With ``open`` a call in doubt is let in, and the store hears of its slot, whatever the late answer says."""
    async with fleet_of(connection, "one", "two", on_outage=OnOutage.OPEN) as (one, two):
        await two.let_in("a")
        slow(one)
        slot = await one.admit("b", total=1)
        assert isinstance(slot, Slot)
        quick(one)
        await until(lambda: not one.capacity.asking.late)
        await one.member.beat()
        assert await one.in_store() == {"a": "two", "b": "one"}
        slot.release()
        await one.released()
        assert await one.in_store() == {"a": "two"}


async def test_a_running_call_keeps_its_slot_in_doubt(connection: StoreConnection) -> None:
    """Asked about again, a call that holds a slot keeps it, whether the store is slow or away."""
    async with fleet_of(connection, "one", on_outage=OnOutage.CLOSED) as (one,):
        await one.let_in("a")
        slow(one)
        assert isinstance(await one.admit("a"), Slot)
        quick(one)
        await until(lambda: not one.capacity.asking.late)
        await one.loses_the_store()
        assert isinstance(await one.admit("a"), Slot)
        assert [call.call_id for call in one.held] == ["a"]


async def test_numbers_older_than_two_heartbeats_share_nothing(connection: StoreConnection) -> None:
    """A member that stood still, and then finds the store away, lets nothing in by what it saw before."""
    async with fleet_of(connection, "one", "two") as (one, _):
        one.member._beat_seconds = 2.0
        one.member._seen_at -= 5.5
        await one.loses_the_store()
        assert await one.admit("a", total=4) == LimitHit(CapacityScope.GLOBAL, 0, 0)
        one.faulty.away = False
        await until(lambda: not one.member.away)
        assert isinstance(await one.admit("a", total=4), Slot)


async def test_places_given_back_are_shared(connection: StoreConnection) -> None:
    """Of what a member held and gave back it may refill its part alone, once the store is away."""
    async with fleet_of(connection, "one", "two") as (one, _):
        for slot in await one.let_in("a", "b", "c", "d"):
            slot.release()
        await one.released()
        await one.loses_the_store()
        answers = [await one.admit(f"e{n}", total=4) for n in range(4)]
        assert sum(isinstance(answer, Slot) for answer in answers) == 2


async def test_a_place_given_back_without_an_answer_is_shared(connection: StoreConnection) -> None:
    """The store gave it back, and the reply was lost: others may fill it, so a member's share counts it as free."""
    async with fleet_of(connection, "one", "two") as (one, two):
        slots = await one.let_in("a", "b")
        one.faulty.loses_replies = True
        slots[0].release()
        await until(lambda: one.member.away)
        assert len(await two.let_in(*"cde")) == 3
        answers = [await one.admit(f"f{n}", total=4) for n in range(4)]
        assert sum(isinstance(answer, Slot) for answer in answers) == 1, "the first half of two places"
