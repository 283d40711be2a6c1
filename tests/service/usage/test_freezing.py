"""A closed period is sealed call by call; what changes afterwards shows as it is, and is billed once."""

import asyncio
import hashlib
import hmac
from dataclasses import replace

import pytest
from sqlalchemy import delete, text, update

from service.records.store import CALLS, RecordStore
from service.storage.database import Database
from service.usage import documents
from service.usage.documents import (
    DOCUMENTS,
    LINES,
    BilledCall,
    BilledSums,
    ChangedCall,
    DocumentFacts,
    seal,
    seal_of_old,
)
from service.usage.freezing import DifferencesChangedError, Examined, Freezer, FreezeRefusedError, NoSuchFreezeError
from service.usage.models import ANY_TENANT
from service.usage.period import Grouping, Period
from service.usage.report import UsageReader
from service.usage.rules import Agreed, Rounding, UnknownTenantError, agree
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import UNKNOWN_TENANT
from telemetry.testing import FakeClock
from tests.service.usage.ledger import Made, written

OCTOBER = Period.parse("2026-10-01", "2026-11-01", "Europe/Berlin")
ONE, OTHER = Made("2026-10-05T12:00:00+02:00", 10), Made("2026-10-06T12:00:00+02:00", 20, "globex")


@pytest.fixture
def clock() -> FakeClock:
    """A clock in 2027, after every call."""
    return FakeClock()


@pytest.fixture
def freezer(database: Database, clock: FakeClock) -> Freezer:
    """Freezes periods of the test's database."""
    return Freezer(database, clock)


async def frozen(freezer: Freezer, **options: object) -> int:
    """Freeze October and return its number."""
    document = await freezer.freeze(OCTOBER, actor="finance", **options)  # type: ignore[arg-type] # any option
    return document.facts.document_id


async def edit(database: Database, call_id: str, **values: object) -> None:
    """Change a call's record behind the service's back."""
    async with database.writing() as session:
        await session.execute(update(CALLS).where(CALLS.c.call_id == call_id).values(values))


def part(call_id: str, tenant_id: str, seconds: int, calls: int = 1) -> BilledCall:
    return BilledCall(call_id, tenant_id, calls, calls, seconds * 1000, seconds * 1000)


def differences(examined: Examined) -> list[BilledSums]:
    return [one.difference for one in examined.corrections]


def test_the_seal_is_what_its_description_says() -> None:
    """A known document's seal is the SHA-256 of the documented text, or its HMAC, whatever the order of lines."""
    facts = DocumentFacts(2, None, "acme", 1, 2, "UTC", 3, "ada", "d1")
    lines = [BilledSums("b", 1, 1, 5, 1000), BilledSums("a", 2, 0, 0, 0)]
    text_of_it = '"s1"\n[2, null, "acme", 1, 2, "UTC", 3, "ada", "d1"]\n["a", 2, 0, 0, 0]\n["b", 1, 1, 5, 1000]'
    assert seal("s1", facts, lines, None) == hashlib.sha256(text_of_it.encode()).hexdigest()
    assert seal("s1", facts, lines, b"key") == hmac.new(b"key", text_of_it.encode(), "sha256").hexdigest()


async def test_a_frozen_period_without_changes_has_no_corrections(database: Database, freezer: Freezer) -> None:
    """Looked at again, the seal is intact, the lines are the sums, and nothing differs."""
    calls = [Made("2026-10-05T12:00:00+02:00", 61, "acme"), Made("2026-10-31T23:59:59+01:00", 2, "b")]
    await written(database, [*calls, Made("2026-10-05T12:00:00+02:00", 0, UNKNOWN_TENANT, CallOutcome.REJECTED)])
    number = await frozen(freezer)
    examined = await freezer.examine(number)
    assert examined.lines == (BilledSums("acme", 1, 1, 61_000, 61_000), BilledSums("b", 1, 1, 1000, 1000))
    assert (examined.intact, examined.corrections, examined.changed_calls) == (True, (), 0)
    (listed,) = await freezer.freezes()
    assert (listed.document.facts.made_by, listed.intact, listed.adjustments) == ("finance", True, ())
    assert [call async for call in freezer.calls(number)] == [
        part("rtc_0", "acme", 61),
        BilledCall("rtc_1", "b", 1, 1, 1000, 1000),
    ]
    assert await UsageReader(database).covering(OCTOBER, None) == (number,)
    assert await UsageReader(database).covering(Period.parse("2026-11-02", "2026-11-03"), None) == ()


