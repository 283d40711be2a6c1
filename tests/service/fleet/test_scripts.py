"""The scripts against a model of them: whatever is repeated, late or fenced, they say and keep the same."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from service.fleet.scripts import ACQUIRE, HOLD, KEYS, RELEASE, keys_of
from service.fleet.store import Decision, HeldCall, Place, SlotStore, UnregisteredError, Wanted, instance_of
from telemetry.semconv.attributes import CallId, TenantId
from tests.support.patience import PATIENT_SECONDS

pytestmark = pytest.mark.peers

T = TypeVar("T")
PROCESSES = st.sampled_from(["one", "two", "three"])
CALLS = st.sampled_from([CallId(f"rtc_{number}") for number in range(6)])
TENANTS = st.sampled_from([TenantId("acme"), TenantId("a|b"), TenantId("_unknown")])
CLAIMS = st.integers(1, 4)
LIMIT, TOTAL = 2, 4


class SlotModel(RuleBasedStateMachine):
    """The store's slots as dictionaries, moved by the same steps."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.connection = StoreConnection(StoreAddress.parse(self.url), answer_seconds=PATIENT_SECONDS)
        self.store = SlotStore(self.connection, f"model-{uuid4().hex}", silence_seconds=3600)
        self.slots: dict[CallId, tuple[str, int, TenantId]] = {}
        self.certain: dict[CallId, bool] = {}
        self.holders: dict[str, str] = {}
        self.alive: set[str] = set()
        self.epochs: list[int] = []
        for name in ("one", "two", "three"):
            self.join(name)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.connection.close())
        self.loop.close()

    def join(self, name: str) -> None:
        before = self.holders.get(name, "")
        answer, holder = self.run(self.store.join(name, "db", {"name": name}, before=before))
        assert answer == "joined"
        self.epochs.append(int(holder.rpartition(":")[2]))
        self.alive.discard(before)
        self.alive.add(holder)
        self.holders[name] = holder

    @rule(name=PROCESSES)
    def rejoins(self, name: str) -> None:
        """A process takes a new epoch, greater than any before."""
        self.join(name)
        assert self.epochs == sorted(set(self.epochs))

    @rule(name=PROCESSES)
    def leaves(self, name: str) -> None:
        """A process signs off, once or again."""
        self.run(self.store.leave(self.holders[name]))
        self.alive.discard(self.holders[name])

    @rule(name=PROCESSES, call=CALLS, tenant=TENANTS, claim=CLAIMS, certain=st.booleans(), times=st.integers(1, 2))
    def acquires(self, name: str, call: CallId, tenant: TenantId, claim: int, *, certain: bool, times: int) -> None:
        """A call gets a slot below both limits, or has it already; asked twice it is answered the same."""
        holder = self.holders[name]
        wanted = [Wanted(call, claim, tenant, LIMIT, certain=certain)]
        if holder not in self.alive:
            with pytest.raises(UnregisteredError):
                self.run(self.store.acquire(holder, wanted, TOTAL))
            return
        expected = self.decided(holder, call, tenant, claim, certain=certain)
        for _ in range(times):
            acquired = self.run(self.store.acquire(holder, wanted, TOTAL))
            assert [answer.decision for answer in acquired.answers] == [expected]
            if expected is Decision.HELD:
                self.slots[call], self.certain[call] = (holder, claim, tenant), certain
            assert acquired.answers[0].of_tenant == self.of(tenant)
            assert acquired.answers[0].total == len(self.slots)

    def decided(self, holder: str, call: CallId, tenant: TenantId, claim: int, *, certain: bool) -> Decision:
        if call in self.slots:
            free = certain or self.slots[call][0] not in self.alive
            taken = self.own(holder, call, claim) or (free and self.yields(call, claim, certain=certain))
            return Decision.HELD if taken else Decision.OTHERS
        if self.of(tenant) >= LIMIT:
            return Decision.TENANT
        return Decision.GLOBAL if len(self.slots) >= TOTAL else Decision.HELD

    @rule(name=PROCESSES, call=CALLS, claim=CLAIMS, times=st.integers(1, 2))
    def releases(self, name: str, call: CallId, claim: int, times: int) -> None:
        """A slot is given back by its holder, once, and not by a late word about an older claim."""
        if call in self.slots and self.own(self.holders[name], call, claim):
            given_back = self.slots.pop(call)[2]
            released = self.run(self.store.release(self.holders[name], {call: claim}))
            assert (released.total, released.tenants) == (len(self.slots), {given_back: self.of(given_back)})
        for _ in range(times):
            released = self.run(self.store.release(self.holders[name], {call: claim}))
            assert (released.total, released.tenants) == (len(self.slots), {})

    @rule(name=PROCESSES, call=CALLS, tenant=TENANTS, claim=CLAIMS, certain=st.booleans(), times=st.integers(1, 2))
    def holds(self, name: str, call: CallId, tenant: TenantId, claim: int, *, certain: bool, times: int) -> None:
        """A running call's slot is held whatever the limits, unless somebody has a better claim to it."""
        holder, held = self.holders[name], HeldCall(call, claim, tenant, certain)
        if holder not in self.alive:
            with pytest.raises(UnregisteredError):
                self.run(self.store.hold(holder, [held]))
            return
        taken = call not in self.slots or self.own(holder, call, claim) or self.yields(call, claim, certain=certain)
        if taken:
            self.slots[call], self.certain[call] = (holder, claim, tenant), certain
        for _ in range(times):
            assert self.run(self.store.hold(holder, [held])).others == ([] if taken else [call])

    @rule(call=CALLS, claim=CLAIMS, name=PROCESSES)
    def frees(self, call: CallId, claim: int, name: str) -> None:
        """A slot of the dead is freed only as it was looked at."""
        place = Place(call, self.holders[name], claim, TenantId(""))
        expected = self.slots.get(call, ("", 0))[:2] == (place.holder, claim)
        assert self.run(self.store.free([place])) == int(expected)
        if expected:
            del self.slots[call]

    @rule(name=PROCESSES)
    def beats(self, name: str) -> None:
        """A heartbeat tells what the fleet holds; one of a fenced process is refused."""
        holder = self.holders[name]
        if holder not in self.alive:
            with pytest.raises(UnregisteredError):
                self.run(self.store.beat(holder, {}))
            return
        beat = self.run(self.store.beat(holder, {"name": name}, [TenantId("acme")]))
        assert (beat.held, beat.total) == (self.held(holder), len(self.slots))
        assert (beat.living, beat.rank) == (len(self.alive), sorted(self.alive).index(holder))
        assert beat.complete
        assert beat.tenants == Counter(tenant for _, _, tenant in self.slots.values())
        beat = self.run(self.store.beat(holder, {"name": name}, [TenantId("acme")], at_most=0))
        if self.slots:
            assert not beat.complete
            assert beat.tenants == {"acme": self.of(TenantId("acme"))}
        assert beat.fenced == len({other for other, _, _ in self.slots.values()} - self.alive)

    @invariant()
    def counts_agree(self) -> None:
        """Slots, tenants' counts and holders' counts are one and the same."""
        view = self.run(self.store.look())
        assert view.in_use == len(self.slots)
        held = {process.holder: process.held for process in view.processes if process.held}
        assert held == Counter(holder for holder, _, _ in self.slots.values())
        assert self.run(self.placed()) == self.slots

    async def placed(self) -> dict[CallId, tuple[str, int, TenantId]]:
        return {place.call_id: (place.holder, place.claim, place.tenant_id) async for place in self.store.places()}

    def own(self, holder: str, call: CallId, claim: int) -> bool:
        other, before, _ = self.slots[call]
        return instance_of(other) == instance_of(holder) and claim >= before

    def yields(self, call: CallId, claim: int, *, certain: bool) -> bool:
        return (certain, claim) > (self.certain[call], self.slots[call][1])

    def of(self, tenant: TenantId) -> int:
        return sum(other == tenant for _, _, other in self.slots.values())

    def held(self, holder: str) -> int:
        return sum(other == holder for other, _, _ in self.slots.values())


