"""Changes of tenants on real databases: what was stated comes back, changes are whole, versioned and audited."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from service.storage.database import Database
from service.tenants.errors import (
    ImportProblem,
    ImportRefusedError,
    InvalidFieldError,
    NumberNotFoundError,
    NumberTakenError,
    StaleVersionError,
    TenantExistsError,
    TenantNotFoundError,
)
from service.tenants.models import InstructionsRow, NumberRow
from service.tenants.reading import BATCH
from service.tenants.repository import NEW, TenantRepository
from service.tenants.sql import SqlTenantRepository
from service.tenants.tenant import (
    ImportResult,
    InstructionsEntry,
    InstructionsVersion,
    Tenant,
)
from telemetry.semconv.attributes import TenantId
from telemetry.testing import FakeClock
from tests.service.tenants.statements import FIRST, OPS, SECOND, THIRD, acme, moment, set_limit, spec


async def test_the_sql_repository_is_a_tenant_repository(tenants: SqlTenantRepository) -> None:
    """The SQL implementation offers all that administration asks for; the type checker proves the signatures."""
    repository: TenantRepository = tenants
    assert await repository.revision() == 0


async def test_a_tenant_comes_back_as_it_was_stated(tenants: SqlTenantRepository, clock: FakeClock) -> None:
    """Every field of a new tenant is found again, by its id and by its number."""
    stated = acme(
        numbers=[THIRD, "+1 (800) 555-0100"],
        enabled=False,
        transfer_targets={"sales": "tel:+14155550123", "desk": "sip:desk@example.com"},
        features={"capture_content": True, "voice": "marin", "speed": 1.5, "note": None},
    )
    stored = await tenants.put(stated, actor=OPS)
    assert stored == Tenant(
        tenant_id=TenantId("acme"),
        name="Acme",
        enabled=False,
        max_concurrent_calls=10,
        transfer_targets={"sales": "tel:+14155550123", "desk": "sip:desk@example.com"},
        features={"capture_content": True, "voice": "marin", "speed": 1.5, "note": None},
        numbers=(FIRST, THIRD),
        instructions="You are Ada.",
        instructions_version=1,
        version=1,
        created_at=moment(clock),
        updated_at=moment(clock),
    )
    assert await tenants.by_id("acme") == stored
    assert {call.tenant_id for call in (await tenants.for_calls([FIRST, THIRD])).values()} == {"acme"}


async def test_defaults_fill_what_a_new_tenant_leaves_out(tenants: SqlTenantRepository) -> None:
    """A tenant of which only the id is stated is enabled, named by its id, without numbers, limit or instructions."""
    tenant = await tenants.put(spec("beta"), actor=OPS)
    assert (tenant.name, tenant.enabled, tenant.numbers, tenant.max_concurrent_calls) == ("beta", True, (), None)
    assert (tenant.instructions, tenant.instructions_version) == (None, 0)
    assert (tenant.transfer_targets, tenant.features) == ({}, {})


async def test_what_is_not_mentioned_stays(tenants: SqlTenantRepository) -> None:
    """A change states some fields; the others keep what they had."""
    before = await tenants.put(acme(), actor=OPS)
    after = await tenants.put(spec("acme", max_concurrent_calls=None), actor=OPS)
    assert after == replace(before, max_concurrent_calls=None, version=after.version)


async def test_a_whole_statement_leaves_nothing_as_it_was(tenants: SqlTenantRepository) -> None:
    """A statement made whole mentions every field: what it left out gets the default of a new tenant."""
    before = await tenants.put(acme(features={"capture_content": True}), actor=OPS)
    after = await tenants.put(spec("acme", max_concurrent_calls=3).whole(), actor=OPS)
    assert (after.name, after.numbers, after.instructions, after.features) == ("acme", (), None, {})
    assert (after.max_concurrent_calls, after.created_at) == (3, before.created_at)


async def test_a_change_wants_a_tenant_that_is_there(tenants: SqlTenantRepository) -> None:
    """Unlike a put, a change never creates; it changes what is stated and nothing else."""
    with pytest.raises(TenantNotFoundError):
        await tenants.change(acme(), actor=OPS)
    before = await tenants.put(acme(), actor=OPS)
    after = await tenants.change(spec("acme", enabled=False), actor=OPS, expected_version=before.version)
    assert after == replace(before, enabled=False, version=after.version)


async def test_true_and_one_are_two_values_of_a_feature(tenants: SqlTenantRepository) -> None:
    """A feature that changes between a number and a truth value is a change, although Python calls them equal."""
    before = await tenants.put(acme(features={"beta": 1, "rate": 2}), actor=OPS)
    after = await tenants.put(spec("acme", features={"beta": True, "rate": 2}), actor=OPS)
    assert after.version != before.version
    stored = await tenants.by_id("acme")
    assert stored is not None
    assert stored.features["beta"] is True
    latest = (await tenants.audit("acme")).entries[0]
    assert repr((latest.before, latest.after)) == "({'features': {'beta': 1}}, {'features': {'beta': True}})"


async def test_changes_move_version_and_time(tenants: SqlTenantRepository, clock: FakeClock) -> None:
    """Each change gives a version never seen before and its time, and leaves the time of creation."""
    created = await tenants.put(acme(), actor=OPS)
    clock.advance(60)
    changed = await set_limit(tenants, "acme", 3, actor=OPS)
    assert changed.version > created.version
    assert (changed.created_at, changed.updated_at) == (created.created_at, moment(clock))
    assert await tenants.by_id("acme") == changed


async def test_stating_what_is_so_already_changes_nothing(tenants: SqlTenantRepository, clock: FakeClock) -> None:
    """Repeating a statement, or any part of it, leaves version, audit and revision as they are."""
    created = await tenants.put(acme(), actor=OPS)
    clock.advance(60)
    assert await tenants.put(acme(), actor=OPS) == created
    assert await tenants.set_enabled("acme", True, actor=OPS) == created
    assert await tenants.set_instructions("acme", "You are Ada.", actor=OPS) == created
    assert await tenants.add_number("acme", FIRST, actor=OPS) == created
    assert await tenants.revision() == created.version
    assert len((await tenants.audit()).entries) == 1


async def test_the_revision_grows_with_every_change(tenants: SqlTenantRepository) -> None:
    """A cache that compares revisions notices creation, change and deletion."""
    seen = [await tenants.revision()]
    await tenants.put(acme(), actor=OPS)
    seen.append(await tenants.revision())
    await tenants.set_enabled("acme", False, actor=OPS)
    seen.append(await tenants.revision())
    await tenants.delete("acme", actor=OPS)
    seen.append(await tenants.revision())
    assert seen == [0, 1, 2, 3]


async def test_the_expected_version_must_be_the_present_one(tenants: SqlTenantRepository) -> None:
    """A change based on an old version is refused with both versions named, and one on the present version is made."""
    old = await tenants.put(acme(), actor=OPS)
    new = await set_limit(tenants, "acme", 3, actor=OPS, expected_version=old.version)
    with pytest.raises(StaleVersionError, match="version: 'acme' is at version 2, not 1") as stale:
        await set_limit(tenants, "acme", 4, actor=OPS, expected_version=old.version)
    assert (stale.value.expected, stale.value.actual) == (old.version, new.version)
    assert await tenants.by_id("acme") == new


async def test_every_kind_of_change_checks_the_version(tenants: SqlTenantRepository) -> None:
    """No way of changing or deleting a tenant goes around the version that was expected."""
    before = await tenants.put(acme(), actor=OPS)
    wrong = before.version + 1
    attempts = [
        tenants.put(acme(name="X"), actor=OPS, expected_version=wrong),
        tenants.set_enabled("acme", False, actor=OPS, expected_version=wrong),
        set_limit(tenants, "acme", 1, actor=OPS, expected_version=wrong),
        tenants.set_instructions("acme", "X", actor=OPS, expected_version=wrong),
        tenants.add_number("acme", SECOND, actor=OPS, expected_version=wrong),
        tenants.remove_number("acme", FIRST, actor=OPS, expected_version=wrong),
        tenants.delete("acme", actor=OPS, expected_version=wrong),
    ]
    for attempt in attempts:
        with pytest.raises(StaleVersionError):
            await attempt
    assert await tenants.by_id("acme") == before


async def test_creating_only_refuses_what_exists(tenants: SqlTenantRepository) -> None:
    """Expecting a tenant to be new creates it once; expecting a version of one that is not there is stale."""
    created = await tenants.put(acme(), actor=OPS, expected_version=NEW)
    with pytest.raises(TenantExistsError, match="tenant_id: 'acme' exists already"):
        await tenants.put(acme(name="Other"), actor=OPS, expected_version=NEW)
    with pytest.raises(StaleVersionError):
        await tenants.put(spec("beta"), actor=OPS, expected_version=5)
    assert await tenants.by_id("acme") == created
    assert await tenants.by_id("beta") is None


async def test_a_recreated_tenant_has_no_version_of_its_predecessor(tenants: SqlTenantRepository) -> None:
    """An ETag from before a deletion does not match the tenant made anew under the same id."""
    first = await tenants.put(acme(), actor=OPS)
    await tenants.delete("acme", actor=OPS, expected_version=first.version)
    second = await tenants.put(acme(), actor=OPS)
    assert second.version != first.version
    assert second.instructions_version == 1


async def test_of_concurrent_changes_on_one_version_one_wins(tenants: SqlTenantRepository) -> None:
    """Of many writers that read the same version exactly one changes the tenant; the others hear that theirs is old."""
    before = await tenants.put(acme(), actor=OPS)
    attempts = (set_limit(tenants, "acme", n, actor=OPS, expected_version=before.version) for n in range(20, 28))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    winners = [result for result in results if isinstance(result, Tenant)]
    losers = [result for result in results if isinstance(result, StaleVersionError)]
    assert (len(winners), len(losers)) == (1, 7)
    assert await tenants.by_id("acme") == winners[0]


async def test_concurrent_changes_of_several_tenants_all_count(tenants: SqlTenantRepository) -> None:
    """Writers that do not expect a version take turns: none fails, none is lost."""
    names = [f"t{n}" for n in range(8)]
    await asyncio.gather(*(tenants.put(spec(name), actor=OPS) for name in names))
    await asyncio.gather(*(set_limit(tenants, name, 1, actor=OPS) for name in names))
    assert await tenants.revision() == 16
    assert {tenant.max_concurrent_calls for tenant in (await tenants.page()).tenants} == {1}


async def test_one_number_goes_to_one_of_two_who_want_it_at_once(tenants: SqlTenantRepository) -> None:
    """Of two tenants that are given the same number at the same time one gets it, the other is told whose it is."""
    await tenants.put(spec("a"), actor=OPS)
    await tenants.put(spec("b"), actor=OPS)
    attempts = (tenants.add_number(name, FIRST, actor=OPS) for name in "ab")
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NumberTakenError", "Tenant"]


async def test_limits_can_be_set_to_any_value_or_none(tenants: SqlTenantRepository) -> None:
    """A limit may be lowered to nothing and lifted altogether; a negative one names its field."""
    await tenants.put(acme(), actor=OPS)
    assert (await set_limit(tenants, "acme", 0, actor=OPS)).max_concurrent_calls == 0
    assert (await set_limit(tenants, "acme", None, actor=OPS)).max_concurrent_calls is None
    with pytest.raises(InvalidFieldError, match=r"max_concurrent_calls: .*greater than or equal to 0"):
        await set_limit(tenants, "acme", -1, actor=OPS)


async def test_disabling_and_enabling(tenants: SqlTenantRepository) -> None:
    """The switch turns either way and touches nothing else."""
    before = await tenants.put(acme(), actor=OPS)
    disabled = await tenants.set_enabled("acme", False, actor=OPS)
    assert disabled == replace(before, enabled=False, version=disabled.version)
    assert (await tenants.set_enabled("acme", True, actor=OPS)).enabled


async def test_instructions_keep_every_version(tenants: SqlTenantRepository, clock: FakeClock) -> None:
    """Each change of the instructions adds a version with who and when; the highest holds; none is lost."""
    await tenants.put(acme(), actor="first")
    times = [moment(clock)]
    clock.advance(60)
    times.append(moment(clock))
    second = await tenants.set_instructions("acme", "You are Bob.", actor="second")
    assert (second.instructions, second.instructions_version) == ("You are Bob.", 2)
    assert await tenants.current_instructions(["acme"]) == {"acme": "You are Bob."}
    history = (await tenants.instructions_history("acme")).versions
    assert history == (
        InstructionsEntry(2, len("You are Bob."), times[1], "second"),
        InstructionsEntry(1, len("You are Ada."), times[0], "first"),
    )
    assert await tenants.instructions_at("acme", 1) == InstructionsVersion(1, "You are Ada.", times[0], "first")
    assert await tenants.instructions_at("acme", 3) is None


async def test_instructions_can_be_withdrawn(tenants: SqlTenantRepository) -> None:
    """Withdrawing is a version of its own: there are no instructions then, and the old ones stay in the history."""
    await tenants.put(acme(), actor=OPS)
    withdrawn = await tenants.set_instructions("acme", None, actor=OPS)
    assert (withdrawn.instructions, withdrawn.instructions_version) == (None, 2)
    assert await tenants.by_id("acme") == withdrawn
    assert await tenants.current_instructions(["acme"]) == {}
    history = (await tenants.instructions_history("acme")).versions
    assert [kept.characters for kept in history] == [None, len("You are Ada.")]


async def test_blank_instructions_are_refused(tenants: SqlTenantRepository) -> None:
    """An agent without a task must be meant: blank text is refused, null is how to say it."""
    await tenants.put(acme(), actor=OPS)
    with pytest.raises(InvalidFieldError, match="instructions: must not be blank; null withdraws"):
        await tenants.set_instructions("acme", " \n", actor=OPS)


async def test_numbers_are_added_and_removed(tenants: SqlTenantRepository) -> None:
    """A number given to a tenant reaches it, in whatever spelling it was given; a number taken away reaches nobody."""
    await tenants.put(acme(), actor=OPS)
    assert (await tenants.add_number("acme", "+1 800 555 0101", actor=OPS)).numbers == (FIRST, SECOND)
    assert SECOND in await tenants.for_calls([SECOND])
    assert (await tenants.remove_number("acme", SECOND, actor=OPS)).numbers == (FIRST,)
    assert await tenants.for_calls([SECOND]) == {}


async def test_a_number_has_one_owner(tenants: SqlTenantRepository) -> None:
    """A number of another tenant is refused with the owner's name, and nothing of the change is kept."""
    await tenants.put(acme(), actor=OPS)
    beta = await tenants.put(spec("beta"), actor=OPS)
    with pytest.raises(NumberTakenError, match=r"numbers: \+18005550100 belongs to 'acme'") as taken:
        await tenants.put(spec("beta", name="New", numbers=[FIRST, SECOND]), actor=OPS)
    assert taken.value.owners == {FIRST: "acme"}
    with pytest.raises(NumberTakenError):
        await tenants.add_number("beta", FIRST, actor=OPS)
    assert await tenants.by_id("beta") == beta