@pytest.mark.parametrize("by_start", [False, True])
async def test_frozen_lines_are_those_of_the_report(database: Database, freezer: Freezer, by_start: bool) -> None:
    """Whatever crosses the period's ends, the calls that are kept add up to what usage says, under every rule."""
    edges = (OCTOBER.start_ms, OCTOBER.end_ms)
    starts = [edge + shift for edge in edges for shift in (-90_000, -30_000, -1, 0, 1)]
    outcomes = (CallOutcome.HANGUP, CallOutcome.REJECTED)
    calls = [Made(start, length, "acme", how) for start in starts for length in (0, 30, 90.5) for how in outcomes]
    await written(database, [*calls, *(replace(call, tenant_id="globex") for call in calls)])
    await agree(database, Agreed("acme", 0, Rounding.parse("60/60", by_start=by_start)), actor="test", now_ms=0)
    lines = [line async for line in UsageReader(database).lines(OCTOBER, Grouping.parse("tenant", OCTOBER))]
    examined = await freezer.examine(await frozen(freezer))
    assert list(examined.lines) == [
        BilledSums(str(one.tenant_id), one.sums.calls, one.sums.answered, one.sums.duration_ms, one.sums.rounded_ms)
        for one in lines
    ]


async def test_each_change_shows_with_old_and_new(database: Database, freezer: Freezer, clock: FakeClock) -> None:
    """A late call, a longer one, one moved to another tenant, a deleted one: each by name, as it was and as it is."""
    await written(database, [ONE, OTHER, ONE, ONE])
    number = await frozen(freezer)
    await RecordStore(database, clock).write([Made("2026-10-07T12:00:00+02:00", 5).record(7).row()])
    await edit(database, "rtc_0", duration_ms=12_000)
    await edit(database, "rtc_1", tenant_id="acme")
    async with database.writing() as session:
        await session.execute(delete(CALLS).where(CALLS.c.call_id == "rtc_2"))
    examined = await freezer.examine(number)
    assert examined.calls == (
        ChangedCall("rtc_0", part("rtc_0", "acme", 10), part("rtc_0", "acme", 12)),
        ChangedCall("rtc_1", part("rtc_1", "globex", 20), part("rtc_1", "acme", 20)),
        ChangedCall("rtc_2", part("rtc_2", "acme", 10), None),
        ChangedCall("rtc_7", None, part("rtc_7", "acme", 5)),
    )
    assert differences(examined) == [
        BilledSums("acme", 1, 1, 17_000, 17_000),
        BilledSums("globex", -1, -1, -20_000, -20_000),
    ]
    assert examined.intact


async def test_changes_that_cancel_out_are_seen(database: Database, freezer: Freezer) -> None:
    """Two calls whose changes leave the sum as it was are both named."""
    await written(database, [ONE, ONE])
    number = await frozen(freezer)
    await edit(database, "rtc_0", duration_ms=8000)
    await edit(database, "rtc_1", duration_ms=12_000)
    examined = await freezer.examine(number)
    assert [call.call_id for call in examined.calls] == ["rtc_0", "rtc_1"]
    assert differences(examined) == [BilledSums("acme", 0, 0, 0, 0)]


async def test_a_change_that_was_undone_accuses_nobody(database: Database, freezer: Freezer) -> None:
    """A record written anew as it was is no difference, whenever it was written."""
    await written(database, [ONE, OTHER])
    number = await frozen(freezer)
    await edit(database, "rtc_0", duration_ms=8000, written_ms=2**42)
    await edit(database, "rtc_0", duration_ms=10_000)
    await edit(database, "rtc_1", duration_ms=1000)
    assert [call.call_id for call in (await freezer.examine(number)).calls] == ["rtc_1"]


async def test_a_new_rounding_shows_on_the_calls_it_changes(database: Database, freezer: Freezer) -> None:
    """A rule agreed afterwards for the past changes the rounded time of each call alone."""
    await written(database, [ONE])
    number = await frozen(freezer)
    await agree(database, Agreed(ANY_TENANT, 0, Rounding.parse("60/60")), actor="test", now_ms=0)
    examined = await freezer.examine(number)
    assert differences(examined) == [BilledSums("acme", 0, 0, 0, 50_000)]
    assert [call.now for call in examined.calls] == [BilledCall("rtc_0", "acme", 1, 1, 10_000, 60_000)]


