"""The calls of a process, with nothing but fakes around them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.gateway import manager as manager_module
from service.gateway.admission import IncomingCall
from service.gateway.capacity import Capacity, Slot
from service.gateway.durability import Announced
from service.gateway.manager import PAUSE_SECONDS, CallManager
from service.records.calls import Ownership
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.events import CallEnded
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Instant
from telemetry.semconv.attributes import CallId, EndReason, TenantId
from telemetry.testing import FakeClock, TelemetryKit

CALL = CallId("rtc_1")
OTHER_CALL = CallId("rtc_2")
ACME = CallTenant(
    tenant_id=TenantId("acme"), name="Acme", enabled=True, max_concurrent_calls=None, transfer_targets={}, features={}
)


@dataclass
class Gate:
    """A gate that settles at once what is settled, and whose claims the test decides."""

    owned: bool = True
    waiting: dict[CallId, asyncio.Future[Announced]] = field(default_factory=dict)
    checks: int = 0

    def expect(self, call_id: CallId) -> None:
        self.waiting[call_id] = asyncio.get_running_loop().create_future()

    async def answer(self, call_id: CallId) -> Announced | None:
        waiting = self.waiting.get(call_id)
        return None if waiting is None else await asyncio.shield(waiting)

    def settle(self, call_id: CallId, answer: Announced = Announced.TAKEN) -> None:
        waiting = self.waiting.pop(call_id, None)
        if waiting is not None:
            waiting.set_result(answer)

    async def owns(self, _call_id: CallId) -> bool:
        return self.owned

    async def check_claims(self) -> None:
        self.checks += 1


class FakeAdmission:
    """Says whose calls are, and lets each of ours in."""

    def __init__(self, kit: TelemetryKit, gate: Gate, capacity: Capacity) -> None:
        self._kit, self._gate, self._capacity = kit, gate, capacity
        self.ownership = Ownership.OURS
        self.claims = 0
        self.claimable = asyncio.Event()
        self.claimable.set()

    async def claim(self, _incoming: IncomingCall) -> Ownership:
        self.claims += 1
        await self.claimable.wait()
        return self.ownership

    async def receive(self, incoming: IncomingCall, _claimed: Instant) -> tuple[Call, CallTenant]:
        return self._kit.tracker.received(incoming.call_id, ACME.tenant_id), ACME

    async def decide(self, call: Call, _placed: CallTenant) -> Slot:
        self._gate.settle(call.call_id)
        call.accepted()
        return self._capacity.occupy(call.call_id, call.tenant_id)


class Sessions:
    """Sessions that last until the test ends them, or fail."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.attended: list[CallId] = []
        self.hung_up_later: list[CallId] = []
        self.checked = asyncio.Semaphore(0)
        self.hangs = False
        self.fails = False
        self.hanging_up = False

    async def attend(self, call: Call, _tenant: CallTenant) -> None:
        call.started()
        await self._follow(call)

    async def go_on(self, call: Call, _tenant: CallTenant, _attached: object) -> None:
        await self._follow(call)

    async def check(self) -> None:
        self.checked.release()
        if self.hangs:
            await asyncio.Event().wait()

    def hang_up_later(self, call_id: CallId) -> None:
        self.hung_up_later.append(call_id)

    async def hung_up(self) -> None: ...

    async def _follow(self, call: Call) -> None:
        self.attended.append(call.call_id)
        if self.fails:
            raise RuntimeError("what the caller said")
        await self.over.wait()
        call.finish(EndReason.COMPLETED)


class ManagerHarness:
    """A manager and all it stands among."""

    def __init__(self, kit: TelemetryKit, *, max_calls: int = 10, heartbeat_seconds: float = 1000.0) -> None:
        self.kit, self.gate, self.sessions, self.capacity = kit, Gate(), Sessions(), Capacity()
        self.admission = FakeAdmission(kit, self.gate, self.capacity)
        self.machine_clock = FakeClock()
        gate: Any = self.gate
        sessions: Any = self.sessions
        admission: Any = self.admission
        self.manager = CallManager(
            kit.tracker,
            admission,
            sessions,
            gate,
            heartbeat_seconds=heartbeat_seconds,
            stale_seconds=60.0,
            max_calls=max_calls,
            machine_clock=self.machine_clock,
        )

    async def announce(self, call_id: CallId = CALL) -> Announced:
        return await self.manager.announce(IncomingCall(call_id, self.kit.clock.now()))

    async def running(self, call_id: CallId = CALL) -> Call:
        """Take a call as far as its session."""
        assert await self.announce(call_id) is Announced.TAKEN
        await turns_until(lambda: call_id in self.sessions.attended)
        return self.kit.tracker.call(call_id)

    async def idle(self) -> None:
        await turns_until(lambda: not self.manager.busy)


