"""Epochs, heartbeats and returns: what a member asserts after the store lost it, or some of what it wrote."""

import asyncio

import pytest
import redis.asyncio

from service.fleet.connection import StoreConnection
from service.fleet.member import CapacityMode
from service.fleet.scripts import keys_of
from service.fleet.store import HeldCall, epoch_of
from service.gateway.capacity import InDoubt, Slot
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CallId, CapacityScope
from tests.service.fleet.harness import ACME, FakeRecords, FleetMember, fleet_of, until

pytestmark = pytest.mark.peers


async def forget(url: str, member: FleetMember) -> None:
    """Fence a member as another would."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.zrem(keys_of("test")[4], member.member.holder)


async def test_a_fenced_member_returns_under_a_new_epoch(connection: StoreConnection, store_url: str) -> None:
    """It checks its claims first, then asserts what it still holds; its slots are counted once throughout."""
    async with fleet_of(connection, "one", "two") as (one, two):
        await one.let_in("a", "b")
        before, checked = one.member.holder, []

        async def check() -> None:
            checked.append(await two.in_store())
            one.held.forget(CallId("b"))
            one.records.lost.add(CallId("b"))
            one.records.recorded(CallId("b"), "two", over=False)

        one.member.on_return = check
        await forget(store_url, one)
        await one.member.beat()
        assert checked == [{"a": "one", "b": "one"}]
        assert epoch_of(one.member.holder) > epoch_of(before)
        places = {place.call_id: place.holder async for place in one.store.places()}
        assert places == {"a": one.member.holder, "b": before}, "the slot of a lost call is for its new owner to take"
        assert one.member.returns == 1


async def test_a_fenced_member_decides_nothing_in_the_store(connection: StoreConnection, store_url: str) -> None:
    """Its calls wait for its return, by no share: what it saw is as old as its last heartbeat."""
    async with fleet_of(connection, "one", "two") as (one, two):
        await one.let_in("a")
        await forget(store_url, one)
        await two.let_in("b")
        assert await one.admit("c", total=2) == LimitHit(CapacityScope.GLOBAL, 2, 2)
        assert one.member.returns == 1
        assert await one.in_store() == {"a": "one", "b": "two"}
        assert one.capacity.decided_locally == 0


async def test_a_return_that_takes_long_delays_no_decision(connection: StoreConnection, store_url: str) -> None:
    """While a fenced member checks its claims, a call is refused in doubt once its time is up."""
    async with fleet_of(connection, "one") as (one,):
        checked = asyncio.Event()

        async def check() -> None:
            await checked.wait()

        one.member.on_return, one.capacity.asking.decision_seconds = check, 0.05
        await forget(store_url, one)
        assert await one.admit("a") == InDoubt()
        assert one.member.asserting
        checked.set()
        await until(lambda: not one.member.asserting)
        assert isinstance(await one.admit("b"), Slot)
        await one.released()
        assert await one.in_store() == {"b": "one"}


async def test_an_emptied_store_is_filled_by_those_that_live(connection: StoreConnection, store_url: str) -> None:
    """After FLUSHALL each member asserts its slots, and meanwhile nobody exceeds what was free before."""
    async with fleet_of(connection, "one", "two") as (one, two):
        await one.let_in("a", "b")
        await two.let_in("c")
        for each in (one, two):
            await each.member.beat()
        async with redis.asyncio.Redis.from_url(store_url) as client:
            await client.flushall()
        await two.member.beat()
        assert await two.in_store() == {"c": "two"}
        answers = [await two.admit(f"two-{n}", total=4) for n in range(4)]
        assert sum(isinstance(answer, Slot) for answer in answers) <= 1, "two places are held that the store forgot"
        await one.member.beat()
        assert {"a", "b", "c"} <= (await one.in_store()).keys()
        assert len(one.held) + len(two.held) <= 4


async def test_writes_lost_in_a_failover_are_asserted_at_once(connection: StoreConnection, store_url: str) -> None:
    """A store that forgot an acknowledged slot shows it with its next answer, and hears of the slot again."""
    async with fleet_of(connection, "one") as (one,):
        await one.let_in("a", "b")
        keys = keys_of("test")
        async with redis.asyncio.Redis.from_url(store_url) as client:
            await client.hdel(keys[0], "b")
            await client.hincrby(keys[1], ACME, -1)
            await client.hincrby(keys[2], one.member.holder, -1)
            await client.hincrby(keys[3], one.member.holder, -1)
        assert await one.admit("c") == InDoubt(), "let in by a store that has lost slots"
        await until(lambda: not one.member.asserting)
        await one.released()
        assert (await one.in_store()).keys() == {"a", "b"}
        assert one.capacity.decided_locally == 0


async def test_lost_writes_show_with_slots_given_back(connection: StoreConnection, store_url: str) -> None:
    """A new primary that catches up with what this member knew, by slots given back, does not hide what it lost."""
    async with fleet_of(connection, "one") as (one,):
        first, _ = await one.let_in("a", "b")
        keys = keys_of("test")
        async with redis.asyncio.Redis.from_url(store_url) as client:
            await client.hdel(keys[0], "b")
            await client.hincrby(keys[1], ACME, -1)
            await client.hincrby(keys[2], one.member.holder, -1)
            await client.hincrby(keys[3], one.member.holder, -1)
        first.release()
        await one.released()
        await until(lambda: not one.member.asserting)
        assert await one.in_store() == {"b": "one"}


async def test_a_slot_that_nobody_holds_is_freed(connection: StoreConnection) -> None:
    """What the store has under a member's name and the member does not hold goes at the second heartbeat."""
    async with fleet_of(connection, "one") as (one,):
        await one.store.hold(one.member.holder, [HeldCall(CallId("ghost"), 1, ACME)])
        await one.member.beat()
        assert await one.in_store() == {"ghost": "one"}, "once may be due to what is under way"
        await one.member.beat()
        assert await one.in_store() == {}


async def test_heartbeats_come_by_themselves_and_find_the_store_again(connection: StoreConnection) -> None:
    """A member notices that the store went away, and that it is back, without any call."""
    async with fleet_of(connection, "one") as (one,):
        one.member._beat_seconds = 0.0
        one.faulty.away = True
        one.member.start()
        await until(lambda: one.member.mode is CapacityMode.LOCAL)
        one.faulty.away = False
        await until(lambda: one.member.mode is CapacityMode.FLEET)


async def test_slots_of_the_gone_are_freed_by_their_records(connection: StoreConnection, store_url: str) -> None:
    """A call that is open on record keeps its slot; one that is over, or without a record for long, does not."""
    records = FakeRecords()
    async with fleet_of(connection, "gone", "left", records=records) as (gone, left):
        await gone.let_in("open", "over", "unknown")
        records.recorded(CallId("open"), "gone", over=False)
        records.recorded(CallId("over"), "gone", over=True)
        await forget(store_url, gone)
        async with redis.asyncio.Redis.from_url(store_url) as client:
            await client.hset(keys_of("test")[5], gone.member.holder, "0")
        await left.member.beat()
        await left.repair.look()
        assert await left.in_store() == {"open": "gone"}
