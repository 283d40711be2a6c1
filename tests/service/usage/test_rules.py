"""Rounding rules: the cost of a call under each, and the agreement on them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.storage.database import Database
from service.tenants.spec import TenantSpec
from service.tenants.sql import SqlTenantRepository
from service.usage.models import ANY_TENANT
from service.usage.rules import (
    PER_SECOND,
    Agreed,
    NoSuchRuleError,
    Rounding,
    RoundingError,
    RuleChangedError,
    UnknownTenantError,
    agree,
    read_changes,
    read_rules,
    withdraw,
)
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import UNKNOWN_TENANT
from tests.service.usage.ledger import Made, written

RULES = st.builds(
    lambda initial, step: Rounding(initial * 1000, step * 1000), st.integers(1, 7200), st.integers(1, 7200)
)
DURATIONS = st.integers(0, 20_000_000)


@pytest.mark.parametrize(
    ("rule", "duration_ms", "expected_ms"),
    [
        ("per_second", 1, 1000),
        ("per_second", 1000, 1000),
        ("per_second", 1001, 2000),
        ("per_started_minute", 1, 60_000),
        ("per_started_minute", 60_000, 60_000),
        ("per_started_minute", 60_001, 120_000),
        ("6/6", 5999, 6000),
        ("6/6", 6001, 12_000),
        ("60/60", 61_000, 120_000),
        ("60/1", 2000, 60_000),
        ("60/1", 60_500, 61_000),
        ("30/6", 31_000, 36_000),
    ],
)
def test_a_call_costs_its_first_interval_and_begun_steps(rule: str, duration_ms: int, expected_ms: int) -> None:
    """Each rule rounds a call as its name says."""
    assert Rounding.parse(rule).rounded(duration_ms) == expected_ms


@given(RULES, DURATIONS)
def test_rounding_never_takes_away_and_never_adds_a_whole_step(rule: Rounding, duration_ms: int) -> None:
    """The rounded length is at least the length, and by less than a step or the first interval more."""
    rounded = rule.rounded(duration_ms)
    assert duration_ms <= rounded < duration_ms + max(rule.initial_ms, rule.step_ms) or rounded == duration_ms == 0


@given(RULES, DURATIONS, DURATIONS)
def test_a_longer_call_never_costs_less(rule: Rounding, one: int, other: int) -> None:
    """Rounding keeps the order of lengths."""
    assert rule.rounded(min(one, other)) <= rule.rounded(max(one, other))


@given(RULES, DURATIONS)
def test_what_is_rounded_stays_as_it_is(rule: Rounding, duration_ms: int) -> None:
    """Rounding a rounded length changes nothing."""
    rounded = rule.rounded(duration_ms)
    assert rule.rounded(rounded) == rounded


@given(RULES)
def test_a_rule_reads_as_it_is_written(rule: Rounding) -> None:
    """A rule's name, read again, is the same rule; where calls count is told beside it."""
    assert Rounding.parse(str(rule)) == rule
    by_start = Rounding.parse(rule.intervals, by_start=True)
    assert str(by_start) == f"{rule.intervals} by start"


def test_started_minutes_are_sixty_sixty() -> None:
    """The two names for whole minutes mean the same rule, and so do those for whole seconds."""
    assert Rounding.parse("60/60") == Rounding.parse("per_started_minute")
    assert Rounding.parse("1/1") == PER_SECOND


@pytest.mark.parametrize("text", ["", "6", "6/", "0/6", "6/0", "6/6/6", "-6/6", "6.5/6", "100000/1", "per_hour"])
def test_what_is_no_rule_is_refused_with_what_is_one(text: str) -> None:
    """The error says which forms there are."""
    with pytest.raises(RoundingError, match="per_started_minute, or INITIAL/STEP"):
        Rounding.parse(text)


ACME = TenantSpec.model_validate({"tenant_id": "acme"})


@pytest.fixture
async def known(database: Database) -> Database:
    """A database with the tenant ``acme``."""
    await SqlTenantRepository(database).put(ACME, actor="test")
    return database


