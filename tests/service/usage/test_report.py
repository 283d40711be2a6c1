"""Usage reports: the same as adding every call up by hand, in every zone, on both kinds of database."""

import random
from itertools import pairwise

import pytest

from service.storage.database import Database
from service.usage.models import ANY_TENANT
from service.usage.period import Grouping, Period
from service.usage.query import Sums
from service.usage.rules import Agreed, Rounding, Rules, agree
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import UNKNOWN_TENANT
from tests.service.usage.ledger import Made, added_up, keyed, read, written

GROUPINGS = ["tenant", "month", "day", "hour", "outcome", "tenant,day", "outcome,hour,tenant", "month,tenant"]

OUTCOMES = [
    None,
    CallOutcome.HANGUP,
    CallOutcome.FAILED,
    CallOutcome.REJECTED,
    CallOutcome.UNANSWERED,
    CallOutcome.ABANDONED,
]

# Each around a change of clocks: whole hours in autumn and spring, half an hour, none, and at midnight.
PERIODS = [
    ("2026-10-24", "2026-10-27", "Europe/Berlin"),
    ("2026-03-28T12:00:00", "2026-03-30T12:00:00", "America/New_York"),
    ("2026-04-04", "2026-04-06T01:30:00", "Australia/Lord_Howe"),
    ("2026-07-01", "2026-07-03", "Asia/Kathmandu"),
    ("2026-10-31", "2026-11-02", "America/Havana"),
]