async def test_only_own_numbers_can_be_removed(tenants: SqlTenantRepository) -> None:
    """A number that a tenant does not have cannot be taken from it."""
    await tenants.put(acme(), actor=OPS)
    with pytest.raises(NumberNotFoundError, match=r"numbers: 'acme' has no number \+18005550101"):
        await tenants.remove_number("acme", SECOND, actor=OPS)


@pytest.mark.parametrize("number", ["8005550100", "alice", "+1800", "+142555512112"])
async def test_numbers_must_be_in_some_plan(tenants: SqlTenantRepository, number: str) -> None:
    """What no caller can dial is refused when it is given, with the field and the text."""
    await tenants.put(acme(), actor=OPS)
    with pytest.raises(InvalidFieldError, match=r"numbers\[0\]: '") as refused:
        await tenants.add_number("acme", number, actor=OPS)
    assert number in refused.value.problem


async def test_deleting_takes_all_but_the_audit(database: Database, tenants: SqlTenantRepository) -> None:
    """A deleted tenant leaves no number and no instructions behind; its history of changes stays."""
    await tenants.put(acme(), actor=OPS)
    await tenants.delete("acme", actor=OPS)
    assert await tenants.by_id("acme") is None
    async with database.reading() as session:
        for table in (NumberRow, InstructionsRow):
            assert (await session.execute(select(func.count()).select_from(table))).scalar_one() == 0
    assert [entry.action for entry in (await tenants.audit("acme")).entries] == ["deleted", "created"]