async def in_force(database: Database) -> list[tuple[str, str, str]]:
    async with database.reading() as session:
        rules = await read_rules(session)
    return [(name, str(one.rounding), one.set_by) for name, of in rules.of_tenant.items() for one in of]


async def history(database: Database) -> list[tuple[str, str, str]]:
    async with database.reading() as session:
        return [(one.actor, str(one.before), str(one.after)) for one in await read_changes(session, "acme")]


async def test_every_change_of_a_rule_keeps_its_author(known: Database) -> None:
    """Agreed, replaced and withdrawn: what holds is the last, and the history has each with who and what."""
    first = await agree(known, Agreed("acme", 5, Rounding.parse("6/6")), actor="ada", now_ms=10)
    by_start = Rounding.parse("60/60", by_start=True)
    second = await agree(known, Agreed("acme", 5, by_start), actor="bob", now_ms=20, based_on=first)
    assert await in_force(known) == [("acme", "per_started_minute by start", "bob")]
    await withdraw(known, "acme", 5, actor="cleo", now_ms=30, based_on=second)
    assert await in_force(known) == []
    assert await history(known) == [
        ("cleo", "per_started_minute by start", "None"),
        ("bob", "6/6", "per_started_minute by start"),
        ("ada", "None", "6/6"),
    ]


async def test_a_rule_is_replaced_only_by_who_knows_it(known: Database) -> None:
    """Without the version, with an old one, or where none must be, a replacement is refused and changes nothing."""
    version = await agree(known, Agreed("acme", 5, Rounding.parse("6/6")), actor="ada", now_ms=10)
    other = Agreed("acme", 5, PER_SECOND)
    for refused in ({}, {"based_on": version + 1}, {"based_on": version, "new": True}):
        with pytest.raises(RuleChangedError) as changed:
            await agree(known, other, actor="eve", now_ms=20, **refused)  # type: ignore[arg-type] # two kinds of value
        assert (changed.value.version, changed.value.demanded) == (version, bool(refused))
    with pytest.raises(RuleChangedError):
        await withdraw(known, "acme", 5, actor="eve", now_ms=20, based_on=None)
    assert await in_force(known) == [("acme", "6/6", "ada")]


async def test_the_same_rule_again_changes_nothing(known: Database) -> None:
    """A repeated request is harmless: no version, no author, no history."""
    agreed = Agreed("acme", 5, Rounding.parse("6/6"))
    version = await agree(known, agreed, actor="ada", now_ms=10)
    assert await agree(known, agreed, actor="bob", now_ms=20) == version
    assert await in_force(known) == [("acme", "6/6", "ada")]
    assert len(await history(known)) == 1


async def test_one_of_two_at_once_is_told(known: Database) -> None:
    """Of replacements based on the same version one is made."""
    version = await agree(known, Agreed("acme", 5, Rounding.parse("6/6")), actor="ada", now_ms=10)
    changes = [
        agree(known, Agreed("acme", 5, Rounding.parse(f"{n}/1")), actor="x", now_ms=20, based_on=version)
        for n in range(2, 8)
    ]
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(answer, RuleChangedError) for answer in answers) == 5


async def test_a_typo_agrees_with_nobody(known: Database) -> None:
    """No rule for an id that neither a tenant nor a call has, nor for calls that reached nobody; ``*`` is everybody."""
    await written(known, [Made(1000, 1, "gone"), Made(1000, 0, UNKNOWN_TENANT, CallOutcome.REJECTED)])
    for tenant_id in ("acmee", UNKNOWN_TENANT):
        with pytest.raises(UnknownTenantError, match=tenant_id):
            await agree(known, Agreed(tenant_id, 0, PER_SECOND), actor="x", now_ms=0)
    for tenant_id in ("gone", ANY_TENANT):
        await agree(known, Agreed(tenant_id, 0, PER_SECOND), actor="x", now_ms=0)
    with pytest.raises(NoSuchRuleError):
        await withdraw(known, "acme", 7, actor="x", now_ms=0, based_on=0)