def _calls(period: Period, seed: int) -> list[Made]:
    """Calls of all lengths and outcomes in the period and around it, many of them over its boundaries."""
    chance = random.Random(seed)  # noqa: S311 -- nobody is to be kept from guessing
    span = period.end_ms - period.start_ms
    starts = [period.start_ms + chance.randrange(-span // 4, span + span // 4) for _ in range(60)]
    return [
        Made(
            start_ms,
            chance.choice([0, 0.001, 7.5, 59.999, 3600, 10_000.25, 40_000]),
            f"tenant-{chance.randrange(4)}",
            chance.choice(OUTCOMES),
            # A clock that was set back or forward between the announcement and the start of a call.
            start_ms + chance.choice([0, -300, -5_000_000, 5_000_000, -10 * span, 10 * span]),
        )
        for start_ms in starts
    ]


def _agreed(period: Period) -> list[Agreed]:
    middle = (period.start_ms + period.end_ms) // 2
    return [
        Agreed("tenant-0", 0, Rounding.parse("60/60")),
        Agreed("tenant-0", middle, Rounding.parse("6/6")),
        Agreed("tenant-1", 0, Rounding.parse("60/60", by_start=True)),
        Agreed(ANY_TENANT, period.start_ms, Rounding.parse("30/6")),
        Agreed(ANY_TENANT, middle, Rounding.parse("30/6", by_start=True)),
    ]


@pytest.mark.parametrize("spelled", PERIODS, ids=lambda spelled: spelled[2])
@pytest.mark.parametrize("ruled", [False, True], ids=["per second", "with rules"])
async def test_a_report_is_what_adding_up_by_hand_gives(
    database: Database, spelled: tuple[str, str, str], ruled: bool
) -> None:
    """Every grouping gives each line of the brute-force sum and no other: calls, time and rounded time, exactly."""
    period = Period.parse(*spelled)
    calls = _calls(period, seed=len(spelled[2]))
    agreed = _agreed(period) if ruled else []
    await written(database, calls)
    for rule in agreed:
        await agree(database, rule, actor="test", now_ms=0)
    for tenant_id in (None, "tenant-0", "tenant-1", "tenant-2"):
        asked = [call for call in calls if tenant_id in (None, call.tenant_id)]
        for group_by in GROUPINGS:
            lines = await read(database, period, group_by, tenant_id)
            expected = added_up(asked, period, Grouping.parse(group_by, period), Rules.of(agreed))
            assert keyed(lines) == expected, (group_by, tenant_id)


@pytest.mark.parametrize("tenant_id", [None, "acme"])
async def test_a_period_has_its_first_moment_and_not_its_last(database: Database, tenant_id: str | None) -> None:
    """Calls that start or end just at a boundary belong to one side of it, filtered or not."""
    period = Period.parse("2026-11-01", "2026-11-02")
    calls = [
        Made(period.start_ms - 1000, 1),  # ends as the period begins
        Made(period.start_ms - 1000, 1.001),  # one millisecond of it reaches in
        Made(period.start_ms, 2),
        Made(period.start_ms, 0, outcome=CallOutcome.REJECTED),
        Made(period.end_ms - 3000, 3),  # ends as the period does
        Made(period.end_ms - 1, 4),
        Made(period.end_ms, 5),
        Made(period.end_ms, 0, outcome=CallOutcome.REJECTED),
    ]
    await written(database, calls)
    (line,) = await read(database, period, "tenant", tenant_id)
    # The surplus of the call that reaches in is counted here, where it ends; that of the one that runs on is not.
    assert line.sums == Sums(4, 3, 0, 1 + 2000 + 3000 + 1, 1 + 999 + 2000 + 3000 + 1, 2)


async def test_calls_that_reached_nobody_are_nobodys_to_pay(database: Database) -> None:
    """Calls to numbers without a tenant are in no line and no total."""
    period = Period.parse("2026-11-01", "2026-11-02")
    await written(database, [Made(period.start_ms, 0, UNKNOWN_TENANT, CallOutcome.REJECTED), Made(period.start_ms, 1)])
    assert [line.tenant_id for line in await read(database, period, "tenant")] == ["acme"]
    assert [line.sums.calls for line in await read(database, period, "outcome")] == [1]


async def test_a_call_across_midnight_is_split_to_the_millisecond(database: Database) -> None:
    """Its time falls into both days, the call into the first, and what rounding adds into the last."""
    await agree(database, Agreed(ANY_TENANT, 0, Rounding.parse("60/60")), actor="test", now_ms=0)
    await written(database, [Made("2026-11-01T23:59:50.400+01:00", 25.6)])
    period = Period.parse("2026-11-01", "2026-11-03", "Europe/Berlin")
    assert keyed(await read(database, period, "day")) == {
        ("2026-11-01", None, None, None): Sums(1, 1, 0, 9600, 9600, 1),
        ("2026-11-02", None, None, None): Sums(0, 0, 0, 16_000, 16_000 + 60_000 - 25_600, 1),
    }


async def test_a_call_by_start_is_not_split(database: Database) -> None:
    """Under a rule that goes by start, a call across midnight is billed whole on its first day, and never again."""
    await agree(database, Agreed(ANY_TENANT, 0, Rounding.parse("60/60", by_start=True)), actor="test", now_ms=0)
    await written(database, [Made("2026-11-01T23:59:50.400+01:00", 25.6)])
    period = Period.parse("2026-11-01", "2026-11-03", "Europe/Berlin")
    assert keyed(await read(database, period, "day")) == {
        ("2026-11-01", None, None, None): Sums(1, 1, 0, 25_600, 60_000)
    }
    assert await read(database, Period.parse("2026-11-02", "2026-11-03", "Europe/Berlin"), "day") == []


async def test_neighbouring_periods_add_up_to_the_whole(database: Database) -> None:
    """However a period is cut, the parts' sums are the whole's: nothing counts twice or not at all."""
    whole = Period.parse("2026-10-20", "2026-10-30", "Europe/Berlin")
    calls = _calls(whole, seed=9)
    await agree(database, Agreed(ANY_TENANT, 0, Rounding.parse("60/6")), actor="test", now_ms=0)
    await written(database, calls)
    cuts = ["2026-10-20", "2026-10-21T07:13:22.123", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    total = Sums()
    for start, end in pairwise([*cuts, "2026-10-30"]):
        for line in await read(database, Period.parse(start, end, "Europe/Berlin"), "tenant"):
            line.sums.split_calls = 0  # calls are split where the whole is cut
            total.add(line.sums)
    expected = Sums()
    for line in await read(database, whole, "tenant"):
        line.sums.split_calls = 0
        expected.add(line.sums)
    assert total == expected


async def test_a_report_without_calls_has_no_lines(database: Database) -> None:
    """A period in which nothing happened is empty, whatever the grouping."""
    for group_by in GROUPINGS:
        assert await read(database, Period.parse("2026-01-01", "2026-01-03"), group_by) == []


async def test_lines_name_the_rules_that_hold(database: Database) -> None:
    """A tenant's line names its rules in the order they hold; without tenants the line names all there are."""
    period = Period.parse("2026-11-01", "2026-12-01")
    await written(database, [Made(period.start_ms, 1, tenant) for tenant in ("acme", "globex")])
    for since, rule in ((0, "60/60"), (period.start_ms + 1, "6/6"), (period.end_ms, "60/1")):
        await agree(database, Agreed("acme", since, Rounding.parse(rule)), actor="test", now_ms=0)
    acme, globex = await read(database, period, "tenant")
    assert (acme.tenant_id, acme.rounding) == ("acme", ("per_started_minute", "6/6"))
    assert (globex.tenant_id, globex.rounding) == ("globex", ("per_second",))
    (together,) = await read(database, period, "day")
    assert together.rounding == ("per_second", "per_started_minute", "6/6")
