"""The comparison of what a process has counted with what is on record: it agrees, and finds whatever is planted."""

import pytest
from sqlalchemy import text

from service.reconciliation.call_findings import Finding
from service.reconciliation.ledgers import Ledger, State
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import EndReason, UnansweredReason
from tests.service.reconciliation.harness import ReconciliationHarness, figures, told

LOST = "DELETE FROM call_records WHERE call_id = :call_id"


async def test_a_process_agrees_with_its_records(harness: ReconciliationHarness) -> None:
    """With calls of every kind, over and running, nothing differs, and both sides say the same numbers."""
    harness.a_day()
    found = await harness.compared()
    assert (found.consistent, found.complete) == (True, True), (told(found), found.calls)
    for tenant in ("acme", "globex", "_unknown"):
        live, records = figures(found, "live", tenant), figures(found, "records", tenant)
        assert records == pytest.approx(live, abs=1e-4), tenant
    assert figures(found, "records", "acme") == pytest.approx(
        {
            "received": 12,
            "accepted": 5,
            "rejected_instructions_missing": 1,
            "rejected_carrier_error": 1,
            **{f"unanswered_{reason}": 1 for reason in UnansweredReason},
            "started": 4,
            "ended": 2,
            "failed": 1,
            "stale": 1,
            "minutes": (61.25 + 7) / 60,
            "active": 1,
        }
    )
    assert figures(found, "registry", "globex") == {"pending": 1}
    assert found.columns[Ledger.PROMETHEUS].state is State.NOT_CONFIGURED


async def test_a_lost_row_is_found_and_its_call_named(harness: ReconciliationHarness) -> None:
    """Without its row a call is missing in each of the records' numbers it was in, and the call is named."""
    harness.talked()
    harness.talked(call_id="rtc_lost")
    await harness.sql(LOST, call_id="rtc_lost")
    found = await harness.compared()
    assert not found.consistent
    assert {(tenant, field) for tenant, field, _ in told(found)} == {
        ("acme", field) for field in ("received", "accepted", "started", "ended", "minutes")
    }
    assert {field: values for _, field, values in told(found)}["ended"] == (2, 1)
    (call,) = found.calls
    assert (call.call_id, call.finding, call.process, call.records) == ("rtc_lost", Finding.NO_RECORD, "ended", None)


async def test_a_lost_row_of_a_running_call_is_found(harness: ReconciliationHarness) -> None:
    """A call that runs and is nowhere on record is named though it is not over."""
    harness.running(call_id="rtc_running")
    await harness.sql(LOST, call_id="rtc_running")
    found = await harness.compared()
    assert [(call.call_id, call.finding, call.process) for call in found.calls] == [
        ("rtc_running", Finding.NO_RECORD, "started")
    ]


async def test_a_doubled_counter_is_found(harness: ReconciliationHarness) -> None:
    """A call counted twice differs in the one number, and no call is blamed for it."""
    harness.talked()
    await harness.flushed()
    harness.count("voice.call.rejected", 1, "acme", voice_call_rejection_reason="capacity")
    found = await harness.compared()
    assert ("acme", "rejected_capacity", (1, 0)) in told(found)
    assert found.calls == ()


async def test_minutes_that_are_off_are_found(harness: ReconciliationHarness) -> None:
    """A tenth of a second that no record has is a difference; that records are rounded to milliseconds is none."""
    for seconds in (0.0004, 1.00049, 61.2506):
        harness.talked(seconds=seconds)
    assert (await harness.compared()).consistent
    harness.count("voice.call.time", 0.1, "acme")
    (difference,) = told(await harness.compared())
    assert difference[:2] == ("acme", "minutes")


async def test_a_tenant_in_one_ledger_alone_is_found(harness: ReconciliationHarness) -> None:
    """What only the counters or only the records know differs from nothing."""
    harness.talked()
    harness.count("voice.call.referred", 1, "counted only")
    await harness.sql("UPDATE call_records SET tenant_id = 'recorded-only' WHERE call_id = 'rtc_1'")
    found = await harness.compared()
    assert ("counted only", "referred", (1, 0)) in told(found)
    assert ("recorded-only", "ended", (0, 1)) in told(found)
    assert ("acme", "ended", (1, 0)) in told(found)
    assert [(call.call_id, call.finding) for call in found.calls] == [("rtc_1", Finding.OTHER_TENANT)]


async def test_a_row_the_process_never_had_is_found(harness: ReconciliationHarness) -> None:
    """A record under the process's name of a call it has never heard of is named, though the numbers agree."""
    harness.running(call_id="rtc_running")
    await harness.sql("UPDATE call_records SET call_id = 'rtc_ghost' WHERE call_id = 'rtc_running'")
    found = await harness.compared()
    named = {call.call_id: call.finding for call in found.calls}
    assert named == {"rtc_ghost": Finding.NOT_COUNTED, "rtc_running": Finding.NO_RECORD}


