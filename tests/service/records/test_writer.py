"""What a call's row says at each point of its path, on both kinds of database."""

import pytest

from service.records.calls import RecordsState
from service.records.record import TALK_COLUMNS, Row
from service.records.writer import Durability
from telemetry.calls.call import Call
from telemetry.calls.events import TokenUsage
from telemetry.semconv.attributes import (
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    UnansweredReason,
)
from telemetry.testing import FakeClock
from tests.service.records.harness import BUDGET, CALLER, DIALLED, RecordsHarness

START_MS = FakeClock().now().unix_ms


async def test_a_completed_call_leaves_one_row_with_all_its_phases(harness: RecordsHarness) -> None:
    """Each phase's moment, the exact duration, reason, tokens and masked numbers stand in one row."""
    keeper = await harness.keeper()
    call = keeper.call()
    harness.clock.advance(0.25)
    call.accepted()
    harness.clock.advance(0.5)
    call.started()
    harness.clock.advance(1)
    call.agent_started_speaking()
    call.tokens_used(TokenUsage(input=100, output=20, cached_input=10), "gpt-realtime")
    call.tokens_used(TokenUsage(input=50, output=5), "gpt-realtime")
    harness.clock.advance(58.9994)
    call.ended(EndReason.HANGUP)
    await keeper.flushed()
    row = await harness.row()
    assert (row["state"], row["outcome"], row["reason"], row["error_type"]) == ("ended", "hangup", "hangup", None)
    assert row["received_ms"] == START_MS
    assert row["decided_ms"] == START_MS + 250
    assert row["started_ms"] == row["usage_from_ms"] == START_MS + 750
    assert row["first_audio_ms"] == START_MS + 1750
    assert row["duration_ms"] == row["billed_ms"] == 59_999
    assert row["ended_ms"] == row["last_seen_ms"] == START_MS + 750 + 59_999
    assert (row["duration_basis"], row["duration_source"]) == ("started", "measured")
    assert (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"]) == (150, 25, 10)
    assert row["input_audio_tokens"] is None
    assert row["caller_masked"] == "…6789"
    assert row["dialled_masked"] == "…0100"
    assert row["caller_hash"]
    assert row["caller_hash"] != row["dialled_hash"]
    assert not {CALLER, DIALLED} & {str(value) for value in row.values()}


async def test_a_row_follows_the_call_as_it_moves(harness: RecordsHarness) -> None:
    """Pending, accepted and started are each to be seen while they last."""
    keeper = await harness.keeper()
    call = keeper.call()
    seen = []
    for step in (call.accepted, call.started, call.referred):
        await keeper.flushed()
        seen.append((await harness.row())["state"])
        step()
    assert seen == ["pending", "accepted", "started"]
    await keeper.flushed()
    assert (await harness.row())["referred_ms"] == START_MS


async def test_billed_time_grows_with_heartbeats(harness: RecordsHarness) -> None:
    """Each heartbeat moves the time billed and the last activity, and neither end nor duration is set."""
    keeper = await harness.keeper()
    call = keeper.running()
    billed = []
    for _ in range(3):
        harness.clock.advance(5)
        call.heartbeat()
        await keeper.flushed()
        row = await harness.row()
        billed.append((row["billed_ms"], row["last_seen_ms"] - START_MS, row["duration_ms"], row["ended_ms"]))
    assert billed == [(5000, 5000, None, None), (10_000, 10_000, None, None), (15_000, 15_000, None, None)]


async def test_turned_away_abandoned_and_failed_calls_say_so(harness: RecordsHarness) -> None:
    """Outcome and reason tell a rejected call from an abandoned one and a failed one."""
    keeper = await harness.keeper()
    keeper.call("rtc_rejected").rejected(RejectionReason.CAPACITY)
    abandoned = keeper.call("rtc_abandoned")
    abandoned.accepted()
    abandoned.abandoned(EndReason.ERROR, error_type="404")
    keeper.running("rtc_failed").ended(EndReason.ERROR, error_type="session_expired")
    await keeper.flushed()
    rows = await harness.rows()
    assert {i: (r["outcome"], r["reason"], r["error_type"], r["duration_ms"]) for i, r in rows.items()} == {
        "rtc_rejected": ("rejected", "capacity", None, None),
        "rtc_abandoned": ("abandoned", "error", "404", None),
        "rtc_failed": ("failed", "error", "session_expired", 0),
    }


@pytest.mark.parametrize("reason", UnansweredReason)
async def test_a_call_that_nobody_answered_says_why(harness: RecordsHarness, reason: UnansweredReason) -> None:
    """Each reason is on record with the moment the other side gave up; the call neither started nor took time."""
    keeper = await harness.keeper()
    call = keeper.call()
    harness.clock.advance(3)
    call.unanswered(reason)
    await keeper.flushed()
    row = await harness.row()
    assert (row["state"], row["outcome"], row["reason"]) == ("unanswered", "unanswered", reason.value)
    assert row["decided_ms"] == row["ended_ms"] == START_MS + 3000
    assert (row["started_ms"], row["duration_ms"], row["billed_ms"]) == (None, None, 0)


async def test_where_a_call_came_from_and_whose_fault_its_end_was_are_on_record(harness: RecordsHarness) -> None:
    """Direction, source and fault stand in the row; of a call that nobody is to blame for the fault is null."""
    keeper = await harness.keeper()
    for call_id, fault in (("rtc_1", Fault.MODEL), ("rtc_2", None)):
        call = keeper.tracker.received(call_id, "acme", direction=CallDirection.OUTBOUND, source="trunk-9")
        call.accepted()
        call.started()
        call.ended(EndReason.ERROR, error_type="server_error", fault=fault)
    keeper.running("rtc_3").ended(EndReason.HANGUP)
    await keeper.flushed()
    rows = await harness.rows()
    assert {call_id: (row["direction"], row["source"], row["fault"]) for call_id, row in rows.items()} == {
        "rtc_1": ("outbound", "trunk-9", "model"),
        "rtc_2": ("outbound", "trunk-9", None),
        "rtc_3": ("inbound", "direct", None),
    }


async def test_a_name_that_no_column_takes_is_cut_to_what_it_takes(harness: RecordsHarness) -> None:
    """A source's name that is too long, or has what no text column takes, costs no call its record."""
    keeper = await harness.keeper()
    keeper.tracker.received("rtc_1", "acme", source="\x00\ud800" + "x" * 100).rejected(RejectionReason.CAPACITY)
    await keeper.flushed()
    assert (await harness.row())["source"] == "??" + "x" * 62


async def test_what_was_observed_of_a_conversation_is_on_record(harness: RecordsHarness) -> None:
    """Talk, talk-over, dead air and the agent's interruptions are those the call's events add up to."""
    keeper = await harness.keeper()
    call = keeper.running()
    _converse(call, harness.clock)
    call.ended(EndReason.HANGUP)
    await keeper.flushed()
    assert _measures(await harness.row()) == {
        "conversation_ms": 16_500,
        "caller_talk_ms": 4_000,
        "agent_talk_ms": 5_500,
        "talk_over_ms": 1_000,
        "dead_air_ms": 8_000,
        "dead_airs": 2,
        "agent_interruptions": 1,
    }


async def test_a_call_without_speech_has_no_measures_of_it(harness: RecordsHarness) -> None:
    """What nobody reported is null and not zero."""
    keeper = await harness.keeper()
    call = keeper.running()
    harness.clock.advance(60)
    call.ended(EndReason.HANGUP)
    await keeper.flushed()
    assert set(_measures(await harness.row()).values()) == {None}


async def test_a_running_call_shows_its_conversation_with_each_heartbeat(harness: RecordsHarness) -> None:
    """Speech alone writes nothing; the next heartbeat brings what was observed so far."""
    keeper = await harness.keeper()
    call = keeper.running()
    call.agent_started_speaking()
    harness.clock.advance(2)
    await keeper.flushed()
    call.agent_stopped_speaking()
    assert keeper.records.health().waiting == 0
    call.heartbeat()
    await keeper.flushed()
    row = await harness.row()
    assert (row["agent_talk_ms"], row["conversation_ms"], row["ended_ms"]) == (2000, 2000, None)


async def test_a_conversation_goes_on_where_another_process_left_it(harness: RecordsHarness) -> None:
    """The sums of the process before and of the one that took the call over stand together in the row."""
    first = await harness.keeper("first")
    call = first.running()
    _converse(call, harness.clock)
    call.heartbeat()
    await first.records.hand_over(BUDGET)
    await first.die()
    second = await harness.keeper("second")
    (orphan,) = await second.records.recover()
    resumed = second.tracker.taken_over(
        orphan.call_id, orphan.tenant_id, orphan.state, direction=orphan.direction, source=orphan.source
    )
    _converse(resumed, harness.clock)
    resumed.ended(EndReason.HANGUP)
    await second.flushed()
    measures = _measures(await harness.row())
    assert measures["caller_talk_ms"] == 8_000
    assert measures["agent_talk_ms"] == 11_000
    assert (measures["dead_airs"], measures["agent_interruptions"]) == (4 - 1, 2)  # the first one's last was not over
    # What the first observed ends with its last speech: it was gone before the silence after it was over.
    assert measures["conversation_ms"] == 12_500 + 16_500


def _converse(call: Call, clock: FakeClock) -> None:
    """Let the agent greet, fall silent for 4 s, break in on the caller, and let a silence of 4 s begin."""
    call.agent_started_speaking()
    clock.advance(2)
    call.agent_stopped_speaking()
    clock.advance(4)
    call.caller_started_speaking()
    clock.advance(3)
    call.agent_started_speaking()
    clock.advance(1)
    call.caller_stopped_speaking()
    clock.advance(2.5)
    call.agent_stopped_speaking()
    clock.advance(4)


def _measures(row: Row) -> Row:
    return {name: row[name] for name in TALK_COLUMNS}


async def test_a_swept_call_is_billed_to_its_last_sign_of_life(harness: RecordsHarness) -> None:
    """A call that fell silent ends where it was last seen, and its duration says what it rests on."""
    keeper = await harness.keeper()
    call = keeper.running()
    harness.clock.advance(30)
    call.heartbeat()
    harness.clock.advance(500)
    keeper.tracker.sweep(120)
    await keeper.flushed()
    row = await harness.row()
    assert (row["reason"], row["duration_ms"], row["duration_source"]) == ("stale", 30_000, "last_sign_of_life")
    assert row["ended_ms"] == row["last_seen_ms"] == START_MS + 30_000


async def test_no_reported_end_lies_before_what_came_before_it(harness: RecordsHarness) -> None:
    """A source that dates the end before the first audio leaves a record in which the end is the last moment."""
    keeper = await harness.keeper()
    call = keeper.running()
    began = harness.clock.now()
    harness.clock.advance(3)
    call.agent_started_speaking()
    call.ended(EndReason.HANGUP, at=began)
    await keeper.flushed()
    row = await harness.row()
    assert row["ended_ms"] == row["first_audio_ms"] == START_MS + 3000


async def test_many_calls_at_once_are_each_written_once(harness: RecordsHarness) -> None:
    """More calls than one batch holds all arrive, with their own times."""
    keeper = await harness.keeper()
    calls = [keeper.running(f"rtc_{number}", f"tenant-{number % 7}") for number in range(1700)]
    for number, call in enumerate(calls):
        harness.clock.advance(0.001)
        if number % 2:
            call.ended(EndReason.COMPLETED)
    await keeper.flushed()
    rows = await harness.rows()
    assert len(rows) == 1700
    assert sum(row["ended_ms"] is None for row in rows.values()) == 850
    assert all(rows[f"rtc_{n}"]["duration_ms"] == n + 1 for n in range(1, 1700, 2))


async def test_a_call_can_wait_for_its_row(harness: RecordsHarness) -> None:
    """Once `ensure_written` answers `database`, another process finds the row."""
    keeper = await harness.keeper()
    keeper.call()
    assert await keeper.records.ensure_written(CallId("rtc_1"), BUDGET) is Durability.DATABASE
    found = await (await harness.keeper("two")).records.find(CallId("rtc_1"))
    assert found is not None
    assert found.state == "pending"
    assert await keeper.records.find(CallId("rtc_2")) is None


async def test_a_healthy_keeper_says_so(harness: RecordsHarness) -> None:
    """With everything written nothing waits, nothing is spilled and nothing was refused."""
    keeper = await harness.keeper()
    keeper.running()
    await keeper.flushed()
    health = keeper.records.health()
    assert (health.state, health.open, health.waiting) == (RecordsState.WRITING, 1, 0)
    assert (health.spilled_bytes, health.refused, health.database_away_seconds, health.last_error) == (0, 0, None, None)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 4000])
