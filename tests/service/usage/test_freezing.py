"""A closed period is sealed; what changes in it afterwards shows, with the calls behind it."""

import asyncio

import pytest
from sqlalchemy import update

from service.records.store import CALLS, RecordStore
from service.storage.database import Database
from service.usage.freezing import (
    LINES,
    Freezer,
    FreezeRefusedError,
    FrozenLine,
    FrozenPeriod,
    NoSuchFreezeError,
    checksum,
)
from service.usage.models import ANY_TENANT
from service.usage.period import Period
from service.usage.rules import Agreed, Rounding, agree
from telemetry.testing import FakeClock
from tests.service.usage.ledger import Made, written

OCTOBER = Period.parse("2026-10-01", "2026-11-01", "Europe/Berlin")


@pytest.fixture
def clock() -> FakeClock:
    """A clock in 2027, after every call."""
    return FakeClock()


@pytest.fixture
def freezer(database: Database, clock: FakeClock) -> Freezer:
    """Freezes periods of the test's database."""
    return Freezer(database, clock)


def test_the_checksum_is_what_its_description_says() -> None:
    """The seal of a known period is the SHA-256 of the documented text, whatever the order of lines."""
    period = FrozenPeriod(1, 2, "UTC", 3)
    lines = [FrozenLine("b", 1, 1, 5, 1000), FrozenLine("a", 2, 0, 0, 0)]
    # printf '1 2 UTC 3\na 2 0 0 0\nb 1 1 5 1000\n' | sha256sum
    assert checksum(period, lines) == "422c31721ea981b58e3422e6377873a88095d8b9b2c4a02071cd4dd13b0bddb5"


async def test_a_frozen_period_without_changes_has_no_corrections(database: Database, freezer: Freezer) -> None:
    """Looked at again, the seal is intact, the lines are the sums, and nothing differs."""
    await written(database, [Made("2026-10-05T12:00:00+02:00", 61, "acme"), Made("2026-10-31T23:59:59+01:00", 2, "b")])
    freeze = await freezer.freeze(OCTOBER, actor="finance")
    examined = await freezer.examine(freeze.freeze_id)
    assert examined.lines == (FrozenLine("acme", 1, 1, 61_000, 61_000), FrozenLine("b", 1, 1, 1000, 1000))
    assert (examined.intact, examined.corrections) == (True, ())
    assert [f.frozen_by for f in await freezer.freezes()] == ["finance"]


async def test_a_late_record_shows_as_a_correction(database: Database, freezer: Freezer, clock: FakeClock) -> None:
    """A call that arrives after the freeze is named, with its tenant's sums before and after."""
    await written(database, [Made("2026-10-05T12:00:00+02:00", 10)])
    freeze = await freezer.freeze(OCTOBER, actor="finance")
    clock.advance(60)
    late = Made("2026-10-06T12:00:00+02:00", 5)
    await RecordStore(database, clock).write([late.record(7).row()])
    (correction,) = (await freezer.examine(freeze.freeze_id)).corrections
    assert (correction.frozen.duration_ms, correction.now.duration_ms) == (10_000, 15_000)
    assert (correction.tenant_id, correction.changed_calls, correction.call_ids) == ("acme", 1, ("rtc_7",))


async def test_a_new_rounding_shows_without_calls(database: Database, freezer: Freezer) -> None:
    """A rule agreed afterwards for the past changes the rounded sum alone, and no call is behind it."""
    await written(database, [Made("2026-10-05T12:00:00+02:00", 10)])
    freeze = await freezer.freeze(OCTOBER, actor="finance")
    await agree(database, Agreed(ANY_TENANT, 0, Rounding.parse("60/60")), actor="test", now_ms=0)
    (correction,) = (await freezer.examine(freeze.freeze_id)).corrections
    assert (correction.frozen.rounded_ms, correction.now.rounded_ms) == (10_000, 60_000)
    assert (correction.now.duration_ms, correction.call_ids) == (10_000, ())


async def test_sums_changed_by_hand_break_the_seal(database: Database, freezer: Freezer) -> None:
    """Whoever edits the kept sums cannot do it unseen."""
    await written(database, [Made("2026-10-05T12:00:00+02:00", 10)])
    freeze = await freezer.freeze(OCTOBER, actor="finance")
    async with database.writing() as session:
        await session.execute(update(LINES).values(duration_ms=9000))
    examined = await freezer.examine(freeze.freeze_id)
    assert not examined.intact
    assert len(examined.corrections) == 1


async def test_what_is_not_closed_cannot_be_frozen(database: Database, freezer: Freezer) -> None:
    """A period that runs on, one with an open call and one frozen in part are refused, each with its reason."""
    with pytest.raises(FreezeRefusedError, match="not over"):
        await freezer.freeze(Period.parse("2026-12-01", "2030-01-01"), actor="finance")
    await written(database, [Made("2026-10-05T12:00:00+02:00", 10, outcome=None)])
    with pytest.raises(FreezeRefusedError, match=r"1 calls .* still open"):
        await freezer.freeze(OCTOBER, actor="finance")
    async with database.writing() as session:
        await session.execute(update(CALLS).values(ended_ms=1, duration_ms=10_000, outcome="hangup"))
    freeze = await freezer.freeze(OCTOBER, actor="finance")
    with pytest.raises(FreezeRefusedError, match=f"Freeze {freeze.freeze_id} covers"):
        await freezer.freeze(Period.parse("2026-10-31", "2026-12-01"), actor="finance")


async def test_two_who_freeze_at_once_freeze_once(freezer: Freezer) -> None:
    """Of several requests for the same period one is granted."""
    asked = [freezer.freeze(OCTOBER, actor=f"clerk-{number}") for number in range(4)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(isinstance(answer, FreezeRefusedError) for answer in answers) == 3
    assert len(await freezer.freezes()) == 1


async def test_an_unknown_freeze_is_an_error(freezer: Freezer) -> None:
    """Nothing is found under a number that was never given."""
    with pytest.raises(NoSuchFreezeError):
        await freezer.examine(1)