async def test_changing_nobody_says_so(tenants: SqlTenantRepository) -> None:
    """Every change of a tenant that does not exist names the id."""
    attempts = [
        tenants.set_enabled("nobody", False, actor=OPS),
        set_limit(tenants, "nobody", 1, actor=OPS),
        tenants.set_instructions("nobody", "x", actor=OPS),
        tenants.add_number("nobody", FIRST, actor=OPS),
        tenants.remove_number("nobody", FIRST, actor=OPS),
        tenants.delete("nobody", actor=OPS),
    ]
    for attempt in attempts:
        with pytest.raises(TenantNotFoundError, match="tenant_id: there is no tenant 'nobody'"):
            await attempt


@pytest.mark.parametrize("actor", ["", "  ", "x" * 201])
async def test_a_change_needs_an_actor(tenants: SqlTenantRepository, actor: str) -> None:
    """Nothing is changed in nobody's name."""
    with pytest.raises(InvalidFieldError, match="actor: must be 1 to 200 characters"):
        await tenants.put(acme(), actor=actor)
    assert await tenants.by_id("acme") is None


async def test_an_import_says_what_it_did(tenants: SqlTenantRepository) -> None:
    """An import creates, changes and leaves alone, and names which; done again it changes nothing."""
    await tenants.put(acme(), actor=OPS)
    await tenants.put(spec("beta", numbers=[SECOND]), actor=OPS)
    wanted = [acme(name="Acme Inc."), spec("beta", numbers=[SECOND]), spec("gamma", numbers=[THIRD])]
    assert await tenants.import_all(wanted, actor=OPS) == ImportResult(
        created=(TenantId("gamma"),), changed=(TenantId("acme"),), unchanged=(TenantId("beta"),)
    )
    again = await tenants.import_all(wanted, actor=OPS)
    assert (again.created, again.changed) == ((), ())
    assert await tenants.revision() == 3