async def test_a_settled_difference_is_billed_once(database: Database, freezer: Freezer) -> None:
    """An adjustment has a number, an author and the differences; after it nothing differs until something changes."""
    await written(database, [ONE, OTHER])
    number = await frozen(freezer)
    await edit(database, "rtc_0", duration_ms=12_000)
    seen = await freezer.examine(number)
    adjustment = await freezer.settle(number, actor="ada", accepts=lambda version: version == seen.version)
    assert adjustment.lines == (BilledSums("acme", 0, 0, 2000, 2000),)
    assert adjustment.document.facts.document_id > number
    examined = await freezer.examine(number)
    assert (examined.corrections, examined.adjustments, examined.intact) == ((), (adjustment,), True)
    with pytest.raises(FreezeRefusedError, match="Nothing differs"):
        await freezer.settle(number, actor="ada", accepts=lambda _: True)
    # Back to what was frozen first: that is a difference again, to what is billed now.
    async with database.writing() as session:
        await session.execute(delete(CALLS).where(CALLS.c.call_id == "rtc_0"))
    again = await freezer.examine(number)
    assert differences(again) == [BilledSums("acme", -1, -1, -12_000, -12_000)]
    second = await freezer.settle(number, actor="bob", accepts=lambda _: True)
    assert (await freezer.examine(number)).corrections == ()
    assert [call.call_id async for call in freezer.calls(number) if call.calls] == ["rtc_1"]
    (listed,) = await freezer.freezes()
    assert listed.adjustments == (adjustment.document.facts.document_id, second.document.facts.document_id)
    with pytest.raises(NoSuchFreezeError):
        await freezer.examine(second.document.facts.document_id)


async def test_only_what_was_seen_is_settled(database: Database, freezer: Freezer) -> None:
    """A change between looking and settling is not settled unseen, also if it leaves the sums as they were."""
    await written(database, [ONE, ONE])
    number = await frozen(freezer)
    await edit(database, "rtc_0", duration_ms=12_000)
    seen = await freezer.examine(number)
    await edit(database, "rtc_0", duration_ms=10_000)
    await edit(database, "rtc_1", duration_ms=12_000)
    with pytest.raises(DifferencesChangedError):
        await freezer.settle(number, actor="ada", accepts=lambda version: version == seen.version)
    assert (await freezer.examine(number)).adjustments == ()


@pytest.mark.parametrize("table", ["line", "call", "author", "removed call"])
async def test_an_edited_row_breaks_the_seal(database: Database, freezer: Freezer, table: str) -> None:
    """Whatever of a document is edited, it is not intact any more."""
    await written(database, [ONE, OTHER])
    number = await frozen(freezer)
    statement = {
        "line": update(LINES).values(duration_ms=9000),
        "call": update(documents.CALLS).values(duration_ms=9000),
        "author": update(DOCUMENTS).values(made_by="nobody"),
        "removed call": delete(documents.CALLS).where(documents.CALLS.c.call_id == "rtc_0"),
    }[table]
    async with database.writing() as session:
        await session.execute(statement)
    assert not (await freezer.examine(number)).intact
    # The list does not read every call.
    assert [one.intact for one in await freezer.freezes()] == [table.endswith("call")]


async def test_a_seal_computed_anew_breaks_the_next_one(database: Database, freezer: Freezer) -> None:
    """Seals are chained: an edited document with a fitting seal of its own leaves the one after it broken."""
    await written(database, [ONE])
    first = await frozen(freezer)
    second = await freezer.freeze(Period.parse("2026-11-01", "2026-12-01", "Europe/Berlin"), actor="finance")
    async with database.writing() as session:
        facts = replace((await documents.every(session))[0].facts, made_by="eve")
        lines = (await documents.lines_of(session))[first]
        forged = {"made_by": "eve", "checksum": seal("", facts, lines, None)}
        await session.execute(update(DOCUMENTS).where(DOCUMENTS.c.document_id == first).values(forged))
    assert (await freezer.examine(first)).intact
    assert not (await freezer.examine(second.facts.document_id)).intact


async def test_with_a_key_the_database_alone_seals_nothing(database: Database, clock: FakeClock) -> None:
    """A document sealed under a key is intact under it, and a seal computed without it is not."""
    await written(database, [ONE])
    keyed = Freezer(database, clock, key=b"of the bookkeeper")
    number = await frozen(keyed)
    assert (await keyed.examine(number)).intact
    assert not (await Freezer(database, clock).examine(number)).intact


async def test_numbers_are_not_given_twice(database: Database, freezer: Freezer) -> None:
    """A deleted document's number is gone for good, the highest one's too."""
    first = await frozen(freezer)
    async with database.writing() as session:
        await session.execute(delete(DOCUMENTS))
    assert await frozen(freezer) > first


