"""Lookups at call time: what is remembered, for how long, and what is answered when the database is down."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from service.e164 import E164
from service.storage.database import Database
from service.tenants.cache import MAX_BATCH, CachePolicy, TenantAnswer, TenantCache
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.spec import TenantSpec
from service.tenants.sql import SqlTenantRepository
from service.tenants.tenant import CallTenant
from telemetry.semconv.attributes import TenantId
from telemetry.testing import FakeClock

NUMBER = E164("+18005550100")
UNKNOWN = E164("+18005550199")
POLICY = CachePolicy(ttl=5, grace=60, query_timeout=30, retry_after=1)
ACME = CallTenant(
    tenant_id=TenantId("acme"),
    name="Acme",
    enabled=True,
    max_concurrent_calls=10,
    transfer_targets={},
    features={},
)


class FakeTenants:
    """A database in memory that counts what it is asked, and can fail or keep silent."""

    def __init__(self) -> None:
        self.tenants: dict[str, CallTenant] = {NUMBER: ACME}
        self.instructions: dict[str, str] = {"acme": "You are Ada."}
        self.version = 1
        self.asked: Counter[str] = Counter()
        self.error: Exception | None = None
        self.arrivals: asyncio.Queue[str] = asyncio.Queue()
        self.answering = asyncio.Event()
        self.answering.set()

    async def revision(self) -> int:
        await self._ask("revision")
        return self.version

    async def for_calls(self, numbers: Collection[str]) -> Mapping[str, CallTenant]:
        found = {number: self.tenants[number] for number in numbers if number in self.tenants}
        await self._ask("tenants", *numbers)
        return found

    async def current_instructions(self, tenant_ids: Collection[str]) -> Mapping[str, str]:
        await self._ask("instructions", *(f"instructions of {tenant_id}" for tenant_id in tenant_ids))
        return {tenant_id: self.instructions[tenant_id] for tenant_id in tenant_ids if tenant_id in self.instructions}

    def change(self, **changes: object) -> None:
        self.tenants[NUMBER] = replace(self.tenants[NUMBER], **changes)  # type: ignore[arg-type] # names are checked at run time
        self.version += 1

    async def arrival(self, what: str) -> None:
        """Wait until this is asked."""
        while await self.arrivals.get() != what:
            pass

    async def _ask(self, *subjects: str) -> None:
        self.asked.update(subjects)
        for subject in subjects:
            self.arrivals.put_nowait(subject)
        await self.answering.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tenants() -> FakeTenants:
    return FakeTenants()


@pytest.fixture
def tenants_in_database(database: Database, clock: FakeClock) -> SqlTenantRepository:
    return SqlTenantRepository(database, clock=clock)


@pytest.fixture
def cache(tenants: FakeTenants, clock: FakeClock) -> TenantCache:
    return TenantCache(tenants, policy=POLICY, clock=clock)


async def test_a_tenant_is_read_once(cache: TenantCache, tenants: FakeTenants, clock: FakeClock) -> None:
    """A tenant is queried at its first call; later calls cost nothing, past the TTL one question for all entries."""
    for _ in range(3):
        assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=False)
    assert tenants.asked == {"revision": 1, "tenants": 1, NUMBER: 1}
    clock.advance(5)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=False)
    assert tenants.asked == {"revision": 2, "tenants": 1, NUMBER: 1}


async def test_instructions_are_read_once(cache: TenantCache, tenants: FakeTenants) -> None:
    """Instructions are queried at the first call of a tenant, and so is that there are none."""
    for _ in range(3):
        assert await cache.instructions_for("acme") == "You are Ada."
        assert await cache.instructions_for("beta") is None
    assert (tenants.asked["instructions of acme"], tenants.asked["instructions of beta"]) == (1, 1)


async def test_a_change_is_seen_after_the_ttl(cache: TenantCache, tenants: FakeTenants, clock: FakeClock) -> None:
    """A change shows once the entry is older than the TTL, for tenants and instructions, and not before."""
    await cache.tenant_for(NUMBER)
    await cache.instructions_for("acme")
    tenants.change(enabled=False)
    tenants.instructions["acme"] = "You are Bob."
    clock.advance(4.9)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=False)
    clock.advance(0.1)
    assert (await cache.tenant_for(NUMBER)).tenant == replace(ACME, enabled=False)
    assert await cache.instructions_for("acme") == "You are Bob."


async def test_a_doubted_state_is_asked_for_at_once(cache: TenantCache, tenants: FakeTenants) -> None:
    """Whoever changed a tenant says so, and the next call sees it without waiting; nothing else is read again."""
    await cache.tenant_for(NUMBER)
    tenants.change(enabled=False)
    cache.invalidate()
    assert (await cache.tenant_for(NUMBER)).tenant == replace(ACME, enabled=False)
    assert (await cache.revision()).revision == tenants.version
    assert tenants.asked["revision"] == 2


async def test_an_answer_from_before_the_doubt_does_not_do(cache: TenantCache, tenants: FakeTenants) -> None:
    """A question that was under way when the doubt came up is asked again: it may be answered from before."""
    tenants.answering.clear()
    early = asyncio.create_task(cache.revision())
    await tenants.arrival("revision")
    cache.invalidate()
    late = asyncio.create_task(cache.revision())
    await asyncio.sleep(0)
    tenants.answering.set()
    await asyncio.gather(early, late)
    assert tenants.asked["revision"] == 2


async def test_a_new_number_is_seen_after_the_ttl(cache: TenantCache, tenants: FakeTenants, clock: FakeClock) -> None:
    """That a number is nobody's is remembered no longer than anything else."""
    assert (await cache.tenant_for(UNKNOWN)).tenant is None
    tenants.tenants[UNKNOWN] = ACME
    tenants.version += 1
    clock.advance(5)
    assert (await cache.tenant_for(UNKNOWN)).tenant == ACME


