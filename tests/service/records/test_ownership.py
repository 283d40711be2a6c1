"""One owner a call: whoever inserts its key, of however many processes, for as long as nobody takes it over."""

import asyncio
import time
from collections import Counter

import pytest
from sqlalchemy import delete

from service.records import calls as records
from service.records.calls import HEARTBEAT_SECONDS, Ownership
from service.records.ledger import NewCall
from service.records.store import CALLS, Owner, RecordStore
from service.records.writer import Durability
from service.storage import database
from telemetry.calls.call import Call
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId, EndReason, RejectionReason, TenantId
from tests.service.records.harness import BUDGET, CALLER, DIALLED, Keeper, RecordsHarness

CALL = CallId("rtc_1")
ACME = TenantId("acme")


def _new(keeper: Keeper, call_id: CallId = CALL, tenant_id: TenantId = ACME) -> NewCall:
    return NewCall(call_id, tenant_id, keeper.tracker.clock.now(), CALLER, DIALLED)


async def _claimed(keeper: Keeper, call_id: CallId = CALL) -> Ownership:
    return await keeper.records.claim(_new(keeper, call_id), BUDGET)


def _received(keeper: Keeper) -> Call:
    return keeper.call(CALL)


def _away(*keepers: Keeper) -> None:
    """Take the database from these processes."""
    for keeper in keepers:
        keeper.records._writer._database.failed(ConnectionError())
        keeper.records._writer._database._next_attempt = float("inf")


def _back(*keepers: Keeper) -> None:
    for keeper in keepers:
        keeper.records._writer._database._next_attempt = 0.0


async def test_a_call_is_the_first_ones_who_claims_it(harness: RecordsHarness) -> None:
    """Key and record are there with the claim; whoever comes later is told that the call is another's."""
    first, second = await harness.keeper("first"), await harness.keeper("second")
    assert await _claimed(first) is Ownership.OURS
    assert (await harness.row())["instance_id"] == "first"
    assert await _claimed(second) is Ownership.OTHERS
    assert second.records.health().open == 0
    assert first.records.decidable(CALL)
    assert first.records.certain(CALL)


