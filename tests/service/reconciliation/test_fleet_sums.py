"""The comparison of a fleet's sums with what is on record: all processes, since the fleet began to count."""

import pytest
from sqlalchemy import text

from service.reconciliation.call_findings import Finding
from service.reconciliation.ledgers import Ledger, State
from service.reconciliation.reconciliation import Reconciled
from tests.service.reconciliation.harness import FakeSums, ReconciliationHarness, figures, told

DAY_MS = 86_400_000


async def of_the_fleet(harness: ReconciliationHarness) -> Reconciled:
    harness.clock.advance(1)
    query = harness.comparison.since_fleet()
    assert query is not None
    return await harness.comparison.compare(query)


@pytest.fixture
def sums(harness: ReconciliationHarness) -> FakeSums:
    """The store of a fleet of one process."""
    return harness.in_a_fleet()


async def test_the_store_agrees_with_the_records(harness: ReconciliationHarness, sums: FakeSums) -> None:
    """With calls of every kind, over and running, both say the same."""
    assert sums.since_ms == harness.started_ms
    harness.a_day()
    found = await of_the_fleet(harness)
    assert found.columns[Ledger.STORE].state is State.COMPARED
    assert (found.consistent, found.complete) == (True, True), told(found)
    store, records = figures(found, "store", "acme"), figures(found, "records", "acme")
    assert {field: store[field] for field in records} == pytest.approx(records, abs=1e-4)


async def test_what_the_store_lacks_is_found(harness: ReconciliationHarness, sums: FakeSums) -> None:
    """By tenant, figure and amount."""
    harness.a_day()
    harness.talked("globex", call_id="rtc_unsent")
    sums.missing = {("globex", "ended_calls"): 1, ("globex", "minutes_processed"): 0.5}
    found = await of_the_fleet(harness)
    assert not found.consistent
    assert [(tenant, field) for tenant, field, _ in told(found)] == [("globex", "ended"), ("globex", "minutes")]
    assert told(found)[0][2] == (3, 2)


async def test_the_calls_of_a_killed_process_are_named(harness: ReconciliationHarness, sums: FakeSums) -> None:
    """What is on record of its last second it may not have sent; the column says when that was."""
    harness.talked(call_id="rtc_unsent")
    await harness.flushed()
    beat_ms = harness.now_ms
    async with harness.database.writing() as session:
        await session.execute(
            text("UPDATE instances SET last_beat_ms = :at, stopped_ms = NULL"), {"at": beat_ms - 60_000}
        )
    sums.missing = {("acme", "ended_calls"): 1}
    found = await of_the_fleet(harness)
    assert [(call.call_id, call.finding) for call in found.calls] == [("rtc_unsent", Finding.NOT_SENT)]
    assert (found.columns[Ledger.STORE].detail or "").startswith("A process was killed soon after 20")


async def test_a_store_that_cannot_be_read_is_said(harness: ReconciliationHarness, sums: FakeSums) -> None:
    """The other columns are compared all the same."""
    harness.a_day()
    sums.away = "The store of the fleet does not answer."
    found = await of_the_fleet(harness)
    assert (found.columns[Ledger.STORE].state, found.columns[Ledger.STORE].detail) == (State.UNREACHABLE, sums.away)
    assert (found.consistent, found.complete) == (True, False)


async def test_another_time_is_not_the_stores(harness: ReconciliationHarness, sums: FakeSums) -> None:
    """A window that begins later is compared without it, and said where to ask; so is the process alone."""
    harness.a_day()
    later = await harness.comparison.compare(harness.comparison.window(harness.now_ms - 1, harness.now_ms + DAY_MS))
    for found in (later, await harness.compared()):
        assert found.columns[Ledger.STORE].state is State.OTHER_WINDOW
        assert "scope=fleet" in (found.columns[Ledger.STORE].detail or "")
    assert sums.since_ms


async def test_without_a_fleet_there_is_nothing_to_ask(harness: ReconciliationHarness) -> None:
    """The column says that none is configured."""
    harness.a_day()
    assert harness.comparison.since_fleet() is None
    assert (await harness.compared()).columns[Ledger.STORE].state is State.NOT_CONFIGURED
