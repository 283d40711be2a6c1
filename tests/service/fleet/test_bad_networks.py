"""A fleet behind a proxy that loses replies after they were given, delays them, or cuts everything."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
import redis.asyncio

from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from service.fleet.member import CapacityMode
from service.fleet.scripts import ACQUIRE, BEAT, HOLD, RELEASE
from service.fleet.sharing import OnOutage
from service.gateway.capacity import InDoubt, RunningCall, Slot
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CallId, CapacityScope
from tests.peers.peers import Peers
from tests.service.fleet.harness import ACME, FleetMember, fleet_of, until
from tests.support.patience import PATIENT_SECONDS
from tests.support.proxy import FaultyProxy, everything, nothing, proxy_to

pytestmark = pytest.mark.peers

LIMIT = 10


@pytest.fixture
async def proxy(store_url: str) -> AsyncIterator[FaultyProxy]:
    async with redis.asyncio.Redis.from_url(store_url) as client:
        # Else the first reply to be lost could be that the script is not known, and nothing would have been done.
        for script in (ACQUIRE, BEAT, HOLD, RELEASE):
            await client.script_load(script.text)
    async with proxy_to(store_url) as running:
        yield running


@pytest.fixture
async def distant(proxy: FaultyProxy) -> AsyncIterator[StoreConnection]:
    """A connection through the proxy."""
    opened = StoreConnection(StoreAddress.parse(proxy.url), answer_seconds=PATIENT_SECONDS)
    yield opened
    await opened.close()


async def healed(proxy: FaultyProxy, *members: FleetMember) -> None:
    """Have everything come through, and wait until each member is at one with the store."""
    proxy.loses, proxy.delay_seconds, proxy.down = nothing, 0.0, False
    for member in members:
        await until(lambda member=member: not member.member.away)  # type: ignore[misc]
        await until(lambda member=member: not member.capacity.asking.late)  # type: ignore[misc]
        await member.released()
        await member.member.beat()


async def test_a_lost_reply_about_a_call(distant: StoreConnection, proxy: FaultyProxy) -> None:
    """Asked again after a heartbeat, the store says that the call has its slot: one, which is given back once."""
    async with fleet_of(distant, "one", "two") as (one, two):
        await one.let_in("a")
        proxy.lose_once(ACQUIRE.digest)
        slot = await one.admit("b", total=2)
        assert isinstance(slot, Slot)
        assert proxy.lost == 1
        assert await two.admit("c", total=2) == LimitHit(CapacityScope.GLOBAL, 2, 2)
        slot.release()
        await one.released()
        assert await two.in_store() == {"a": "one"}


async def test_a_lost_reply_about_a_slot_given_back(distant: StoreConnection, proxy: FaultyProxy) -> None:
    """Given back again, a slot that another call has by now stays that call's."""
    async with fleet_of(distant, "one", "two") as (one, two):
        first, second = await one.let_in("a", "b")
        proxy.lose_once(RELEASE.digest)
        first.release()
        await until(lambda: proxy.lost == 1)
        assert isinstance(await two.admit("a", total=2), Slot)
        await one.released()
        assert await two.in_store() == {"a": "two", "b": "one"}
        second.release()
        await one.released()
        assert await two.in_store() == {"a": "two"}


async def test_a_lost_reply_to_a_heartbeat(distant: StoreConnection, proxy: FaultyProxy) -> None:
    """The store is away from this member until the next one is answered; it holds what it held, once."""
    async with fleet_of(distant, "one", "two") as (one, two):
        await one.let_in("a", "b")
        proxy.lose_once(BEAT.digest, one.member.holder)
        one.member._beat_seconds = 0.0
        await until(lambda: proxy.lost == 1)
        await healed(proxy, one, two)
        assert one.member.mode is CapacityMode.FLEET
        assert await two.in_store() == {"a": "one", "b": "one"}
        assert (await one.store.look()).in_use == 2
        assert one.member.returns == 0