@pytest.fixture
def model(store_url: str) -> type[SlotModel]:
    SlotModel.url = store_url
    return SlotModel


def test_the_scripts_keep_to_the_model(model: type[SlotModel]) -> None:
    """Any mix of joins, decisions, returns, take-overs and repetitions leaves store and model equal."""
    run_state_machine_as_test(
        model,
        settings=settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )


def test_all_keys_are_in_one_slot_of_a_cluster() -> None:
    """Keys share one hash tag: a script of a cluster may touch no other slot."""
    keys = keys_of("callscope")
    assert len(keys) == len(KEYS)
    assert {key[key.index("{") : key.index("}")] for key in keys} == {"{callscope:capacity"}


async def test_a_silent_process_is_fenced_once(connection: StoreConnection, store_url: str) -> None:
    """Of two that look, one fences the silent process; its slots stay taken, and it returns under a greater epoch."""
    store = SlotStore(connection, "fencing", silence_seconds=3600)
    (_, silent), (_, first), (_, second) = [await store.join(name, "db", {}) for name in ("silent", "one", "two")]
    await store.acquire(silent, [Wanted(CallId("rtc_1"), 1, TenantId("acme"), 5, certain=True)], 5)
    async with redis.asyncio.Redis.from_url(store_url) as client:
        await client.zadd(keys_of("fencing")[4], {silent: 1})
    beats = [await store.beat(holder, {}) for holder in (first, second)]
    assert [beat.fenced_now for beat in beats] == [[silent], []]
    assert [(beat.living, beat.total, beat.fenced) for beat in beats] == [(2, 1, 1)] * 2
    with pytest.raises(UnregisteredError):
        await store.beat(silent, {})
    _, returned = await store.join("silent", "db", {}, before=silent)
    assert int(returned.rpartition(":")[2]) > int(second.rpartition(":")[2])
    await store.hold(returned, [HeldCall(CallId("rtc_1"), 1, TenantId("acme"))])
    assert (await store.beat(returned, {})).held == 1
    assert [process.holder for process in (await store.look()).processes if process.beat_age_seconds is None] == []


async def test_a_store_is_prepared_for_the_first_call(connection: StoreConnection) -> None:
    """Connections are open and the scripts known, and nothing has changed."""
    store = SlotStore(connection, "test")
    _, holder = await store.join("one", "db", {})
    assert isinstance(connection._client, redis.asyncio.Redis)
    await connection._client.script_flush()
    await connection._client.connection_pool.disconnect()
    await store.prepare(holder)
    known = await connection._client.script_exists(*(each.digest for each in (ACQUIRE, RELEASE, HOLD)))
    assert known == [True] * 3
    assert sum(each.is_connected for each in connection._client.connection_pool._available_connections) >= 3
    view = await store.look()
    assert (view.in_use, [process.writes for process in view.processes]) == (0, [0])
