"""Calls that other processes let go of, with nothing but fakes around their recovery."""

from collections.abc import Awaitable, Callable, Container
from contextlib import AsyncExitStack
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.e164 import E164, Address
from service.gateway.admission import IncomingCall
from service.gateway.capacity import Capacity, Slot
from service.gateway.carriers.carrier import CarrierError
from service.gateway.carriers.sip import Dialled
from service.gateway.recovery import Recovery
from service.gateway.session_manager import Attached
from service.records.instances import OrphanedCall
from service.tenants.cache import TenantAnswer
from service.tenants.errors import TenantLookupError
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    UNKNOWN_TENANT,
    CallDirection,
    CallId,
    EndReason,
    TenantId,
)
from telemetry.testing import TelemetryKit

CALL = CallId("rtc_1")
ACME = CallTenant(
    tenant_id=TenantId("acme"), name="Acme", enabled=True, max_concurrent_calls=None, transfer_targets={}, features={}
)
DIALLED = Dialled((E164("+18005550100"),))
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOT_FOUND = CarrierError("404", HTTPStatus.NOT_FOUND)
AWAY = CarrierError("503", HTTPStatus.SERVICE_UNAVAILABLE)
STALE_SECONDS = 60.0


class Records:
    """The calls left, which go to whoever asks first, and those ended at their last activity."""

    def __init__(self) -> None:
        self.left: list[OrphanedCall] = []
        self.looks = 0
        self.stale: list[CallId] = []

    async def recover(self) -> list[OrphanedCall]:
        self.looks += 1
        taken, self.left = self.left, []
        return taken

    def end_as_stale(self, orphan: OrphanedCall) -> None:
        self.stale.append(orphan.call_id)


class Tenants:
    """One tenant, as far as the database can be asked."""

    def __init__(self) -> None:
        self.tenant: CallTenant | None = ACME
        self.away = False

    async def by_id(self, _tenant_id: TenantId) -> CallTenant | None:
        if self.away:
            raise OperationalError("SELECT", {}, ConnectionError())
        return self.tenant

    async def tenant_for(self, _number: Address) -> TenantAnswer:
        if self.away:
            raise TenantLookupError("away")
        return TenantAnswer(self.tenant, stale=False)


class Manager:
    """Notes what it is to go on with, and what it is to decide about."""

    def __init__(self) -> None:
        self.draining = False
        self.left: Container[CallId] = ()
        self.resumed: list[tuple[Call, CallTenant]] = []
        self.taken_up: list[tuple[Call, CallTenant]] = []

    def leave_to_recovery(
        self, left_open: Container[CallId], _recover: Callable[[IncomingCall], Awaitable[None]]
    ) -> None:
        self.left = left_open

    def resume(self, call: Call, tenant: CallTenant, _attached: Attached, _slot: Slot) -> None:
        self.resumed.append((call, tenant))

    def take_up(self, call: Call, tenant: CallTenant) -> None:
        self.taken_up.append((call, tenant))


class Sessions:
    """Sessions that are there, or not."""

    model = "gpt-realtime"

    def __init__(self) -> None:
        self.refuses: CarrierError | None = None
        self.greeted: list[tuple[CallId, bool]] = []

    async def attach(self, call_id: CallId, *, greet: bool) -> Attached:
        self.greeted.append((call_id, greet))
        if self.refuses is not None:
            raise self.refuses
        session: Any = None
        return Attached(session, AsyncExitStack(), greet)


class RecoveryHarness:
    """A recovery and all it stands among."""

    def __init__(self, kit: TelemetryKit) -> None:
        self.kit, self.capacity = kit, Capacity()
        self.records, self.tenants, self.manager, self.sessions = Records(), Tenants(), Manager(), Sessions()
        records: Any = self.records
        tenants: Any = self.tenants
        manager: Any = self.manager
        sessions: Any = self.sessions
        self.recovery = Recovery(
            records, tenants, tenants, kit.tracker, self.capacity, manager, sessions, stale_seconds=STALE_SECONDS
        )

    def leave(self, state: CallState = CallState.STARTED, *, silent_seconds: float = 1.0) -> OrphanedCall:
        """Have a call left in this state, with its last activity so long ago."""
        last_ms = self.kit.clock.now().unix_ms - round(silent_seconds * 1000)
        orphan = OrphanedCall(
            CALL,
            ACME.tenant_id,
            state,
            received_ms=last_ms - 10_000,
            started_ms=last_ms - 5_000 if state is CallState.STARTED else None,
            last_seen_ms=last_ms,
            billed_until_ms=last_ms,
            trace_id=TRACE,
            span_id=SPAN,
            direction=CallDirection.INBOUND,
            source=DIRECT_SOURCE,
            looked_up=True,
        )
        self.records.left = [orphan]
        return orphan

    async def announce(self) -> None:
        await self.recovery.announced_again(IncomingCall(CALL, self.kit.clock.now(), DIALLED))


