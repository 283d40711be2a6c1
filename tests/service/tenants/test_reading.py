"""Tenants read from real databases: as calls need them, in pages, by what people know of them, and their audit."""

import pytest

from service.storage.database import Database
from service.tenants.errors import (
    InvalidFieldError,
)
from service.tenants.models import InstructionsRow
from service.tenants.repository import MAX_PAGE
from service.tenants.sql import SqlTenantRepository
from service.tenants.tenant import (
    AuditAction,
    CallTenant,
    Sought,
    TenantSummary,
)
from telemetry.semconv.attributes import TenantId
from telemetry.testing import FakeClock
from tests.service.tenants.statements import FIRST, OPS, SECOND, THIRD, acme, moment, set_limit, spec


async def test_what_nobody_has_is_not_found(tenants: SqlTenantRepository) -> None:
    """Ids and numbers that nobody has are answered with nothing, not with an error."""
    assert await tenants.by_id("nobody") is None
    assert await tenants.for_calls([FIRST]) == {}
    assert await tenants.current_instructions(["nobody"]) == {}


async def test_a_call_learns_what_it_needs(tenants: SqlTenantRepository) -> None:
    """The lookup of a call has the tenant's state, limit, targets and features, disabled or not."""
    await tenants.put(acme(enabled=False, features={"capture_content": True}), actor=OPS)
    known = CallTenant(
        tenant_id=TenantId("acme"),
        name="Acme",
        enabled=False,
        max_concurrent_calls=10,
        transfer_targets={},
        features={"capture_content": True},
    )
    assert await tenants.for_calls([FIRST, SECOND]) == {FIRST: known}
    assert await tenants.current_instructions(["acme", "beta"]) == {"acme": "You are Ada."}


async def test_a_call_finds_its_tenant_when_instructions_cannot_be_read(
    database: Database, tenants: SqlTenantRepository
) -> None:
    """A fault in the instructions alone leaves the tenant's lookup working, so that the fallback rule can apply."""
    await tenants.put(acme(), actor=OPS)
    async with database.writing() as session:
        await (await session.connection()).run_sync(InstructionsRow.metadata.tables["tenant_instructions"].drop)
    assert FIRST in await tenants.for_calls([FIRST])


async def test_the_history_of_instructions_is_read_in_pages(tenants: SqlTenantRepository) -> None:
    """Paging goes over every version once, from the newest to the first, and then ends."""
    for number in range(5):
        await tenants.put(acme(instructions=f"You are number {number}."), actor=OPS)
    page = await tenants.instructions_history("acme", limit=2)
    seen = [entry.version for entry in page.versions]
    while page.next_before is not None:
        page = await tenants.instructions_history("acme", before=page.next_before, limit=2)
        seen += [entry.version for entry in page.versions]
    assert seen == [5, 4, 3, 2, 1]


async def test_pages_cover_every_tenant_once(tenants: SqlTenantRepository) -> None:
    """Paging through goes over all tenants in the order of their ids, byte by byte, and then ends."""
    names = sorted(["a", "a-b", "a_b", "ab", "0", "b", "b2", "b10"])
    await tenants.import_all([spec(name) for name in reversed(names)], actor=OPS)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await tenants.page(after=after, limit=3)
        seen += [tenant.tenant_id for tenant in page.tenants]
        after = page.next_after
    assert seen == names
    assert (await tenants.page(limit=len(names))).next_after is None


async def test_tenants_are_found_by_what_people_know_of_them(tenants: SqlTenantRepository) -> None:
    """Part of the id or of the name in any case, digits of a number however written, and the state find a tenant."""
    await tenants.put(acme(), actor=OPS)
    await tenants.put(spec("beta", name="100 % Beta_Test", numbers=[SECOND, THIRD], enabled=False), actor=OPS)
    expected = {
        Sought(): ["acme", "beta"],
        Sought("CM"): ["acme"],
        Sought("beta_test"): ["beta"],
        Sought("00 %"): ["beta"],
        Sought("_"): ["beta"],
        Sought("(800) 555-0100"): ["acme"],
        Sought("555"): ["acme", "beta"],
        Sought("gamma"): [],
        Sought(enabled=True): ["acme"],
        Sought("a", enabled=False): ["beta"],
    }
    for sought, ids in expected.items():
        assert [tenant.tenant_id for tenant in (await tenants.find(sought)).tenants] == ids, sought


