"""The history in pages: every call once, the latest first, whatever filters and wherever the pages are cut."""

import random

import pytest
from sqlalchemy import text

from service.records.store import CALLS, CallPages, Place, Wanted
from service.storage.database import Database
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import DIRECT_SOURCE, CallDirection, Fault, RejectionReason, UnansweredReason
from tests.service.usage.ledger import Made, written

BEGIN = 1_790_000_000_000

OUTCOMES = [None, CallOutcome.HANGUP, CallOutcome.FAILED, CallOutcome.REJECTED, CallOutcome.UNANSWERED]

WANTED = [
    Wanted(),
    Wanted(tenant_id="tenant-1"),
    Wanted(outcome=CallOutcome.FAILED),
    Wanted(tenant_id="tenant-0", outcome=CallOutcome.HANGUP),
    Wanted(since_ms=BEGIN + 20, until_ms=BEGIN + 60),
    Wanted(tenant_id="nobody"),
    Wanted(reason=UnansweredReason.CANCELED),
    Wanted(tenant_id="tenant-2", reason=RejectionReason.CAPACITY),
    Wanted(fault=Fault.MODEL),
    Wanted(direction=CallDirection.OUTBOUND),
    Wanted(direction=CallDirection.INBOUND, source="direct"),
    Wanted(source="trunk-9", since_ms=BEGIN + 20),
    Wanted(source="trunk-9", direction=CallDirection.OUTBOUND, outcome=CallOutcome.FAILED),
]


def _calls() -> list[Made]:
    chance = random.Random(3)  # noqa: S311 -- nobody is to be kept from guessing
    return [
        Made(
            BEGIN + chance.randrange(80),
            1,
            f"tenant-{chance.randrange(3)}",
            chance.choice(OUTCOMES),
            direction=chance.choice(list(CallDirection)),
            source=chance.choice([DIRECT_SOURCE, "trunk-9"]),
            fault=chance.choice([None, Fault.MODEL, Fault.CARRIER]),
        )
        for _ in range(200)
    ]


def _wanted(call: Made, wanted: Wanted) -> bool:
    return (
        wanted.tenant_id in (None, call.tenant_id)
        and wanted.outcome in (None, call.outcome)
        and (wanted.reason is None or wanted.reason.value == call.reason)
        and wanted.fault in (None, call.fault)
        and wanted.direction in (None, call.direction)
        and wanted.source in (None, call.source)
        and (wanted.since_ms is None or call.start_ms >= wanted.since_ms)
        and (wanted.until_ms is None or call.start_ms < wanted.until_ms)
    )


@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_pages_have_every_wanted_call_once_in_order(database: Database, limit: int) -> None:
    """However the pages are cut, and though many calls came in the same millisecond, none is missing or doubled."""
    calls = _calls()
    await written(database, calls)
    pages = CallPages(database)
    for wanted in WANTED:
        seen: list[tuple[int, str]] = []
        place: Place | None = None
        while True:
            page = await pages.read(wanted, limit=limit, after=place)
            assert len(page.calls) <= limit
            seen += [(record.received_ms, str(record.call_id)) for record in page.calls]
            if page.next_place is None:
                break
            place = page.next_place
        expected = [(call.start_ms, f"rtc_{n}") for n, call in enumerate(calls) if _wanted(call, wanted)]
        assert seen == sorted(expected, reverse=True), wanted


async def test_a_row_that_cannot_be_read_takes_no_other_with_it(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out and logged by the call's id; the pages before and after it are whole."""
    await written(database, [Made(BEGIN + n, 1, "acme", CallOutcome.HANGUP) for n in range(5)])
    async with database.writing() as session:
        await session.execute(CALLS.update().where(CALLS.c.call_id == "rtc_2").values(state="unheard of"))
    pages = CallPages(database)
    first = await pages.read(Wanted(), limit=3)
    assert [record.call_id for record in first.calls] == ["rtc_4", "rtc_3"]
    rest = await pages.read(Wanted(), limit=3, after=first.next_place)
    assert [record.call_id for record in rest.calls] == ["rtc_1", "rtc_0"]
    assert "rtc_2" in caplog.text


async def test_a_count_that_is_no_whole_number_is_unknown(sqlite_url: str) -> None:
    """SQLite keeps any value in any column: one that is no count is shown as not known."""
    async with Database.from_url(sqlite_url) as database:
        await written(database, [Made(BEGIN, 1, "acme", CallOutcome.HANGUP)])
        async with database.writing() as session:
            await session.execute(
                text("UPDATE call_records SET input_tokens = 1.5, output_tokens = 9e999, turns = 'x'")
            )
        (record,) = (await CallPages(database).read(Wanted(), limit=1)).calls
    assert (record.input_tokens, record.output_tokens, record.turns) == (None, None, None)
