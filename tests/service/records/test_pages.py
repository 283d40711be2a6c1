"""The history in pages: every call once, the latest first, whatever filters and wherever the pages are cut."""

import random

import pytest

from service.records.pages import CallPages, InvalidCursorError, Place, Wanted
from service.storage.database import Database
from telemetry.recent.record import CallOutcome
from tests.service.usage.ledger import Made, written

BEGIN = 1_790_000_000_000

OUTCOMES = [None, CallOutcome.HANGUP, CallOutcome.FAILED, CallOutcome.REJECTED]

WANTED = [
    Wanted(),
    Wanted(tenant_id="tenant-1"),
    Wanted(outcome=CallOutcome.FAILED),
    Wanted(tenant_id="tenant-0", outcome=CallOutcome.HANGUP),
    Wanted(since_ms=BEGIN + 20, until_ms=BEGIN + 60),
    Wanted(tenant_id="nobody"),
]


def _calls() -> list[Made]:
    chance = random.Random(3)  # noqa: S311 -- nobody is to be kept from guessing
    return [
        Made(BEGIN + chance.randrange(80), 1, f"tenant-{chance.randrange(3)}", chance.choice(OUTCOMES))
        for _ in range(200)
    ]


def _wanted(call: Made, wanted: Wanted) -> bool:
    return (
        wanted.tenant_id in (None, call.tenant_id)
        and wanted.outcome in (None, call.outcome)
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
            place = Place.read(page.next_place.write())
        expected = [(call.start_ms, f"rtc_{n}") for n, call in enumerate(calls) if _wanted(call, wanted)]
        assert seen == sorted(expected, reverse=True), wanted


@pytest.mark.parametrize("cursor", ["", "%", "bm8", "WzEsMl0", "W10", "WzEuNSwiYSJd", "eyJhIjoxfQ", "W251bGwsImEiXQ"])
def test_no_other_text_is_a_cursor(cursor: str) -> None:
    """What is not a place in the list is refused, not guessed at."""
    with pytest.raises(InvalidCursorError):
        Place.read(cursor)