async def test_a_lost_reply_about_a_take_over(distant: StoreConnection, proxy: FaultyProxy) -> None:
    """A dead member's slot moves once, whether or not the heir hears of it."""
    async with fleet_of(distant, "dead", "heir") as (dead, heir):
        await dead.let_in("a")
        heir.records.claims[CallId("a")] = 2
        proxy.lose_once(HOLD.digest)
        await heir.capacity.take_over([RunningCall(CallId("a"), ACME)])
        assert proxy.lost == 1
        slot = heir.capacity.occupy(CallId("a"), ACME)
        await healed(proxy, heir)
        assert await heir.in_store() == {"a": "heir"}
        slot.release()
        await heir.released()
        assert await heir.in_store() == {}


async def test_all_replies_lost(distant: StoreConnection, proxy: FaultyProxy) -> None:
    """What the store took for calls that nobody heard of is given back; what the share let in is asserted."""
    async with fleet_of(distant, "one", "two") as (one, two):
        proxy.loses = everything
        answers = [await one.admit(f"a{n}", total=4) for n in range(4)]
        assert [isinstance(answer, Slot) for answer in answers] == [True, True, False, False]
        await healed(proxy, one, two)
        assert await two.in_store() == {"a0": "one", "a1": "one"}


@pytest.mark.parametrize("seed", range(3))
async def test_never_over_whatever_is_lost(distant: StoreConnection, proxy: FaultyProxy, seed: int) -> None:
    """One reply in four is lost, of any kind: no more calls run than may, and no slot is left over at the end."""
    random = Random(seed)  # noqa: S311 -- a test is to be the same each time
    async with fleet_of(distant, "one", "two", "three", on_outage=OnOutage.CLOSED) as members:
        running = most = 0
        proxy.loses = lambda _request: random.random() < 0.25

        async def call(number: int) -> None:
            nonlocal running, most
            slot = await random.choice(members).admit(f"call-{number}", limit=LIMIT)
            if isinstance(slot, Slot):
                running += 1
                most = max(most, running)
                await asyncio.sleep(random.random() * 0.02)
                running -= 1
                slot.release()

        for first in range(0, 300, 30):
            await asyncio.gather(*(call(number) for number in range(first, first + 30)))
        assert proxy.lost, "nothing was lost"
        assert 0 < most <= LIMIT
        await healed(proxy, *members)
        assert await members[0].in_store() == {}


async def test_never_over_where_replies_are_late(distant: StoreConnection, proxy: FaultyProxy) -> None:
    """With every reply later than a call may wait, three hundred calls are refused in doubt; no slot is left over."""
    async with fleet_of(distant, "one", "two", "three") as members:
        proxy.delay_seconds = 0.08
        for member in members:
            member.capacity.asking.decision_seconds = 0.05
        asked = [member.admit(f"{member.name}-{n}", limit=LIMIT) for n in range(100) for member in members]
        answers = await asyncio.gather(*asked)
        assert {type(answer) for answer in answers} == {InDoubt}
        assert sum(member.capacity.in_doubt for member in members) == 300
        assert {member.member.mode for member in members} == {CapacityMode.FLEET}
        await healed(proxy, *members)
        assert await members[0].in_store() == {}
        assert isinstance(await members[0].admit("a"), Slot)


async def test_a_redis_that_stands_still(peers: Peers) -> None:
    """A call is refused in doubt, and let in by share once a heartbeat has failed; what comes late is undone."""
    store = peers.redis()
    connection = StoreConnection(StoreAddress.parse(store.url))
    async with fleet_of(connection, "one", "two") as (one, two):
        one.capacity.asking.decision_seconds = 0.05
        with store.frozen():
            assert await one.admit("a", total=4) == InDoubt()
            await until(lambda: one.member.away)
            answers = [await one.admit(f"b{n}", total=4) for n in range(4)]
            assert [isinstance(answer, Slot) for answer in answers] == [True, True, False, False]
        await until(lambda: not one.member.away and not one.capacity.asking.late)
        await one.released()
        await one.member.beat()
        assert await two.in_store() == {"b0": "one", "b1": "one"}
    await connection.close()