async def test_an_import_can_move_numbers_around(tenants: SqlTenantRepository) -> None:
    """Tenants may exchange their numbers within one import."""
    await tenants.import_all([spec("a", numbers=[FIRST]), spec("b", numbers=[SECOND])], actor=OPS)
    await tenants.import_all([spec("a", numbers=[SECOND]), spec("b", numbers=[FIRST, THIRD])], actor=OPS)
    owners = await tenants.for_calls([FIRST, SECOND, THIRD])
    assert {number: owner.tenant_id for number, owner in owners.items()} == {FIRST: "b", SECOND: "a", THIRD: "b"}


async def test_an_import_with_a_taken_number_stores_nothing(tenants: SqlTenantRepository) -> None:
    """Every number that belongs to a tenant outside the import is listed with its row, and no entry is stored."""
    await tenants.put(acme(numbers=[FIRST, SECOND]), actor=OPS)
    wanted = [spec("new"), spec("b", numbers=[SECOND]), spec("c", numbers=[FIRST, THIRD])]
    with pytest.raises(ImportRefusedError) as refused:
        await tenants.import_all(wanted, actor=OPS)
    assert refused.value.problems == (
        ImportProblem(2, "numbers", f"{SECOND} belongs to 'acme'"),
        ImportProblem(3, "numbers", f"{FIRST} belongs to 'acme'"),
    )
    assert [tenant.tenant_id for tenant in (await tenants.page()).tenants] == ["acme"]
    assert await tenants.revision() == 1


