"""Decisions of a fleet: one limit over all members, and what is decided while the store is away."""

import asyncio

import pytest

from service.fleet.connection import StoreConnection
from service.fleet.member import CapacityMode
from service.fleet.scripts import ACQUIRE
from service.fleet.sharing import OnOutage
from service.gateway.capacity import RunningCall, Slot
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CallId, CapacityScope, TenantId
from tests.service.fleet.harness import ACME, FakeRecords, fleet_of, until

pytestmark = pytest.mark.peers


async def test_one_limit_over_all_members(connection: StoreConnection) -> None:
    """Of three hundred calls that come to three members at once, just as many get in as the limit says."""
    async with fleet_of(connection, "one", "two", "three") as members:
        asked = [member.admit(f"{member.name}-{n}", limit=10) for n in range(100) for member in members]
        answers = await asyncio.gather(*asked)
        hits = [answer for answer in answers if isinstance(answer, LimitHit)]
        assert len(answers) - len(hits) == 10
        assert set(hits) == {LimitHit(CapacityScope.TENANT, 10, 10)}
        assert len(await members[0].in_store()) == 10


async def test_the_limit_of_all_tenants(connection: StoreConnection) -> None:
    """Tenants below their own limits meet the one over all."""
    async with fleet_of(connection, "one", "two") as (one, two):
        await one.let_in("a", "b")
        assert await two.admit("c", limit=9, total=2, tenant=TenantId("other")) == LimitHit(CapacityScope.GLOBAL, 2, 2)


async def test_a_slot_given_back_is_free_for_another_member(connection: StoreConnection) -> None:
    """A slot is given back once, however often it is released."""
    async with fleet_of(connection, "one", "two") as (one, two):
        first, _ = await one.let_in("a", "b")
        first.release()
        first.release()
        await one.released()
        assert await two.in_store() == {"b": "one"}
        assert isinstance(await two.admit("c", total=2), Slot)
        assert isinstance(await one.admit("d", total=2), LimitHit)


async def test_a_lowered_limit_touches_no_running_call(connection: StoreConnection) -> None:
    """Calls above a lowered limit run on; new ones are refused until enough have ended."""
    async with fleet_of(connection, "one") as (one,):
        slots = await one.let_in("a", "b", "c")
        assert await one.admit("d", limit=1) == LimitHit(CapacityScope.TENANT, 1, 3)
        assert len(await one.in_store()) == 3
        for slot in slots:
            slot.release()
        await one.released()
        assert isinstance(await one.admit("e", limit=1), Slot)


async def test_a_call_of_another_member_is_left_to_it(connection: StoreConnection) -> None:
    """Where the database could not say whose a call is, the store's slot does: the second lets go of the call."""
    async with fleet_of(connection, "one", "two") as (one, two):
        two.records.unsure = True
        await one.let_in("a")
        await two.admit("a")
        assert two.records.let_go_of == ["a"]
        assert await one.in_store() == {"a": "one"}


async def test_a_call_goes_to_whoever_has_it_on_record(connection: StoreConnection) -> None:
    """The owner on record gets the slot of a member that took the call without asking, whichever claim is newer."""
    async with fleet_of(connection, "rival", "owner") as (rival, owner):
        rival.records.unsure = True
        rival.records.claims[CallId("a")], owner.records.claims[CallId("a")] = 9, 3
        (assumed,) = await rival.let_in("a")
        (kept,) = await owner.let_in("a")
        assert await owner.in_store() == {"a": "owner"}
        rival.records.lost.add(CallId("a"))
        assumed.release()
        await rival.released()
        assert await owner.in_store() == {"a": "owner"}
        kept.release()
        await owner.released()
        assert await owner.in_store() == {}


async def test_a_lost_call_leaves_its_slot_to_its_owner(connection: StoreConnection) -> None:
    """The slot of a call that another owns on record stays until that one takes it, or the call is over."""
    async with fleet_of(connection, "rival", "owner") as (rival, _):
        (assumed,) = await rival.let_in("a")
        rival.records.lost.add(CallId("a"))
        rival.records.recorded(CallId("a"), "owner", over=False)
        assumed.release()
        for _beat in range(2):
            await rival.member.beat()
        assert await rival.in_store() == {"a": "rival"}
        rival.records.recorded(CallId("a"), "owner", over=True)
        for _beat in range(2):
            await rival.member.beat()
        assert await rival.in_store() == {}


async def test_a_lost_reply_takes_no_slot_twice(connection: StoreConnection) -> None:
    """A decision whose reply is lost is made here by share; what the store took for it is one slot, or none."""
    async with fleet_of(connection, "one", "two") as (one, _):
        one.faulty.loses_replies = True
        kept = await one.admit("a", total=2)
        assert isinstance(kept, Slot)
        assert isinstance(await one.admit("b", total=2), LimitHit)
        assert one.member.mode is CapacityMode.LOCAL
        assert one.member.away
        one.faulty.loses_replies = False
        await one.member.beat()
        await one.released()
        assert not one.member.away
        assert await one.in_store() == {"a": "one"}