async def turns_until(done: Any) -> None:  # noqa: ANN401 -- a condition
    """Let the other tasks run until the condition holds; fail where it never does."""
    for _ in range(1_000):
        if done():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


@pytest.fixture
async def harness(kit: TelemetryKit) -> AsyncIterator[ManagerHarness]:
    harness = ManagerHarness(kit)
    yield harness
    await harness.manager.drain()


# Announcements --------------------------------------------------------------------------------------------------------


async def test_a_call_is_taken_to_its_end(harness: ManagerHarness) -> None:
    """Its slot is held for as long as its session, and given back at the end."""
    call = await harness.running()
    assert (harness.capacity.in_use, harness.manager.busy) == (1, True)
    harness.sessions.over.set()
    await harness.idle()
    assert (call.state, harness.capacity.in_use) == (CallState.ENDED, 0)
    assert harness.gate.waiting == {}


@pytest.mark.parametrize("over", [False, True])
async def test_a_repeated_announcement_is_a_duplicate(harness: ManagerHarness, over: bool) -> None:
    """Under way or over, the call is claimed and counted once."""
    await harness.running()
    if over:
        harness.sessions.over.set()
        await harness.idle()
    assert await harness.announce() is Announced.DUPLICATE
    assert harness.admission.claims == 1
    assert harness.kit.numbers()["received_calls"] == 1


async def test_a_repetition_waits_for_what_becomes_of_the_first(harness: ManagerHarness) -> None:
    """While it is unknown whose the call is, neither delivery is answered; then both are, by what was found."""
    harness.admission.claimable.clear()
    first, second = asyncio.create_task(harness.announce()), asyncio.create_task(harness.announce())
    await turns_until(lambda: harness.admission.claims)
    assert not first.done()
    assert not second.done()
    harness.admission.claimable.set()
    assert (await first, await second) == (Announced.TAKEN, Announced.DUPLICATE)


@pytest.mark.parametrize(
    ("ownership", "answer"),
    [(Ownership.OTHERS, Announced.DUPLICATE), (Ownership.UNCERTAIN, Announced.REFUSED)],
)
async def test_a_call_of_another_process_is_not_counted(
    harness: ManagerHarness, ownership: Ownership, answer: Announced
) -> None:
    """It is a duplicate if its owner is known to live, and to be announced again if that cannot be said."""
    harness.admission.ownership = ownership
    assert await harness.announce() is answer
    await harness.idle()
    assert not harness.manager.has(CALL)
    assert harness.sessions.attended == []


@pytest.mark.parametrize(("recovered", "answer"), [(True, Announced.DUPLICATE), (False, Announced.REFUSED)])
async def test_a_call_that_was_left_is_recovered(
    harness: ManagerHarness,
    recovered: bool,
    answer: Announced,
) -> None:
    """The announcement goes to the recovery: first when the claim tells of it, then as it is known to be left."""
    left: set[CallId] = set()
    told: list[CallId] = []

    async def recover(incoming: IncomingCall) -> None:
        told.append(incoming.call_id)
        if recovered:
            left.discard(incoming.call_id)
        else:
            left.add(incoming.call_id)

    harness.manager.leave_to_recovery(left, recover)
    harness.admission.ownership = Ownership.LEFT
    assert await harness.announce() is answer
    await harness.idle()
    left.add(CALL)
    assert harness.manager.has(CALL)
    assert await harness.announce() is answer
    assert told == [CALL, CALL]
    assert harness.admission.claims == 1