@pytest.mark.parametrize("of", ["a new call", "a running call"])
async def test_a_process_that_stood_still_takes_no_call_of_another(
    harness: RecordsHarness, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    """An answer of the database that waits for the process to run again is heard, however long that took."""
    keeper = await harness.keeper()
    owners = {CALL: Owner("another", 2, CallState.STARTED, over=False, handed_over=False)}

    async def answer(*_: object) -> dict[CallId, Owner]:
        time.sleep(1.0)  # noqa: ASYNC251 -- what is shown is that the whole process stands still
        for _turn in range(20):
            await asyncio.sleep(0)
        return owners

    monkeypatch.setattr(database, "TIMEOUT_STEP_SECONDS", 0.01)
    if of == "a new call":
        monkeypatch.setattr(RecordStore, "claim", answer)
        assert await keeper.records.claim(_new(keeper), 0.5) is Ownership.OTHERS
        assert keeper.records.health().assumed == 0
    else:
        assert await _claimed(keeper) is Ownership.OURS
        monkeypatch.setattr(records, "_CHECK_SECONDS", 0.5)
        monkeypatch.setattr(RecordStore, "owners", answer)
        await keeper.records.check_claims()
        assert keeper.records.is_lost(CALL)


async def test_of_many_processes_one_has_each_call(harness: RecordsHarness) -> None:
    """Three processes that are told of the same two hundred calls at once share them out without a word."""
    keepers = [await harness.keeper(f"process-{n}") for n in range(3)]
    ids = [CallId(f"rtc_{n}") for n in range(200)]
    told = [(keeper, call_id) for keeper in keepers for call_id in ids]
    answers = await asyncio.gather(*(_claimed(keeper, call_id) for keeper, call_id in told))
    ours = Counter(call_id for (_, call_id), answer in zip(told, answers, strict=True) if answer is Ownership.OURS)
    assert ours == dict.fromkeys(ids, 1)
    assert set(answers) == {Ownership.OURS, Ownership.OTHERS}
    rows = await harness.rows()
    assert {row["call_id"]: row["instance_id"] for row in rows.values()} == {
        call_id: keeper.records._instance_id
        for (keeper, call_id), answer in zip(told, answers, strict=True)
        if answer is Ownership.OURS
    }


async def test_what_is_over_stays_over(harness: RecordsHarness) -> None:
    """After a restart, and after its record was erased, a call announced once more is nobody's to take."""
    first = await harness.keeper("first")
    assert await _claimed(first) is Ownership.OURS
    call = _received(first)
    call.rejected(RejectionReason.CAPACITY)
    await first.flushed()
    before = await harness.row()
    again = await harness.keeper("again")
    assert await _claimed(again) is Ownership.OTHERS
    assert await harness.row() == before
    async with harness.database.writing() as session:
        await session.execute(delete(CALLS))
    assert await _claimed(again) is Ownership.OTHERS
    assert await harness.rows() == {}


async def test_an_undecided_call_of_a_living_process_is_its_own(harness: RecordsHarness) -> None:
    """A process that shows its heartbeat keeps a pending call; one that is silent makes its claim uncertain."""
    owner, other = await harness.keeper("owner"), await harness.keeper("other")
    await _claimed(owner)
    for _ in range(3):
        harness.clock.advance(HEARTBEAT_SECONDS)
        await owner.records._show_life()
        await other.records._show_life()
        assert await _claimed(other) is Ownership.OTHERS
    harness.clock.advance(HEARTBEAT_SECONDS)
    await other.records._show_life()
    harness.clock.advance(HEARTBEAT_SECONDS)
    assert await _claimed(other) is Ownership.UNCERTAIN
    assert await other.records.recover() == []


async def test_an_undecided_call_of_a_dead_process_is_left(harness: RecordsHarness) -> None:
    """The lock of its spill shows at once that its owner is dead; recovery then takes it, once."""
    owner, other, third = [await harness.keeper(name) for name in ("owner", "other", "third")]
    await _claimed(owner)
    await owner.die()
    assert await _claimed(other) is Ownership.LEFT
    taken = [*await other.records.recover(), *await third.records.recover()]
    assert [orphan.call_id for orphan in taken] == [CALL]
    assert await _claimed(third) is Ownership.OTHERS


async def test_a_call_taken_before_its_tenant_was_known_says_so(harness: RecordsHarness) -> None:
    """A process that takes it over cannot decide about it: the whole number is in the announcement alone."""
    owner = await harness.keeper("owner")
    await owner.records.claim(_new(owner, tenant_id=UNKNOWN_TENANT), BUDGET)
    assert not owner.records.decidable(CALL)
    await owner.die()
    (orphan,) = await (await harness.keeper("next")).records.recover()
    assert not orphan.looked_up


async def test_the_tenant_found_later_is_on_record_before_anybody_is_told(harness: RecordsHarness) -> None:
    """Where the claim could not name the tenant, the record does before the call is decided about."""
    owner = await harness.keeper("owner")
    await owner.records.claim(_new(owner, tenant_id=UNKNOWN_TENANT), BUDGET)
    _received(owner)
    assert await owner.records.ensure_decidable(CALL, BUDGET) is Durability.DATABASE
    assert (await harness.row())["tenant_id"] == "acme"
    assert owner.records.decidable(CALL)


async def test_a_claim_that_was_lost_is_noticed(harness: RecordsHarness) -> None:
    """A process that stood still while another took its call over does not own it, and is told so once."""
    lost_ids: list[CallId] = []
    stopped, other = await harness.keeper("stopped"), await harness.keeper("other")
    stopped.records.when_lost(lost_ids.append)
    await _claimed(stopped)
    call = _received(stopped)
    call.accepted()
    call.started()
    await stopped.flushed()
    await stopped.records._heartbeat.stop()
    await other.records._heartbeat.stop()
    while not await other.records.recover():
        harness.clock.advance(HEARTBEAT_SECONDS)
        await other.records._show_life()
    assert await other.records.owns(CALL)
    assert not await stopped.records.owns(CALL)
    assert not await stopped.records.owns(CALL)
    assert (lost_ids, stopped.records.health().lost) == ([CALL], 1)
    before = await harness.row()
    call.ended(EndReason.HANGUP)
    await stopped.flushed()
    assert await harness.row() == before


async def test_a_write_that_meets_no_row_lets_the_call_go(harness: RecordsHarness) -> None:
    """Nothing needs to be asked: a heartbeat's own write shows that the call is another's."""
    stopped, other = await harness.keeper("stopped"), await harness.keeper("other")
    await _claimed(stopped)
    call = _received(stopped)
    call.accepted()
    call.started()
    await stopped.flushed()
    while not await other.records.recover():
        harness.clock.advance(HEARTBEAT_SECONDS)
        await other.records._show_life()
    call.heartbeat()
    await stopped.flushed()
    assert (stopped.records.health().lost, stopped.records.health().open) == (1, 0)


async def test_all_claims_are_checked_after_a_pause(harness: RecordsHarness) -> None:
    """Of the calls of a process that stood still those that were taken over are let go of, the others stay."""
    process = await harness.keeper("process")
    for name in ("rtc_1", "rtc_2", "rtc_3"):
        await _claimed(process, CallId(name))
    async with harness.database.writing() as session:
        await session.execute(
            CALLS.update().where(CALLS.c.call_id == "rtc_2").values(instance_id="other", claim=CALLS.c.claim + 1)
        )
    await process.records.check_claims()
    assert process.records.health().lost == 1
    assert {call_id for call_id, _ in process.records._ledger.open_calls()} == {"rtc_1", "rtc_3"}


async def test_memory_decides_while_the_database_is_away(harness: RecordsHarness) -> None:
    """The call is taken, counted as assumed, and its key is there once the database is back."""
    process = await harness.keeper("process")
    _away(process)
    assert await _claimed(process) is Ownership.OURS
    _received(process)
    assert (process.records.certain(CALL), process.records.health().assumed) == (False, 1)
    _back(process)
    await process.flushed()
    assert await _claimed(await harness.keeper("other")) is Ownership.OTHERS


@pytest.mark.parametrize("earlier_first", [True, False])
async def test_of_two_owners_the_later_lets_go(harness: RecordsHarness, earlier_first: bool) -> None:
    """Two processes took a call while the database was away; whichever is replayed first, the later claim is lost."""
    early, late = await harness.keeper("early"), await harness.keeper("late")
    _away(early, late)
    calls = []
    for process in (early, late):
        assert await _claimed(process) is Ownership.OURS
        call = _received(process)
        call.accepted()
        call.started()
        calls.append(call)
        harness.clock.advance(1)
    for process in (early, late) if earlier_first else (late, early):
        _back(process)
        await process.flushed()
    for call in calls:
        call.heartbeat()
    await late.flushed()
    await early.flushed()
    assert (await harness.row())["instance_id"] == "early"
    assert (early.records.health().lost, late.records.health().lost) == (0, 1)
    assert early.records.certain(CALL)


@pytest.mark.parametrize("runs", ["early", "late"])
async def test_who_runs_a_call_keeps_it_before_who_turned_it_away(harness: RecordsHarness, runs: str) -> None:
    """Of two owners one was refused the accept by the carrier: the record is the other's, in either order."""
    early, late = await harness.keeper("early"), await harness.keeper("late")
    _away(early, late)
    for process in (early, late):
        await _claimed(process)
        call = _received(process)
        if process.records._instance_id == runs:
            call.accepted()
            call.started()
        else:
            call.rejected(RejectionReason.CARRIER_ERROR, error_type="409")
        harness.clock.advance(1)
    for process in (early, late):
        _back(process)
        await process.flushed()
    row = await harness.row()
    assert (row["instance_id"], row["state"]) == (runs, "started")


async def test_a_claim_whose_answer_was_lost_is_the_same_claim(harness: RecordsHarness) -> None:
    """Repeated after its commit, a claim finds its own row and takes it for new."""
    process = await harness.keeper("process")
    await _claimed(process)
    tracked = process.records._ledger.tracked(CALL)
    assert tracked is not None
    assert await process.records._store.claim([process.records._ledger.change(tracked).row]) == {}