@pytest.mark.parametrize(("on_outage", "admitted"), [("share", 3), ("open", 7), ("closed", 0)])
async def test_an_outage_is_met_as_it_is_set(connection: StoreConnection, on_outage: str, admitted: int) -> None:
    """Of ten places of which four are taken, two members share six; open lets each fill all; closed lets none in."""
    async with fleet_of(connection, "one", "two", on_outage=OnOutage(on_outage)) as (one, two):
        await one.let_in("a", "b", "c")
        await two.let_in("d")
        for member in (one, two):
            await member.member.beat()
            member.faulty.away = True
        first = [await one.admit(f"one-{n}", total=10) for n in range(10)]
        assert sum(isinstance(answer, Slot) for answer in first) == admitted
        assert one.capacity.decided_locally == 10


async def test_shares_never_exceed_the_limit(connection: StoreConnection) -> None:
    """While the store is away, members that saw the same fleet fill its free places and not one more."""
    async with fleet_of(connection, "one", "two", "three") as members:
        await members[0].let_in("a", "b")
        for member in members:
            await member.member.beat()
            member.faulty.away = True
        answers = [await member.admit(f"{member.name}-{n}", total=10) for member in members for n in range(10)]
        assert 2 + sum(isinstance(answer, Slot) for answer in answers) == 10
        for member in members:
            member.faulty.away = False
            await member.member.beat()
        assert len(await members[0].in_store()) == 10


async def test_a_call_that_is_anothers_leaves_no_place_behind(connection: StoreConnection) -> None:
    """A member that is cut off and whose call another has taken over fills its part, and not that call's place."""
    async with fleet_of(connection, "one", "two") as (one, two):
        slots = await one.let_in("a", "b")
        await two.let_in("c")
        await one.member.beat()
        await one.loses_the_store()
        one.records.lost.add(CallId("a"))
        slots[0].release()
        answers = [await one.admit(f"one-{n}", total=9) for n in range(9)]
        assert sum(isinstance(answer, Slot) for answer in answers) == 3, "half of the six places that were free"
        assert len(one.held) == 4


async def test_a_take_over_moves_the_slot(connection: StoreConnection) -> None:
    """A dead member's running call is counted once before, while and after another goes on with it."""
    records = FakeRecords()
    async with fleet_of(connection, "dead", "heir", records=records) as (dead, heir):
        (held,) = await dead.let_in("a")
        records.claims[CallId("a")] = 2
        await heir.capacity.take_over([RunningCall(CallId("a"), ACME)])
        assert await heir.in_store() == {"a": "heir"}
        slot = heir.capacity.occupy(CallId("a"), ACME)
        held.release()
        await dead.released()
        assert await heir.in_store() == {"a": "heir"}, "released by whoever lost the call"
        slot.release()
        await heir.released()
        assert await heir.in_store() == {}


async def test_a_taken_over_call_that_is_over_frees_its_slot(connection: StoreConnection) -> None:
    """A call that no carrier knows any more gives its slot back with its record."""
    records = FakeRecords()
    async with fleet_of(connection, "dead", "heir", records=records) as (dead, heir):
        await dead.let_in("a")
        records.claims[CallId("a")] = 2
        await heir.capacity.take_over([RunningCall(CallId("a"), ACME)])
        heir.capacity.freed(CallId("a"))
        heir.capacity.freed(CallId("a"))
        await heir.released()
        assert await heir.in_store() == {}


async def test_a_handed_over_slot_stays_taken(connection: StoreConnection) -> None:
    """A member that stops and leaves its calls to the next leaves their slots too."""
    async with fleet_of(connection, "old", "new") as (old, new):
        (slot,) = await old.let_in("a")
        old.capacity.hand_over()
        slot.release()
        await old.stop()
        await old.store.leave(old.member.holder)
        assert await new.in_store() == {"a": "old"}
        await new.member.beat()
        assert (new.member.fenced_others, new.member.seen.total) == (1, 1)


async def test_whoever_goes_away_while_waiting_keeps_no_slot(connection: StoreConnection) -> None:
    """A call that ends while the store is being asked leaves nothing behind."""
    async with fleet_of(connection, "one") as (one,):
        one.faulty.hanging.add(ACQUIRE)
        asking = asyncio.create_task(one.admit("a"))
        await until(lambda: one.faulty.asked[-1] is ACQUIRE)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        one.faulty.go_on.set()
        await one.capacity.asking.worker.passed()
        await one.released()
        assert await one.in_store() == {}