async def test_a_row_another_process_took_is_found(harness: ReconciliationHarness) -> None:
    """A call that another process took from a living one is named, with where its row is."""
    harness.running(call_id="rtc_taken")
    await harness.sql("UPDATE call_records SET instance_id = 'somebody else', claim = claim + 5000000")
    found = await harness.compared()
    assert [(call.call_id, call.finding) for call in found.calls] == [("rtc_taken", Finding.HELD_ELSEWHERE)]
    assert ("acme", "started", (1, 0)) in told(found)


async def test_an_end_that_did_not_reach_the_records_is_found(harness: ReconciliationHarness) -> None:
    """A row that still has a call as running that is over shows in the numbers and under the call's name."""
    harness.talked()
    await harness.sql("UPDATE call_records SET state = 'started', ended_ms = NULL, reason = NULL, outcome = NULL")
    found = await harness.compared()
    assert ("acme", "ended", (1, 0)) in told(found)
    assert [(call.finding, call.process, call.records) for call in found.calls] == [
        (Finding.OTHER_STATE, "ended", "started")
    ]


async def test_one_tenant_can_be_asked_about(harness: ReconciliationHarness) -> None:
    """Another tenant's trouble is none of this one's."""
    harness.talked()
    harness.talked("globex", call_id="rtc_lost")
    await harness.sql(LOST, call_id="rtc_lost")
    acme, globex = await harness.compared("acme"), await harness.compared("globex")
    assert acme.consistent
    assert set(acme.columns[Ledger.RECORDS].rows) == {"acme"}
    assert [call.call_id for call in globex.calls] == ["rtc_lost"]


async def test_records_on_their_way_are_no_difference(harness: ReconciliationHarness) -> None:
    """While the database refuses to be written to, what it has too little of is not held against it."""
    harness.talked()
    await harness.flushed()
    await harness.sql("ALTER TABLE call_records RENAME COLUMN first_audio_ms TO away")
    harness.talked()
    found = await harness.compared()
    assert found.columns[Ledger.RECORDS].state is State.BEHIND
    assert (found.consistent, found.complete) == (True, False), told(found)
    await _back(harness)
    assert (await harness.compared()).complete


async def test_too_much_on_record_is_found_even_then(harness: ReconciliationHarness) -> None:
    """A record of what was never counted differs, whatever else is on its way."""
    harness.talked()
    await harness.sql("UPDATE call_records SET referred_ms = received_ms")
    await harness.sql("ALTER TABLE call_records RENAME COLUMN first_audio_ms TO away")
    harness.talked()
    found = await harness.compared()
    assert [(tenant, field) for tenant, field, _ in told(found)] == [("acme", "referred")]
    await _back(harness)


async def test_a_database_that_does_not_answer_is_a_state_of_its_column(harness: ReconciliationHarness) -> None:
    """The other ledgers are compared all the same."""
    harness.talked()
    await harness.sql("ALTER TABLE call_records RENAME TO away")
    found = await harness.compared()
    assert found.columns[Ledger.RECORDS].state is State.UNREACHABLE
    assert (found.consistent, found.complete) == (True, False)
    assert figures(found, "live", "acme")["ended"] == 1
    async with harness.database.writing() as session:
        await session.execute(text("ALTER TABLE away RENAME TO call_records"))


async def test_calls_are_named_up_to_a_bound(harness: ReconciliationHarness) -> None:
    """However many are lost, the answer stays short and says how many it leaves out."""
    for _ in range(130):
        harness.talked(seconds=1)
    await harness.sql("DELETE FROM call_records")
    found = await harness.compared()
    assert (len(found.calls), found.calls_left_out) == (100, 30)


async def test_a_registry_that_leaks_is_found(harness: ReconciliationHarness) -> None:
    """What the live counters and the registry disagree about is listed with the rest."""
    harness.running()
    counter = harness.telemetry.meter.create_up_down_counter("voice.call.active", "{call}")
    counter.add(1, {"tenant.id": "acme"})
    harness.running()
    found = await harness.compared()
    assert ("acme", "active", (2, 3)) in told(found)


async def test_calls_taken_over_count_once_in_each_process(harness: ReconciliationHarness) -> None:
    """A call that another process began counts as taken over here, and its record in nobody's numbers twice."""
    harness.talked()
    since = harness.clock.now()
    call = harness.tracker.taken_over("rtc_begun_elsewhere", "acme", CallState.STARTED, at=since)
    await harness.flushed()
    harness.clock.advance(30)
    call.ended(EndReason.HANGUP)
    taken = """UPDATE call_records SET received_ms = received_ms - 60000, usage_from_ms = usage_from_ms - 60000,
        started_ms = started_ms - 60000, decided_ms = decided_ms - 60000, billed_ms = billed_ms + 60000,
        duration_ms = duration_ms + 60000, duration_source = 'resumed' WHERE call_id = 'rtc_begun_elsewhere'"""
    await harness.sql(taken)
    found = await harness.compared()
    assert found.consistent, told(found)
    live = figures(found, "live", "acme")
    assert (live["received"], live["started"], live["taken_over"], live["ended"]) == (1, 1, 1, 2)


async def _back(harness: ReconciliationHarness) -> None:
    async with harness.database.writing() as session:
        await session.execute(text("ALTER TABLE call_records RENAME COLUMN away TO first_audio_ms"))