async def test_an_import_that_contradicts_itself_stores_nothing(tenants: SqlTenantRepository) -> None:
    """A tenant stated twice and a number stated for two tenants are refused with the rows of both."""
    with pytest.raises(ImportRefusedError) as refused:
        await tenants.import_all([spec("a", numbers=[FIRST]), spec("b", numbers=[FIRST]), spec("a")], actor=OPS)
    assert [str(problem) for problem in refused.value.problems] == [
        "row 2: numbers: +18005550100 is in row 1 already",
        "row 3: tenant_id: a is in row 1 already",
    ]
    assert await tenants.revision() == 0


async def test_an_import_may_be_larger_than_a_statement(tenants: SqlTenantRepository) -> None:
    """More tenants than one statement can name are created, found and changed."""
    count = 2 * BATCH + 1
    wanted = [spec(f"t{n:05}", numbers=[f"+1800556{n:04}"], instructions=f"You are {n}.") for n in range(count)]
    assert len((await tenants.import_all(wanted, actor=OPS)).created) == count
    shorter = [spec(f"t{n:05}", numbers=[], instructions=None) for n in range(count)]
    assert len((await tenants.import_all(shorter, actor=OPS)).changed) == count
    page = await tenants.page(after=f"t{count - 3:05}", limit=10)
    assert [(tenant.numbers, tenant.instructions_version) for tenant in page.tenants] == [((), 2)] * 2


async def test_the_audit_grows_with_what_changes(tenants: SqlTenantRepository) -> None:
    """Of many numbers and features an entry has only those that were given up, gained, or have another value."""
    many = [f"+1800557{n:04}" for n in range(1000)]
    await tenants.put(acme(numbers=[*many, FIRST], features={"a": 1, "b": 2, "c": 3}), actor=OPS)
    await tenants.put(spec("acme", numbers=[*many, SECOND], features={"a": 1, "b": 5}), actor=OPS)
    latest = (await tenants.audit("acme")).entries[0]
    assert latest.before == {"numbers": [FIRST], "features": {"b": 2, "c": 3}}
    assert latest.after == {"numbers": [SECOND], "features": {"b": 5}}


async def test_a_change_that_fails_on_its_way_is_undone(database: Database, tenants: SqlTenantRepository) -> None:
    """When the database refuses the last step of a change, none of its steps remain."""
    before = await tenants.put(acme(), actor=OPS)
    async with database.writing() as session:
        await session.execute(text("DROP TABLE tenant_audit"))
    with pytest.raises(DBAPIError, match="tenant_audit"):
        await tenants.put(acme(name="New", numbers=[SECOND], instructions="New"), actor=OPS)
    assert await tenants.by_id("acme") == before
    assert await tenants.revision() == before.version
