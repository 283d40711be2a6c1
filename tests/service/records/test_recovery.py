"""Calls that a process left open are found by proof, taken over by one process alone, and billed once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.trace import get_current_span

from service.records.calls import HEARTBEAT_SECONDS, CallRecords
from service.records.instances import Holder, OrphanedCall, Watch
from service.records.record import StoredCall
from service.records.writer import Durability
from service.storage.database import Database
from telemetry.calls.call import Call
from telemetry.calls.events import TokenUsage
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason
from telemetry.testing import FakeClock, TelemetryKit
from tests.service.records.harness import BUDGET, QUICK, Keeper, RecordsHarness


async def _left_by_dead(harness: RecordsHarness, *, seconds: float = 60.0) -> None:
    """A process dies with one call of each state open."""
    dead = await harness.keeper("dead")
    dead.call("rtc_pending")
    dead.call("rtc_accepted").accepted()
    started = dead.running("rtc_started")
    harness.clock.advance(seconds)
    started.heartbeat()
    await dead.flushed()
    await dead.die()


def _first_audio(call: Call, _clock: FakeClock) -> None:
    call.agent_started_speaking()


def _turn_after_talk(call: Call, clock: FakeClock) -> None:
    call.agent_started_speaking()
    clock.advance(1)
    call.agent_stopped_speaking()
    clock.advance(1)
    call.caller_started_speaking()


def _tokens(call: Call, _clock: FakeClock) -> None:
    call.tokens_used(TokenUsage(input=100, output=20), "gpt-realtime")


def _refer(call: Call, _clock: FakeClock) -> None:
    call.referred("sales")


_LAST_ACTS = (_first_audio, _turn_after_talk, _tokens, _refer)


async def test_open_calls_of_a_dead_process_are_found_at_once(harness: RecordsHarness) -> None:
    """A process that died on this machine is known dead without waiting: each open call is answered with its state."""
    await _left_by_dead(harness)
    next_one = await harness.keeper("next")
    found = {call.call_id: call for call in await next_one.records.recover()}
    assert {i: call.state for i, call in found.items()} == {
        "rtc_pending": CallState.PENDING,
        "rtc_accepted": CallState.ACCEPTED,
        "rtc_started": CallState.STARTED,
    }
    assert found[CallId("rtc_started")].billed_until_ms == harness.clock.now().unix_ms
    assert await next_one.records.recover() == []


async def test_a_call_that_is_gone_ends_at_its_last_activity(harness: RecordsHarness) -> None:
    """Ended as stale, each call gets the terminal state its last one leads to, and no time after its last sign."""
    await _left_by_dead(harness)
    harness.clock.advance(1000)
    next_one = await harness.keeper("next")
    for call in await next_one.records.recover():
        assert next_one.records.end_as_stale(call)
    await next_one.flushed()
    rows = await harness.rows()
    assert {i: (r["state"], r["reason"], r["duration_ms"], r["duration_source"]) for i, r in rows.items()} == {
        "rtc_pending": ("rejected", "carrier_error", None, "last_sign_of_life"),
        "rtc_accepted": ("abandoned", "stale", None, "last_sign_of_life"),
        "rtc_started": ("ended", "stale", 60_000, "last_sign_of_life"),
    }
    assert all(row["ended_ms"] == row["last_seen_ms"] for row in rows.values())


@pytest.mark.parametrize("last_act", _LAST_ACTS, ids=lambda act: act.__name__.strip("_"))
async def test_nothing_on_record_lies_after_the_end(
    harness: RecordsHarness, last_act: Callable[[Call, FakeClock], object]
) -> None:
    """A call whose process died is over when it was last active, and billed to there, heartbeat or not."""
    dead = await harness.keeper("dead")
    call = dead.running()
    harness.clock.advance(5)
    call.heartbeat()
    harness.clock.advance(2)
    last_act(call, harness.clock)
    last_ms = harness.clock.now().unix_ms
    await dead.flushed()
    await dead.die()
    harness.clock.advance(1000)
    next_one = await harness.keeper("next")
    (orphan,) = await next_one.records.recover()
    assert orphan.last_activity(harness.clock.now()).unix_ms == last_ms
    assert next_one.records.end_as_stale(orphan)
    await next_one.flushed()
    row = await harness.row()
    assert row["ended_ms"] == row["last_seen_ms"] == last_ms
    assert row["duration_ms"] == row["billed_ms"] == last_ms - row["started_ms"]
    moments = {name: row[name] for name in ("decided_ms", "started_ms", "first_audio_ms", "referred_ms")}
    assert not {name: at_ms for name, at_ms in moments.items() if at_ms is not None and at_ms > last_ms}
    assert (row["conversation_ms"] or 0) <= row["duration_ms"]


async def test_activity_after_the_last_heartbeat_is_billed_once_by_the_next_process(harness: RecordsHarness) -> None:
    """The process that goes on bills from where the last heartbeat billed to, not from the activity after it."""
    dead = await harness.keeper("dead")
    call = dead.running()
    harness.clock.advance(5)
    call.heartbeat()
    harness.clock.advance(2)
    call.agent_started_speaking()
    await dead.flushed()
    await dead.die()
    harness.clock.advance(3)
    next_one = await harness.keeper("next")
    (orphan,) = await next_one.records.recover()
    since = orphan.billed_until(harness.clock.now())
    resumed = next_one.tracker.taken_over(orphan.call_id, orphan.tenant_id, orphan.state, at=since, since=since)
    resumed.heartbeat()
    await next_one.flushed()
    row = await harness.row()
    assert (row["billed_ms"], row["last_seen_ms"]) == (10_000, harness.clock.now().unix_ms)


async def test_a_second_start_changes_nothing_twice(harness: RecordsHarness) -> None:
    """A process that starts after everything was recovered finds nothing, and every row stays as it is."""
    await _left_by_dead(harness)
    next_one = await harness.keeper("next")
    for call in await next_one.records.recover():
        next_one.records.end_as_stale(call)
    await next_one.flushed()
    before = await harness.rows()
    await next_one.records.stop(BUDGET)
    assert await (await harness.keeper("third")).records.recover() == []
    assert await harness.rows() == before


async def test_processes_that_start_together_share_the_calls_out(harness: RecordsHarness) -> None:
    """Of several processes that recover at once, each orphaned call goes to exactly one."""
    dead = await harness.keeper("dead")
    for number in range(300):
        dead.running(f"rtc_{number}")
    await dead.flushed()
    await dead.die()
    keepers = [await harness.keeper(f"next-{number}") for number in range(4)]
    found = await asyncio.gather(*(keeper.records.recover() for keeper in keepers))
    ids = [call.call_id for calls in found for call in calls]
    assert len(ids) == len(set(ids)) == 300


async def test_the_living_keep_their_calls(harness: RecordsHarness) -> None:
    """A process that lives loses no call to one that recovers, however often it looks."""
    living, looking = await harness.keeper("living"), await harness.keeper("looking")
    living.running()
    await living.flushed()
    for _ in range(20):
        harness.clock.advance(HEARTBEAT_SECONDS)
        await living.records._show_life()
        assert await looking.records.recover() == []


async def test_a_process_out_of_sight_is_dead_after_it_was_watched_for_three_beats(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """On another machine, where no lock shows it, a process without heartbeats loses its calls after three of them."""
    async with (
        RecordsHarness(database, clock, tmp_path / "here") as here,
        RecordsHarness(database, clock, tmp_path / "there") as there,
    ):
        dead = await there.keeper("dead")
        dead.running()
        await dead.flushed()
        await dead.die()
        clock.advance(10_000)
        looking = await here.keeper("looking")
        found: list[OrphanedCall] = []
        looks = 0
        while not found:
            found = await looking.records.recover()
            looks += 1
            clock.advance(HEARTBEAT_SECONDS)
        assert [call.call_id for call in found] == ["rtc_1"]
        assert looks == 4


async def test_a_call_attached_to_again_goes_on_in_the_same_row(harness: RecordsHarness) -> None:
    """Its first phases stay, the gap counts as call time, and the duration says that it was measured in two parts."""
    await _left_by_dead(harness, seconds=60)
    started_ms = (await harness.row("rtc_started"))["started_ms"]
    harness.clock.advance(7.5)
    next_one = await harness.keeper("next")
    orphan = next(c for c in await next_one.records.recover() if c.state is CallState.STARTED)
    seen = orphan.last_activity(harness.clock.now())
    again = next_one.tracker.received(orphan.call_id, orphan.tenant_id, at=seen)
    again.accepted(at=seen)
    again.started(at=seen)
    assert not next_one.records.end_as_stale(orphan)
    harness.clock.advance(2.5)
    again.heartbeat()
    await next_one.flushed()
    assert (await harness.row("rtc_started"))["billed_ms"] == 70_000
    harness.clock.advance(5)
    again.ended(EndReason.HANGUP)
    await next_one.flushed()
    row = await harness.row("rtc_started")
    assert (row["duration_ms"], row["duration_source"], row["reason"]) == (75_000, "resumed", "hangup")
    assert row["started_ms"] == started_ms
    assert row["caller_masked"] == "…6789"
    assert row["instance_id"] == "next"


async def test_a_stopping_process_hands_its_calls_over(harness: RecordsHarness) -> None:
    """The next process finds them at once, though the first still runs; the first's own reports end nothing."""
    first = await harness.keeper("first")
    call = first.running()
    harness.clock.advance(3)
    call.heartbeat()
    second = await harness.keeper("second")
    assert await second.records.recover() == []
    assert await first.records.hand_over(BUDGET) == 1
    call.ended(EndReason.SHUTDOWN)
    found = await second.records.recover()
    assert [(c.call_id, c.billed_until_ms - (c.started_ms or 0)) for c in found] == [("rtc_1", 3000)]
    await first.records.stop(BUDGET)
    row = await harness.row()
    assert (row["instance_id"], row["ended_ms"], row["handed_over_ms"]) == ("second", None, None)
    assert await (await harness.keeper("third")).records.recover() == []