async def test_odd_error_types_do_not_hold_up_the_batch(harness: RecordsHarness, text: str) -> None:
    """An error type no database takes as it is does no harm to its own call or to others."""
    keeper = await harness.keeper()
    keeper.running("rtc_odd").ended(EndReason.ERROR, error_type=text)
    keeper.running("rtc_even").ended(EndReason.COMPLETED)
    await keeper.flushed()
    rows = await harness.rows()
    assert rows["rtc_odd"]["outcome"] == "failed"
    assert rows["rtc_even"]["outcome"] == "completed"
    assert keeper.records.health().refused == 0


async def test_a_record_keeps_what_the_conversation_came_to(harness: RecordsHarness) -> None:
    """Turns, interruptions and the longest wait go with the heartbeats; a call nobody spoke in has none, not null."""
    keeper = await harness.keeper()
    call, silent = keeper.running(), keeper.running("rtc_2")
    for wait in (2.0, 0.5):
        call.caller_started_speaking()
        call.caller_stopped_speaking()
        harness.clock.advance(wait)
        call.agent_started_speaking()
        call.agent_stopped_speaking(interrupted=wait == 0.5)
    silent.heartbeat()
    await keeper.flushed()
    rows = await harness.rows()
    kept = [(row["turns"], row["interruptions"], row["longest_wait_ms"]) for _, row in sorted(rows.items())]
    assert kept == [(2, 1, 2_000), (0, 0, 0)]