@pytest.fixture
def harness(kit: TelemetryKit) -> RecoveryHarness:
    return RecoveryHarness(kit)


async def test_nothing_left_is_nothing_done(harness: RecoveryHarness) -> None:
    """No carrier is asked, no call begins."""
    await harness.recovery.look()
    assert (harness.records.looks, harness.sessions.greeted, harness.manager.resumed) == (1, [], [])


async def test_nothing_is_taken_over_while_draining(harness: RecoveryHarness) -> None:
    """What was left stays for a process that will be there."""
    harness.leave()
    harness.manager.draining = True
    await harness.recovery.look()
    assert harness.records.looks == 0
    assert len(harness.records.left) == 1


async def test_a_running_call_goes_on_under_its_trace(harness: RecoveryHarness) -> None:
    """It is attached to without a greeting, takes a slot, and its time counts from its last activity."""
    harness.leave(silent_seconds=4)
    await harness.recovery.look()
    ((call, tenant),) = harness.manager.resumed
    assert (call.call_id, call.state, tenant) == (CALL, CallState.STARTED, ACME)
    assert harness.sessions.greeted == [(CALL, False)]
    assert (harness.capacity.in_use, CALL in harness.manager.left) == (1, False)
    call.ended(EndReason.HANGUP)
    spans = {span.name: span for span in harness.kit._finished.get_finished_spans()}
    parent = spans["call"].parent
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (TRACE, SPAN)
    assert {line["trace_id"] for line in harness.kit.logs()} == {TRACE}
    assert harness.kit.numbers()["taken_over_calls"] == 1
    assert harness.kit.numbers()["minutes_processed"] == pytest.approx(4 / 60)


@pytest.mark.parametrize("state", [CallState.PENDING, CallState.ACCEPTED, CallState.STARTED])
async def test_what_another_process_counted_is_what_was_taken_over(harness: RecoveryHarness, state: CallState) -> None:
    """A call goes on from the state on record: sums over processes, less what was taken over, count it once."""
    harness.leave(state)
    await harness.recovery.look()
    numbers = harness.kit.numbers()
    assert [numbers[f"{name}_calls"] for name in ("received", "accepted", "started", "active")] == [1, 1, 1, 1]
    assert [numbers[f"taken_over_calls_{left}"] for left in ("pending", "accepted", "started")] == [
        int(state.value == left) for left in ("pending", "accepted", "started")
    ]
    assert numbers["lifecycle_violations"] == 0


async def test_a_call_without_a_trace_begins_one(harness: RecoveryHarness) -> None:
    """Its record had none to go on with."""
    harness.records.left = [replace(harness.leave(), trace_id=None, span_id=None)]
    await harness.recovery.look()
    ((call, _),) = harness.manager.resumed
    call.ended(EndReason.HANGUP)
    (root,) = harness.kit.spans()
    assert root.trace_id != TRACE


async def test_a_session_nobody_has_spoken_on_is_greeted(harness: RecoveryHarness) -> None:
    """The process died between the acceptance and the start."""
    harness.leave(CallState.ACCEPTED)
    await harness.recovery.look()
    assert harness.sessions.greeted == [(CALL, True)]
    assert len(harness.manager.resumed) == 1


async def test_an_undecided_call_is_decided(harness: RecoveryHarness) -> None:
    """No session: its caller may still be waiting."""
    harness.leave(CallState.PENDING)
    harness.sessions.refuses = NOT_FOUND
    await harness.recovery.look()
    ((call, tenant),) = harness.manager.taken_up
    assert (call.state, tenant, harness.records.stale) == (CallState.PENDING, ACME, [])
    assert CALL not in harness.manager.left