async def test_a_summary_counts_what_can_be_long(tenants: SqlTenantRepository) -> None:
    """It has all of a tenant but its numbers, which are counted, and its instructions, whose version is named."""
    await tenants.put(acme(numbers=[FIRST, THIRD], features={"a": 1}), actor=OPS)
    whole = await tenants.set_instructions("acme", "New.", actor=OPS)
    bare = await tenants.put(spec("beta"), actor=OPS)
    assert (await tenants.find(Sought())).tenants == (
        TenantSummary(
            tenant_id=whole.tenant_id,
            name="Acme",
            enabled=True,
            max_concurrent_calls=10,
            numbers=2,
            instructions_version=2,
            features={"a": 1},
            version=whole.version,
            created_at=whole.created_at,
            updated_at=whole.updated_at,
        ),
        TenantSummary(
            tenant_id=bare.tenant_id,
            name="beta",
            enabled=True,
            max_concurrent_calls=None,
            numbers=0,
            instructions_version=0,
            features={},
            version=bare.version,
            created_at=bare.created_at,
            updated_at=bare.updated_at,
        ),
    )


async def test_what_is_found_comes_in_pages(tenants: SqlTenantRepository) -> None:
    """Paging through what is sought goes over it once, in the order of the ids, and then ends."""
    await tenants.import_all([spec(f"t{n}", name="even" if n % 2 == 0 else "odd") for n in range(9)], actor=OPS)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await tenants.find(Sought("even"), after=after, limit=2)
        seen += [tenant.tenant_id for tenant in page.tenants]
        after = page.next_after
    assert seen == ["t0", "t2", "t4", "t6", "t8"]


async def test_own_limits_are_read_together(tenants: SqlTenantRepository) -> None:
    """Tenants with a limit of their own are there with it, 0 among them; the others are left out."""
    for tenant_id, limit in (("a", 0), ("b", None), ("c", 7)):
        await tenants.put(spec(tenant_id, max_concurrent_calls=limit), actor=OPS)
    assert await tenants.own_limits() == {"a": 0, "c": 7}


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
async def test_pages_have_a_bounded_size(tenants: SqlTenantRepository, limit: int) -> None:
    """A page's size is refused when it is not between one and the maximum."""
    for answer in (
        tenants.page(limit=limit),
        tenants.find(Sought(), limit=limit),
        tenants.audit(limit=limit),
        tenants.instructions_history("a", limit=limit),
    ):
        with pytest.raises(InvalidFieldError, match="limit"):
            await answer


async def test_the_audit_shows_who_changed_what(tenants: SqlTenantRepository, clock: FakeClock) -> None:
    """Each change is kept with its author, its time and the changed fields before and after, the latest first."""
    await tenants.put(acme(), actor="ada")
    clock.advance(60)
    await set_limit(tenants, "acme", 3, actor="bob")
    await tenants.put(spec("beta"), actor="ada")
    latest, first = (await tenants.audit("acme")).entries
    assert (latest.actor, latest.action, latest.at) == ("bob", AuditAction.CHANGED, moment(clock))
    assert (latest.before, latest.after) == ({"max_concurrent_calls": 10}, {"max_concurrent_calls": 3})
    assert (first.actor, first.action, first.before) == ("ada", AuditAction.CREATED, {})
    assert first.after == {
        "name": "Acme",
        "enabled": True,
        "max_concurrent_calls": 10,
        "numbers": [FIRST],
        "instructions_version": 1,
        "transfer_targets": [],
        "features": {},
    }
    assert {entry.tenant_id for entry in (await tenants.audit()).entries} == {"acme", "beta"}


async def test_the_audit_is_read_in_pages(tenants: SqlTenantRepository) -> None:
    """Paging through the audit goes over every change once, from the latest to the first."""
    await tenants.put(acme(), actor=OPS)
    for limit in range(1, 6):
        await set_limit(tenants, "acme", limit, actor=OPS)
    seen: list[int] = []
    page = await tenants.audit("acme", limit=2)
    seen += [entry.entry_id for entry in page.entries]
    while page.next_before is not None:
        page = await tenants.audit("acme", before=page.next_before, limit=2)
        seen += [entry.entry_id for entry in page.entries]
    assert len(seen) == 6
    assert seen == sorted(seen, reverse=True)


async def test_the_audit_keeps_instructions_and_targets_out(tenants: SqlTenantRepository) -> None:
    """The audit has the version of instructions and the names of targets, never a text or somebody's number."""
    await tenants.put(acme(transfer_targets={"sales": "tel:+14155550123"}), actor=OPS)
    await tenants.put(spec("acme", transfer_targets={"sales": "tel:+14155550124"}), actor=OPS)
    await tenants.set_instructions("acme", "Call Eve at home.", actor=OPS)
    entries = (await tenants.audit()).entries
    assert "1415" not in str(entries)
    assert "Eve" not in str(entries)
    assert (entries[1].before, entries[1].after) == ({"transfer_targets": ["sales"]},) * 2
    assert (entries[0].before, entries[0].after) == ({"instructions_version": 1}, {"instructions_version": 2})
