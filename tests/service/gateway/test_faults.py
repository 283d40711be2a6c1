"""Carrier and database failing at every step: each call ends in a state with a reason, and nothing stays held."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from service.gateway.carriers import openai_realtime
from service.simulator.call import ONCE, Delivery
from service.simulator.faults import (
    ALWAYS,
    NO_FAULTS,
    CallFaults,
    ControlFault,
    DropConnection,
    NeverAnswer,
    Refuse,
    SocketCut,
)
from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
)
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import UNKNOWN_TENANT, EndReason, RejectionReason, UnansweredReason
from tests.service.gateway.harness import FALLBACK, GatewayHarness, fresh_id, running_harness
from tests.support.patience import CARRIER

SOON_SECONDS = 0.5
"""Seconds after which the service gives up an answer that never comes; whatever is answered has longer."""

PLAIN = CallScript(
    "plain", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?")), CallerHangsUp()
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_harness_in_haste(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayHarness]:
    """A service that does not wait for long for an accept."""
    folder = tmp_path_factory.mktemp("hasty")
    async with running_harness(folder, timeouts=replace(CARRIER, accept=SOON_SECONDS)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(module_harness_in_haste: GatewayHarness) -> GatewayHarness:
    """The same for one test, which finds nothing counted yet."""
    await module_harness_in_haste.count_anew()
    return module_harness_in_haste


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Refuse(409), "409"),
        (Refuse(429), "429"),
        (Refuse(500), "500"),
        (Refuse(500, processed=True), "500"),
        (NeverAnswer(), "timeout"),
        (NeverAnswer(processed=True), "timeout"),
        (DropConnection(processed=False), "connection"),
        (DropConnection(), "connection"),
    ],
    ids=repr,
)
async def test_an_accept_that_fails(
    hasty: GatewayHarness, shared: GatewayHarness, fault: ControlFault, error_type: str
) -> None:
    """It is asked once, the call is rejected with the carrier's error, and a call taken all the same is hung up."""
    call_id, harness = fresh_id(), hasty if error_type == "timeout" else shared
    placing = asyncio.create_task(harness.call(PLAIN, faults=CallFaults(accept=fault), call_id=call_id))
    if error_type == "409":
        # Another one's call is left alone: nobody but the caller ends it.
        tracker = harness.container.telemetry.tracker
        await harness.until(lambda: tracker.knows(call_id) and tracker.call(call_id).state.terminal, "a decision")
        harness.carrier.hang_up_all()
    await placing
    summary = harness.record(call_id).summary
    assert (summary.rejection_reason, summary.error_type) == (RejectionReason.CARRIER_ERROR, error_type)
    numbers = await harness.numbers()
    assert (numbers["accepted_calls"], numbers["rejected_calls_carrier_error"]) == (0, 1)
    await _nothing_is_held(harness)
    assert harness.carrier.running == 0


@pytest.mark.parametrize(
    ("faults", "delivery"),
    [
        (CallFaults(accept=Refuse(404)), ONCE),
        (CallFaults(accept=Refuse(410)), ONCE),
        (CallFaults(canceled=True), ONCE),
        (NO_FAULTS, Delivery(late=True)),
    ],
    ids=["404", "410", "canceled", "late"],
)
async def test_a_caller_who_gives_up_while_the_call_is_decided(
    shared: GatewayHarness, faults: CallFaults, delivery: Delivery
) -> None:
    """The call is unanswered, not rejected: asked for once, no error, nothing held, the same in every view."""
    call_id, before = fresh_id(), shared.carrier.ground_truth()["global"]["unanswered_calls_canceled"]
    await shared.call(PLAIN, faults=faults, delivery=delivery, call_id=call_id)
    summary = shared.record(call_id).summary
    assert (summary.outcome, summary.unanswered_reason) == (CallOutcome.UNANSWERED, UnansweredReason.CANCELED)
    assert (summary.rejection_reason, summary.error_type) == (None, None)
    numbers = await shared.numbers()
    assert (numbers["unanswered_calls"], numbers["rejected_calls_carrier_error"]) == (1, 0)
    assert shared.carrier.ground_truth()["global"]["unanswered_calls_canceled"] == before + 1
    assert sum(shared.carrier._registry.find(call_id).requests.values()) == 1
    await _nothing_is_held(shared)
    assert shared.carrier.running == 0