async def test_what_is_not_closed_cannot_be_frozen(database: Database, freezer: Freezer) -> None:
    """A period that runs on and one with open calls are refused; the calls are named, a few of many."""
    with pytest.raises(FreezeRefusedError, match="not over"):
        await freezer.freeze(Period.parse("2026-12-01", "2030-01-01"), actor="finance")
    await written(database, [Made(ONE.start, 10, outcome=None)] * 7)
    with pytest.raises(FreezeRefusedError, match=r"still open: rtc_0, rtc_1, rtc_2, rtc_3, rtc_4 and 2 more\."):
        await frozen(freezer)
    await written(database, [OTHER], first=10)
    assert await frozen(freezer, tenant_id="globex")


async def test_an_overlap_or_a_gap_is_told_before_it_is_made(freezer: Freezer) -> None:
    """Months of two zones overlap or leave hours between them: both are told with the hours, a gap can be accepted."""
    number = await frozen(freezer)
    with pytest.raises(FreezeRefusedError, match=rf"Freeze {number} \(.*Europe/Berlin\) covers 24 hours of the period"):
        await freezer.freeze(Period.parse("2026-10-31", "2026-12-01", "Europe/Berlin"), actor="finance")
    november = Period.parse("2026-11-01", "2026-12-01", "UTC")
    with pytest.raises(FreezeRefusedError, match=rf"Freeze {number} \(.*\) ends 1 hours before the period"):
        await freezer.freeze(november, actor="finance")
    assert len(await freezer.freezes()) == 1
    await freezer.freeze(november, actor="finance", accept_gap=True)
    await freezer.freeze(Period.parse("2026-12-01", "2026-12-02", "UTC"), actor="finance")


async def test_tenants_freeze_apart(database: Database, freezer: Freezer) -> None:
    """One tenant's period leaves the others' open; all together cannot be frozen over it, nor an unknown one."""
    await written(database, [ONE, OTHER])
    acme = await freezer.examine(await frozen(freezer, tenant_id="acme"))
    assert [line.tenant_id for line in acme.lines] == ["acme"]
    assert await frozen(freezer, tenant_id="globex")
    for tenant_id in ("acme", None):
        with pytest.raises(FreezeRefusedError, match="covers 745 hours"):
            await frozen(freezer, tenant_id=tenant_id)
    with pytest.raises(UnknownTenantError):
        await frozen(freezer, tenant_id="acmee")
    assert len(await UsageReader(database).covering(OCTOBER, "acme")) == 1
    assert len(await UsageReader(database).covering(OCTOBER, None)) == 2


async def test_two_who_freeze_at_once_freeze_once(freezer: Freezer) -> None:
    """Of several requests for the same period one is granted."""
    requests = [freezer.freeze(OCTOBER, actor=f"clerk-{number}") for number in range(4)]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert sum(isinstance(answer, FreezeRefusedError) for answer in answers) == 3
    assert len(await freezer.freezes()) == 1


async def test_a_freeze_from_before_calls_were_kept(database: Database, freezer: Freezer) -> None:
    """It keeps its seal, shows differences by tenant without calls, and cannot be settled."""
    await written(database, [ONE])
    number = await frozen(freezer)
    async with database.writing() as session:
        facts = replace((await documents.every(session))[0].facts, calls_digest=None)
        old = seal_of_old(facts, (await documents.lines_of(session))[number])
        await session.execute(update(DOCUMENTS).values(calls_digest=None, checksum=old))
        await session.execute(text("DELETE FROM billing_calls"))
    assert ((await freezer.examine(number)).intact, (await freezer.examine(number)).corrections) == (True, ())
    await edit(database, "rtc_0", duration_ms=12_000)
    examined = await freezer.examine(number)
    assert differences(examined) == [BilledSums("acme", 0, 0, 2000, 2000)]
    assert (examined.calls, [one.intact for one in await freezer.freezes()]) == ((), [True])
    with pytest.raises(FreezeRefusedError, match="calls were not kept"):
        await freezer.settle(number, actor="ada", accepts=lambda _: True)


async def test_an_unknown_freeze_is_an_error(freezer: Freezer) -> None:
    """Nothing is found under a number that was never given."""
    with pytest.raises(NoSuchFreezeError):
        await freezer.examine(1)
    with pytest.raises(NoSuchFreezeError):
        await freezer.settle(1, actor="ada", accepts=lambda _: True)
    with pytest.raises(NoSuchFreezeError):
        await anext(freezer.calls(1))