async def test_a_process_that_lost_its_calls_cannot_write_to_them_any_more(harness: RecordsHarness) -> None:
    """A process taken for dead that comes back changes no row another has taken over."""
    lost = await harness.keeper("lost")
    call = lost.running()
    await lost.flushed()
    await lost.die()
    next_one = await harness.keeper("next")
    (orphan,) = await next_one.records.recover()
    revived = Keeper(lost.records, lost.tracker)
    revived.records._writing = asyncio.create_task(revived.records._writer.run())
    harness.clock.advance(100)
    call.heartbeat()
    await revived.flushed()
    assert (await harness.row())["billed_ms"] == 0
    next_one.records.end_as_stale(orphan)
    await next_one.flushed()
    assert (await harness.row())["duration_ms"] == 0
    await revived.die()


async def test_the_true_end_found_later_replaces_the_guess(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """A call given up at its last activity gets its measured end once the dead machine's spill comes back."""
    async with (
        RecordsHarness(database, clock, tmp_path / "here") as here,
        RecordsHarness(database, clock, tmp_path / "there") as there,
    ):
        dead = await there.keeper("dead")
        call = dead.running()
        clock.advance(60)
        call.heartbeat()
        await dead.flushed()
        dead.records._writer._database.failed(ConnectionError())
        dead.records._writer._database._next_attempt = float("inf")
        clock.advance(60)
        call.ended(EndReason.HANGUP)
        assert await dead.records.ensure_written(CallId("rtc_1"), BUDGET) in (Durability.SPILL, Durability.DATABASE)
        await dead.die()
        looking = await here.keeper("looking")
        while not (found := await looking.records.recover()):
            clock.advance(HEARTBEAT_SECONDS)
        looking.records.end_as_stale(found[0])
        await looking.flushed()
        assert (await here.row())["duration_ms"] == 60_000
        back = await there.keeper("back")
        assert await back.records.recover() == []
        row = await here.row()
        assert (row["duration_ms"], row["reason"], row["duration_source"]) == (120_000, "hangup", "measured")


async def test_a_call_announced_again_after_the_crash_keeps_one_row(harness: RecordsHarness) -> None:
    """The carrier repeats an announcement nobody answered: the call that follows is recorded in the row it has."""
    dead = await harness.keeper("dead")
    dead.call()
    await dead.flushed()
    await dead.die()
    harness.clock.advance(2)
    next_one = await harness.keeper("next")
    for orphan in await next_one.records.recover():
        next_one.records.end_as_stale(orphan)
    await next_one.flushed()
    assert (await harness.row())["state"] == "rejected"
    harness.clock.advance(3)
    again = next_one.running()
    harness.clock.advance(30)
    again.ended(EndReason.COMPLETED)
    await next_one.flushed()
    assert len(await harness.rows()) == 1
    row = await harness.row()
    assert (row["state"], row["duration_ms"], row["instance_id"]) == ("ended", 30_000, "next")


async def test_a_late_duplicate_elsewhere_does_not_touch_a_call_that_runs(harness: RecordsHarness) -> None:
    """A second process that takes the same announcement for a new call changes nothing of the running one's row."""
    first, second = await harness.keeper("first"), await harness.keeper("second")
    first.running()
    await first.flushed()
    harness.clock.advance(5)
    second.call().finish(EndReason.ERROR, error_type="409")
    await second.flushed()
    row = await harness.row()
    assert (row["state"], row["instance_id"]) == ("started", "first")


async def test_a_repeated_announcement_goes_on_under_the_newest_claim(harness: RecordsHarness) -> None:
    """Taken over while the same call was announced here again, a record is written under the claim that counts."""
    keeper = await harness.keeper()
    ledger = keeper.records._ledger
    keeper.call().rejected(RejectionReason.CAPACITY)
    (written,) = ledger.take(10)
    ledger.give_back([written])
    claimed = StoredCall.from_row(written.row)
    claimed.claim, claimed.version, claimed.state = written.row["claim"] + 1, 1, CallState.PENDING
    assert ledger.adopt([claimed]) == []
    (again,) = ledger.take(10)
    assert (again.row["claim"], again.row["state"]) == (claimed.claim, "rejected")
    assert again.version > claimed.version
    ledger.give_back([again])
    await keeper.flushed()
    assert (await harness.row())["state"] == "rejected"


async def test_records_carry_the_trace_to_continue(database: Database, tmp_path: Path) -> None:
    """The row has the trace id and the root span of the call's own trace, and an orphan shows them."""
    with TelemetryKit() as kit:
        records = CallRecords(
            database, instance_id="traced", spill_folder=tmp_path / "spill", clock=kit.clock, pace=QUICK
        )
        records.trace_by(kit.traces)
        await records.start()
        call = kit.tracker.received("rtc_1", "acme")
        root = get_current_span(kit.traces.context(call.ref)).get_span_context()
        for event in kit.events:
            records.sink.emit(event)
        await records.flush(BUDGET)
        found = await records.find(CallId("rtc_1"))
        assert found is not None
        assert (found.trace_id, found.span_id) == (f"{root.trace_id:032x}", f"{root.span_id:016x}")
        await records.stop(BUDGET)


def test_watching_begins_anew_after_a_gap() -> None:
    """A process is not taken for dead over a stretch in which nobody could look, such as an outage of the database."""
    watch, holder = Watch(15), [Holder("other", heartbeats=7, stopped=False)]
    assert [watch.silent(holder, now) for now in (0, 5, 100, 105, 110)] == [frozenset()] * 5
    assert watch.silent(holder, 115) == {"other"}
    assert watch.silent([Holder("other", heartbeats=8, stopped=False)], 120) == frozenset()