async def test_a_session_that_cannot_be_attached(shared: GatewayHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted and never started: abandoned with the status, and hung up, so that no caller talks to nobody."""
    monkeypatch.setattr(openai_realtime, "ATTACH_DELAYS", [0.01] * len(openai_realtime.ATTACH_DELAYS))
    call_id = fresh_id()
    await shared.call(PLAIN, faults=CallFaults(handshake_refusals=ALWAYS), call_id=call_id)
    summary = shared.record(call_id).summary
    assert (summary.end_reason, summary.error_type) == (EndReason.ERROR, "404")
    numbers = await shared.numbers()
    assert (numbers["accepted_calls"], numbers["started_calls"], numbers["abandoned_calls"]) == (1, 0, 1)
    await _nothing_is_held(shared)


@pytest.mark.parametrize("after_events", range(0, 24, 3))
@pytest.mark.parametrize("code", [None, 1011], ids=["dropped", "crashed"])
async def test_a_socket_cut_at_any_step(shared: GatewayHarness, after_events: int, code: int | None) -> None:
    """Wherever the session breaks off, the call ends once, with no span, turn or slot left open."""
    call_id = fresh_id()
    await shared.call(PLAIN, faults=CallFaults(cut=SocketCut(after_events, code)), call_id=call_id)
    record = shared.record(call_id)
    assert record.summary.end_reason is (EndReason.HANGUP if code is None else EndReason.ERROR)
    assert all(span.end_unix_nanos is not None for span in record.trace.spans) if record.trace else False
    assert await shared.differences() == []
    await _nothing_is_held(shared)


@pytest.mark.parametrize("fault", [Refuse(500), NeverAnswer(), DropConnection(processed=False)], ids=repr)
async def test_a_transfer_the_carrier_refuses(tmp_path: Path, fault: ControlFault) -> None:
    """The model is told, the call goes on and ends for another reason; nothing is counted as referred."""
    script = CallScript("refer", PLAIN.steps, AgentTransfers("sales"))
    call_id = fresh_id()
    timeouts = replace(CARRIER, control=SOON_SECONDS) if isinstance(fault, NeverAnswer) else CARRIER
    async with running_harness(tmp_path, timeouts=timeouts) as harness:
        await harness.call(script, faults=CallFaults(refer=fault), call_id=call_id)
        assert (await harness.numbers())["referred_calls"] == 0
        assert harness.record(call_id).summary.end_reason is not EndReason.REFERRED
        await _nothing_is_held(harness)


async def test_a_hangup_that_fails_once_is_asked_again(shared: GatewayHarness) -> None:
    """Hanging up twice does no harm, so a lost answer is not the end of it."""
    script = CallScript("bye", PLAIN.steps, AgentHangsUp())
    call_id = fresh_id()
    await shared.call(script, faults=CallFaults(hangup=Refuse(500, times=1)), call_id=call_id)
    assert shared.record(call_id).summary.end_reason is EndReason.COMPLETED
    await _nothing_is_held(shared)


async def test_the_database_fails_at_the_tenant(tmp_path: Path) -> None:
    """Nobody's call can be placed: rejected, counted under `_unknown`, and the service goes on."""
    async with running_harness(tmp_path) as harness:
        await harness.break_table("tenants")
        call_id = fresh_id()
        report = await harness.call(PLAIN, call_id=call_id)
        summary = harness.record(call_id).summary
        assert (summary.tenant_id, summary.rejection_reason) == ("_unknown", RejectionReason.TENANT_LOOKUP_FAILED)
        assert report.rejection_status == 504
        numbers = await harness.numbers(UNKNOWN_TENANT)
        assert numbers["rejected_calls_tenant_lookup_failed"] == 1
        assert numbers["rejected_calls_tenant_not_configured"] == 0
        summaries = await harness.get("/api/v1/metrics/summary")
        assert summaries["windows"]["since_start"]["rejection_shares"]["tenant_lookup_failed"] == 1
        await _nothing_is_held(harness)


@pytest.mark.parametrize("fallback", [None, FALLBACK], ids=["no fallback", "fallback"])
async def test_the_database_fails_at_the_instructions(tmp_path: Path, fallback: str | None) -> None:
    """The error is counted; with a fallback the call goes on with it, without one it is rejected."""
    async with running_harness(tmp_path, fallback_instructions=fallback) as harness:
        await harness.break_table("tenant_instructions")
        await harness.call(PLAIN)
        numbers = await harness.numbers()
        used = int(fallback is not None)
        assert numbers["instructions_db_errors"] == 1
        assert (numbers["fallback_instructions_used"], numbers["accepted_calls"]) == (used, used)
        assert numbers["rejected_calls_instructions_missing"] == 1 - used
        await _nothing_is_held(harness)


async def test_a_tenant_without_instructions_gets_the_fallback(tmp_path: Path) -> None:
    """No instructions set is no database error: the fallback is used and counted, the errors are not."""
    async with running_harness(tmp_path, fallback_instructions=FALLBACK) as harness:
        await harness.container.tenants.set_instructions("tenant-001", None, actor="tests")
        await harness.call(PLAIN)
        numbers = await harness.numbers()
        assert (numbers["instructions_db_errors"], numbers["fallback_instructions_used"]) == (0, 1)


async def test_a_disabled_tenant_is_not_configured(tmp_path: Path) -> None:
    """A disabled tenant's call is turned away under its own name."""
    async with running_harness(tmp_path) as harness:
        await harness.container.tenants.set_enabled("tenant-001", enabled=False, actor="tests")
        await harness.call(PLAIN)
        assert (await harness.numbers("tenant-001"))["rejected_calls_tenant_not_configured"] == 1


async def _nothing_is_held(harness: GatewayHarness) -> None:
    numbers = await harness.numbers()
    assert (numbers["active_calls"], numbers["pending_calls"]) == (0, 0)
    assert numbers["ended_calls"] == numbers["started_calls"]
    assert numbers["accepted_calls"] == numbers["started_calls"] + numbers["abandoned_calls"]
    assert harness.container.capacity.in_use == 0
    assert harness.container.telemetry.tracker.usage().in_use == 0