@pytest.mark.parametrize("state", [CallState.ACCEPTED, CallState.STARTED])
async def test_a_call_the_carrier_does_not_know_is_over(harness: RecoveryHarness, state: CallState) -> None:
    """It ends at its last activity, and no call begins here."""
    harness.leave(state)
    harness.sessions.refuses = NOT_FOUND
    await harness.recovery.look()
    assert (harness.records.stale, harness.manager.resumed, harness.manager.taken_up) == ([CALL], [], [])
    assert not harness.kit.tracker.knows(CALL)
    found = harness.kit.recent.call(CALL)
    assert found is not None
    assert (found.summary.lost, found.summary.end_reason) == (True, EndReason.STALE)
    (line,) = harness.kit.logs()
    ended = "call.ended" if state is CallState.STARTED else "call.abandoned"
    assert (line["level"], line["event"], line["trace_id"]) == ("WARNING", ended, TRACE)
    (root,) = harness.kit._finished.get_finished_spans()
    assert (root.name, root.parent and f"{root.parent.span_id:016x}") == ("call", SPAN)
    assert (root.attributes or {})["voice.call.outcome"] == "stale"
    assert harness.kit.numbers().get("ended_calls") == 0


async def test_a_carrier_that_is_away_is_asked_again(harness: RecoveryHarness) -> None:
    """The call stays left, without a second claim, until the carrier says what became of it."""
    harness.leave()
    harness.sessions.refuses = AWAY
    await harness.recovery.look()
    assert (CALL in harness.manager.left, harness.records.stale) == (True, [])
    harness.sessions.refuses = None
    await harness.recovery.look()
    assert (len(harness.manager.resumed), CALL in harness.manager.left) == (1, False)


@pytest.mark.parametrize(("silent", "over"), [(STALE_SECONDS, False), (STALE_SECONDS + 0.1, True)])
async def test_a_call_silent_for_too_long_is_over(harness: RecoveryHarness, silent: float, over: bool) -> None:
    """Even a pending one, and even if the carrier cannot be asked; up to then it is kept."""
    harness.leave(CallState.PENDING, silent_seconds=silent)
    harness.sessions.refuses = AWAY
    await harness.recovery.look()
    assert (harness.records.stale, CALL in harness.manager.left) == (([CALL], False) if over else ([], True))


async def test_a_call_that_runs_here_is_not_attached_to(harness: RecoveryHarness) -> None:
    """It came in by its announcement meanwhile."""
    harness.leave()
    harness.kit.tracker.received(CALL, ACME.tenant_id)
    await harness.recovery.look()
    assert (harness.sessions.greeted, CALL in harness.manager.left) == ([], False)


async def test_a_database_that_is_away_is_asked_again(harness: RecoveryHarness) -> None:
    """Nothing is decided without the tenant; what was claimed is not forgotten."""
    harness.leave()
    harness.tenants.away = True
    await harness.recovery.look()
    assert (CALL in harness.manager.left, harness.sessions.greeted) == (True, [])
    harness.tenants.away = False
    await harness.recovery.look()
    assert len(harness.manager.resumed) == 1


async def test_a_call_of_a_deleted_tenant_goes_on(harness: RecoveryHarness) -> None:
    """With nowhere to transfer to; a tenant that is gone takes no new call."""
    harness.leave()
    harness.tenants.tenant = None
    await harness.recovery.look()
    ((call, tenant),) = harness.manager.resumed
    assert (call.tenant_id, tenant.enabled, tenant.transfer_targets) == (ACME.tenant_id, False, {})


async def test_a_call_whose_tenant_was_not_found_waits_for_its_announcement(harness: RecoveryHarness) -> None:
    """Its record has the number masked: the announcement tells the tenant, and the call is decided for that one."""
    harness.records.left = [replace(harness.leave(CallState.PENDING), tenant_id=UNKNOWN_TENANT, looked_up=False)]
    harness.sessions.refuses = NOT_FOUND
    await harness.recovery.look()
    assert (CALL in harness.manager.left, harness.sessions.greeted) == (True, [])
    harness.tenants.away = True
    await harness.announce()
    assert CALL in harness.manager.left
    harness.tenants.away = False
    await harness.announce()
    ((call, tenant),) = harness.manager.taken_up
    assert (call.tenant_id, tenant, CALL in harness.manager.left) == (ACME.tenant_id, ACME, False)


async def test_an_announcement_looks_for_what_was_left_since(harness: RecoveryHarness) -> None:
    """Without waiting for the next look; one of a call that nobody left changes nothing."""
    harness.leave()
    await harness.announce()
    assert len(harness.manager.resumed) == 1
    await harness.announce()
    assert (harness.records.looks, len(harness.manager.resumed)) == (2, 1)