async def test_a_removed_number_is_seen_after_the_ttl(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """A number that was taken away reaches nobody, also when the database fails after it was seen to be gone."""
    await cache.tenant_for(NUMBER)
    del tenants.tenants[NUMBER]
    tenants.version += 1
    clock.advance(5)
    assert (await cache.tenant_for(NUMBER)).tenant is None
    clock.advance(5)
    tenants.error = OSError("down")
    with pytest.raises(TenantLookupError):
        await cache.tenant_for(NUMBER)


async def test_unknown_numbers_are_not_asked_twice(cache: TenantCache, tenants: FakeTenants) -> None:
    """A number nobody has costs one query, however often it is called."""
    for _ in range(3):
        assert await cache.tenant_for(UNKNOWN) == TenantAnswer(None, stale=False)
    assert tenants.asked[UNKNOWN] == 1


async def test_unknown_numbers_take_bounded_room_and_displace_no_tenant(tenants: FakeTenants, clock: FakeClock) -> None:
    """A flood of numbers nobody has fills its own share of memory, drops its own oldest and leaves the tenants' be."""
    cache = TenantCache(tenants, policy=replace(POLICY, max_tenants=2, max_unknown=10), clock=clock)
    await cache.tenant_for(NUMBER)
    for n in range(1000):
        await cache.tenant_for(E164(f"+4930{n:06}"))
    await cache.tenant_for(NUMBER)
    assert tenants.asked[NUMBER] == 1
    assert (cache.counts().entries, cache.counts().evictions) == (11, 990)


async def test_tenants_take_bounded_room(tenants: FakeTenants, clock: FakeClock) -> None:
    """More tenants than there is room for displace the one not called for longest."""
    cache = TenantCache(tenants, policy=replace(POLICY, max_tenants=2), clock=clock)
    first, second, third = (E164(f"+1800555010{n}") for n in range(3))
    tenants.tenants = dict.fromkeys((first, second, third), ACME)
    for number in (first, second, first, third, first, second):
        await cache.tenant_for(number)
    assert (tenants.asked[first], tenants.asked[second], tenants.asked[third]) == (1, 2, 1)
    assert cache.counts().evictions == 2


async def test_calls_for_one_number_share_one_query(cache: TenantCache, tenants: FakeTenants) -> None:
    """Of a burst of calls for one number, while nothing is known, one asks and all get its answer."""
    tenants.answering.clear()
    calls = [asyncio.create_task(cache.tenant_for(NUMBER)) for _ in range(100)]
    await asyncio.sleep(0)
    tenants.answering.set()
    assert await asyncio.gather(*calls) == [TenantAnswer(ACME, stale=False)] * 100
    assert tenants.asked == {"revision": 1, "tenants": 1, NUMBER: 1}


async def test_a_burst_of_calls_for_many_numbers_is_no_storm_of_queries(
    cache: TenantCache, tenants: FakeTenants
) -> None:
    """Thousands of calls at once, each for another number, take a handful of queries, and each gets its own answer."""
    numbers = [E164(f"+4930{n:06}") for n in range(5 * MAX_BATCH)]
    answers = await asyncio.gather(*(cache.tenant_for(number) for number in [*numbers, NUMBER]))
    assert answers == [TenantAnswer(None, stale=False)] * len(numbers) + [TenantAnswer(ACME, stale=False)]
    assert tenants.asked["tenants"] == 6


async def test_a_caller_who_gives_up_leaves_the_others_their_answer(cache: TenantCache, tenants: FakeTenants) -> None:
    """Cancelling the call that began a query does not take the answer from those that joined it."""
    await cache.tenant_for(UNKNOWN)
    tenants.answering.clear()
    first, second = (asyncio.create_task(cache.tenant_for(NUMBER)) for _ in range(2))
    await tenants.arrival(NUMBER)
    first.cancel()
    tenants.answering.set()
    assert await second == TenantAnswer(ACME, stale=False)
    assert first.cancelled()


async def test_an_answer_from_before_a_change_is_not_kept(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """A query that was under way while a change was noticed answers its own caller and nobody else."""
    await cache.instructions_for("acme")
    tenants.answering.clear()
    early = asyncio.create_task(cache.tenant_for(NUMBER))
    await tenants.arrival(NUMBER)
    tenants.change(name="New")
    clock.advance(5)
    late = asyncio.create_task(cache.tenant_for(NUMBER))
    tenants.answering.set()
    assert [(await call).tenant for call in (early, late)] == [ACME, replace(ACME, name="New")]
    assert (await cache.tenant_for(NUMBER)).tenant == replace(ACME, name="New")


async def test_with_the_database_down_known_tenants_are_still_answered(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """A tenant once found is answered for the grace time, marked as stale, and not longer."""
    await cache.tenant_for(NUMBER)
    tenants.error = OSError("down")
    clock.advance(5)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=True)
    clock.advance(55)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=True)
    clock.advance(1)
    with pytest.raises(TenantLookupError):
        await cache.tenant_for(NUMBER)
    assert cache.counts().stale_answers == 2
    assert cache.counts().failures == 3


async def test_it_says_for_how_long_it_answers_alone(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """Not before anything was found, not by unknown numbers alone, not past the grace after the last confirmation."""
    assert not cache.answers_alone
    await cache.tenant_for(UNKNOWN)
    assert not cache.answers_alone
    await cache.tenant_for(NUMBER)
    tenants.error = OSError("down")
    clock.advance(60)
    assert cache.answers_alone
    assert (await cache.tenant_for(NUMBER)).stale
    clock.advance(1)
    assert not cache.answers_alone
    with pytest.raises(TenantLookupError):
        await cache.tenant_for(NUMBER)


async def test_the_grace_counts_from_when_the_tenant_was_last_right(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """Each confirmation that nothing changed renews what may be answered later."""
    for _ in range(20):
        await cache.tenant_for(NUMBER)
        clock.advance(5)
    tenants.error = OSError("down")
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=True)


async def test_a_changed_tenant_that_cannot_be_read_is_answered_as_it_was(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """When something changed but the tenant itself cannot be read, the last answer serves, its grace not renewed."""
    await cache.tenant_for(NUMBER)
    clock.advance(50)
    tenants.change(enabled=False)
    await cache.instructions_for("acme")
    tenants.error = OSError("down")
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=True)
    clock.advance(11)
    with pytest.raises(TenantLookupError):
        await cache.tenant_for(NUMBER)


async def test_a_failed_lookup_is_not_an_unknown_number(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """With the database down a number not known, or known to be nobody's, is an error and not an answer."""
    await cache.tenant_for(UNKNOWN)
    clock.advance(5)
    tenants.error = OSError("connection refused")
    with pytest.raises(TenantLookupError, match=r"tenant: the database failed \(connection refused\)"):
        await cache.tenant_for(UNKNOWN)


async def test_old_instructions_are_not_given_out(cache: TenantCache, tenants: FakeTenants, clock: FakeClock) -> None:
    """Fresh instructions need no database; once they may have changed and cannot be read, that is an error apart."""
    await cache.instructions_for("acme")
    tenants.error = OSError("down")
    assert await cache.instructions_for("acme") == "You are Ada."
    with pytest.raises(InstructionsUnavailableError, match="instructions: the database failed"):
        await cache.instructions_for("beta")
    clock.advance(5)
    with pytest.raises(InstructionsUnavailableError, match="instructions: the database failed"):
        await cache.instructions_for("acme")


async def test_a_database_that_failed_is_left_alone_for_a_moment(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """After a failure lookups fail at once instead of waiting again, and ask again when the moment is over."""
    tenants.error = OSError("down")
    for _ in range(10):
        with pytest.raises(TenantLookupError):
            await cache.tenant_for(NUMBER)
    assert tenants.asked == {"revision": 1}
    tenants.error = None
    clock.advance(1)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(ACME, stale=False)


async def test_a_silent_database_is_not_waited_for(tenants: FakeTenants, clock: FakeClock) -> None:
    """A query that is not answered in time is a failed lookup that says how long was waited."""
    cache = TenantCache(tenants, policy=replace(POLICY, query_timeout=0.01), clock=clock)
    tenants.answering.clear()
    with pytest.raises(TenantLookupError, match=r"tenant: no answer from the database within 0\.01 s"):
        await cache.tenant_for(NUMBER)
    clock.advance(1)
    with pytest.raises(InstructionsUnavailableError, match=r"instructions: no answer from the database within"):
        await cache.instructions_for("acme")


async def test_a_fault_of_the_program_is_not_taken_for_the_database(
    cache: TenantCache, tenants: FakeTenants, clock: FakeClock
) -> None:
    """An error that no database raises is not hidden behind an old answer."""
    await cache.tenant_for(NUMBER)
    clock.advance(5)
    tenants.error = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        await cache.tenant_for(NUMBER)


async def test_hits_and_misses_are_counted(cache: TenantCache) -> None:
    """The cache says how often it answered by itself and how often it had to ask."""
    await cache.tenant_for(NUMBER)
    await cache.tenant_for(NUMBER)
    await cache.tenant_for(UNKNOWN)
    await cache.instructions_for("acme")
    await cache.instructions_for("acme")
    counts = cache.counts()
    assert (counts.hits, counts.misses, counts.entries, counts.failures) == (2, 3, 3, 0)


async def test_closing_gives_up_what_is_under_way(cache: TenantCache, tenants: FakeTenants) -> None:
    """Closing ends queries that wait for the database, so that nothing of the cache outlives it."""
    before = asyncio.all_tasks()
    await cache.tenant_for(UNKNOWN)
    tenants.answering.clear()
    waiting = [asyncio.create_task(cache.tenant_for(NUMBER)), asyncio.create_task(cache.instructions_for("acme"))]
    await tenants.arrival("instructions of acme")
    await cache.close()
    assert all(
        isinstance(result, asyncio.CancelledError) for result in await asyncio.gather(*waiting, return_exceptions=True)
    )
    assert asyncio.all_tasks() == before


async def test_changes_in_a_real_database_are_seen(tenants_in_database: SqlTenantRepository, clock: FakeClock) -> None:
    """A cache on a real database answers what was stored and follows a change made by another process."""
    cache = TenantCache(tenants_in_database, clock=clock)
    stated = TenantSpec(tenant_id=TenantId("acme"), numbers=(NUMBER,), instructions="You are Ada.")
    await tenants_in_database.put(stated, actor="ops")
    assert {NUMBER: (await cache.tenant_for(NUMBER)).tenant} == await tenants_in_database.for_calls([NUMBER])
    assert await cache.instructions_for("acme") == "You are Ada."
    await tenants_in_database.set_instructions("acme", "You are Bob.", actor="ops")
    await tenants_in_database.set_enabled("acme", False, actor="ops")
    clock.advance(5)
    answer = await cache.tenant_for(NUMBER)
    assert answer.tenant is not None
    assert (answer.tenant.enabled, await cache.instructions_for("acme")) == (False, "You are Bob.")