async def test_the_calls_on_their_way_are_bounded(kit: TelemetryKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused without a claim, and taken once there is room."""
    monkeypatch.setattr(manager_module, "DECIDING_AT_ONCE", 0)
    harness = ManagerHarness(kit, max_calls=1)
    await harness.running()
    assert await harness.announce(OTHER_CALL) is Announced.REFUSED
    assert await harness.announce() is Announced.DUPLICATE
    harness.sessions.over.set()
    await harness.idle()
    assert await harness.announce(OTHER_CALL) is Announced.TAKEN
    assert harness.admission.claims == 2
    await harness.manager.drain()


async def test_no_new_call_is_taken_while_draining(harness: ManagerHarness) -> None:
    """Those that run go on, and their repetitions are duplicates."""
    call = await harness.running()
    harness.manager.stop_taking()
    assert harness.manager.draining
    assert await harness.announce(OTHER_CALL) is Announced.REFUSED
    assert await harness.announce() is Announced.DUPLICATE
    assert call.state is CallState.STARTED


async def test_an_answer_that_takes_too_long_is_asked_for_again(
    harness: ManagerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The carrier is told to come again; the call goes on being claimed, once."""
    monkeypatch.setattr(manager_module, "ANSWER_SECONDS", 0.0)
    harness.admission.claimable.clear()
    assert await harness.announce() is Announced.REFUSED
    monkeypatch.undo()
    harness.admission.claimable.set()
    assert await harness.announce() is Announced.DUPLICATE
    assert harness.admission.claims == 1


# Failures and lost claims ---------------------------------------------------------------------------------------------


async def test_a_call_that_fails_ends_with_a_reason(harness: ManagerHarness, caplog: pytest.LogCaptureFixture) -> None:
    """It is hung up, its slot is free, and the log has the kind of the failure alone."""
    harness.sessions.fails = True
    call = await harness.running()
    await harness.idle()
    (end,) = [event for event in harness.kit.events if isinstance(event, CallEnded)]
    assert (end.reason, end.error_type, harness.capacity.in_use) == (EndReason.ERROR, "RuntimeError", 0)
    assert harness.sessions.hung_up_later == [call.call_id]
    assert "what the caller said" not in caplog.text


async def test_a_lost_call_is_let_go_of(harness: ManagerHarness) -> None:
    """No end is counted, nobody is hung up, the slot is free; a call that is not here changes nothing."""
    call = await harness.running()
    harness.manager.let_go(OTHER_CALL)
    harness.manager.let_go(CALL)
    await harness.idle()
    assert (call.state, harness.capacity.in_use) == (CallState.HANDED_OVER, 0)
    assert harness.sessions.hung_up_later == []
    assert harness.kit.numbers()["ended_calls"] == 0
    assert not harness.manager.has(CALL)


async def test_a_failure_of_a_call_that_is_anothers_hangs_nobody_up(harness: ManagerHarness) -> None:
    """The process that owns it by now attends to it."""
    harness.gate.owned, harness.sessions.fails = False, True
    await harness.running()
    await harness.idle()
    assert harness.sessions.hung_up_later == []


# Time -----------------------------------------------------------------------------------------------------------------


async def test_a_hook_that_hangs_does_not_stop_the_heartbeat(kit: TelemetryKit) -> None:
    """Sessions are checked again and again while the hook waits; it is not started a second time."""
    harness = ManagerHarness(kit, heartbeat_seconds=0.001)
    begun: list[None] = []
    hook_begun = asyncio.Event()

    async def hanging() -> None:
        begun.append(None)
        hook_begun.set()
        await asyncio.Event().wait()

    harness.manager.start([hanging])
    try:
        async with asyncio.timeout(30):
            await hook_begun.wait()
            for _ in range(10):
                await harness.sessions.checked.acquire()
        assert len(begun) == 1
    finally:
        await harness.manager.drain()


async def test_a_hook_that_fails_is_run_again(kit: TelemetryKit, caplog: pytest.LogCaptureFixture) -> None:
    """With the next heartbeat, and the log has the kind of the failure alone."""
    harness = ManagerHarness(kit, heartbeat_seconds=0.001)
    begun = asyncio.Semaphore(0)

    async def failing() -> None:
        begun.release()
        raise RuntimeError("what the caller said")

    harness.manager.start([failing])
    try:
        async with asyncio.timeout(30):
            await begun.acquire()
            await begun.acquire()
    finally:
        await harness.manager.drain()
    assert "a hook of the heartbeat failed: RuntimeError" in caplog.messages
    assert "what the caller said" not in caplog.text


async def test_a_probe_that_hangs_does_not_stop_the_heartbeat(kit: TelemetryKit) -> None:
    """A call without activity is swept all the same, and its path is stopped."""
    harness = ManagerHarness(kit, heartbeat_seconds=0.001)
    call = await harness.running()
    harness.sessions.hangs = True
    kit.clock.advance(60.1)
    await harness.manager._run_heartbeat()
    await harness.idle()
    (end,) = [event for event in kit.events if isinstance(event, CallEnded)]
    assert (call.state, end.reason, harness.capacity.in_use) == (CallState.ENDED, EndReason.STALE, 0)
    await harness.manager.drain()


async def test_a_call_that_is_let_go_of_is_billed_no_more(kit: TelemetryKit) -> None:
    """Its path is still being cut short when a heartbeat bills: the time since belongs to the process that has it."""
    harness = ManagerHarness(kit)
    call = await harness.running()
    kit.clock.advance(5)
    call.seen()
    kit.tracker.bill_running()
    kit.clock.advance(15)
    call.seen()
    harness.manager.let_go(call.call_id)
    await harness.manager._run_heartbeat()
    await harness.idle()
    numbers = kit.numbers()
    assert numbers["minutes_processed"] == pytest.approx(5 / 60)
    assert (numbers["handed_over_calls_started"], numbers["lifecycle_violations"]) == (1, 0)
    await harness.manager.drain()


async def test_many_calls_are_billed_bit_by_bit(kit: TelemetryKit) -> None:
    """A heartbeat bills the first hundred, and the others before the next: they are not all exported at once."""
    harness = ManagerHarness(kit, heartbeat_seconds=0.001)
    calls = [kit.tracker.received(f"rtc_{number}", "acme") for number in range(250)]
    for call in calls:
        call.accepted()
        call.started()
    harness.manager._billing_rest.start()
    kit.clock.advance(5)
    for call in calls:
        call.seen()
    await harness.manager._run_heartbeat()
    assert kit.numbers()["minutes_processed"] == pytest.approx(100 * 5 / 60)
    await harness.manager._billing_rest.passed()
    assert kit.numbers()["minutes_processed"] == pytest.approx(250 * 5 / 60)
    await harness.manager.drain()


@pytest.mark.parametrize(("late", "checks"), [(PAUSE_SECONDS, 0), (PAUSE_SECONDS + 0.1, 1)])
async def test_claims_are_checked_after_a_pause(kit: TelemetryKit, late: float, checks: int) -> None:
    """A heartbeat that comes too late by the machine's clock asks first whose the calls are."""
    harness = ManagerHarness(kit, heartbeat_seconds=0.5)
    harness.machine_clock.advance(0.5 + late)
    await harness.manager._run_heartbeat()
    assert harness.gate.checks == checks
    await harness.manager._run_heartbeat()
    assert harness.gate.checks == checks


# Draining -------------------------------------------------------------------------------------------------------------


async def test_a_drain_ends_what_runs(harness: ManagerHarness) -> None:
    """Each call ends for the shutdown and is hung up; nothing is on its way any more."""
    call = await harness.running()
    await harness.manager.drain()
    (end,) = [event for event in harness.kit.events if isinstance(event, CallEnded)]
    assert (call.state, end.reason) == (CallState.ENDED, EndReason.SHUTDOWN)
    assert harness.sessions.hung_up_later == [CALL]
    assert (harness.manager.busy, harness.capacity.in_use) == (False, 0)


async def test_a_drain_with_hand_over_hangs_nobody_up(harness: ManagerHarness) -> None:
    """The next process goes on with the calls: none ends here."""
    call = await harness.running()
    await harness.manager.drain(hand_over=True)
    assert call.state is CallState.HANDED_OVER
    assert harness.sessions.hung_up_later == []
    assert harness.kit.numbers()["ended_calls"] == 0
    assert (harness.manager.busy, harness.capacity.in_use) == (False, 0)


@pytest.mark.parametrize("hand_over", [False, True])
async def test_a_call_that_is_not_claimed_yet_is_left_to_the_carrier(
    harness: ManagerHarness,
    hand_over: bool,
) -> None:
    """Its delivery, cut off by the drain, is refused, so that it comes again."""
    harness.admission.claimable.clear()
    waiting = asyncio.create_task(harness.announce())
    await turns_until(lambda: harness.admission.claims)
    await harness.manager.drain(hand_over=hand_over)
    assert await waiting is Announced.REFUSED
    assert not harness.manager.has(CALL)
