"""Everything that can go wrong at the carrier, as the official SDK's client meets it."""

import asyncio
import json

import httpx2
import openai
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Response

from service.simulator.faults import CallFaults, DropConnection, NeverAnswer, Refuse, SocketCut
from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    CallerSpeaks,
    CallScript,
    Pause,
)
from tests.service.simulator.harness import SimulatorHarness
from tests.support.patience import PATIENT_SECONDS

PLAIN = CallScript("plain", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?")))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_a_refused_accept_is_no_call(harness: SimulatorHarness, status: int, error: type[Exception]) -> None:
    """The SDK raises what the status stands for, and nothing is accepted or abandoned."""
    report = await harness.call_in_vain(PLAIN, faults=CallFaults(accept=Refuse(status)))
    await harness.gateway.settled()
    assert [type(failure) for failure in harness.gateway.failures] == [error]
    assert (report.end, report.accepted) == ("canceled" if status == 404 else "unanswered", False)
    assert (harness.totals["accepted_calls"], harness.totals["abandoned"], harness.totals["unanswered"]) == (0, 0, 1)


async def test_a_404_says_the_call_is_not_found(harness: SimulatorHarness) -> None:
    """The body of a 404 has the code a gateway looks for."""
    await harness.call_in_vain(PLAIN, faults=CallFaults(accept=Refuse(404)))
    await harness.gateway.settled()
    failure = harness.gateway.failures[0]
    assert isinstance(failure, openai.APIStatusError)
    assert (failure.code, failure.type) == ("call_id_not_found", "invalid_request_error")


async def test_a_fault_ends_after_its_times(harness: SimulatorHarness) -> None:
    """An accept that is refused once succeeds at the second try, and that is no breach of the protocol."""

    async def try_twice(call_id: str) -> None:
        with pytest.raises(openai.InternalServerError):
            await harness.gateway.accept_and_attach(call_id)
        await harness.gateway.accept_and_attach(call_id)

    harness.gateway.take = try_twice
    report = await harness.call(PLAIN, faults=CallFaults(accept=Refuse(500, times=1)))
    assert report.accepted
    assert harness.totals["violations"] == 0


async def test_an_accept_that_is_never_answered_times_out(harness: SimulatorHarness) -> None:
    """The client's own timeout ends the wait, and the caller gives up."""
    harness.gateway.client = harness.gateway.client.with_options(timeout=0.3)
    report = await harness.call_in_vain(PLAIN, faults=CallFaults(accept=NeverAnswer()))
    await harness.gateway.settled()
    assert isinstance(harness.gateway.failures[0], openai.APITimeoutError)
    assert report.end == "unanswered"


async def test_a_lost_answer_is_an_accept_nobody_knows_of(harness: SimulatorHarness) -> None:
    """An accept that was carried out without an answer counts as lost, neither as accepted nor as abandoned."""
    report = await harness.call_in_vain(PLAIN, faults=CallFaults(accept=DropConnection()))
    await harness.gateway.settled()
    assert isinstance(harness.gateway.failures[0], openai.APIConnectionError)
    assert (report.end, report.accepted) == ("abandoned", False)
    totals = harness.totals
    assert (totals["accepts_lost"], totals["accepted_calls"], totals["abandoned"]) == (1, 0, 0)


async def test_a_blind_retry_of_a_lost_accept_breaks_the_protocol(harness: SimulatorHarness) -> None:
    """The second accept is a conflict, and the truth says who sent it."""
    harness.gateway.client = harness.gateway.client.with_options(max_retries=1)
    await harness.call_in_vain(PLAIN, call_id="rtc_twice", faults=CallFaults(accept=DropConnection(times=1)))
    await harness.gateway.settled()
    assert isinstance(harness.gateway.failures[0], openai.ConflictError)
    assert harness.carrier.ground_truth()["violations"] == [{"call_id": "rtc_twice", "what": "second accept"}]


async def test_a_lost_accept_counts_once_the_gateway_acts_on_it(harness: SimulatorHarness) -> None:
    """A gateway that attaches to the session all the same has an accepted and started call."""
    faults = CallFaults(accept=Refuse(500, processed=True))

    async def attach_anyway(call_id: str) -> None:
        with pytest.raises(openai.InternalServerError):
            await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
        await harness.gateway.attach(call_id)

    harness.gateway.take = attach_anyway
    report = await harness.call(PLAIN, faults=faults)
    assert (report.accepted, report.started, report.end) == (True, True, "caller_hung_up")
    assert harness.totals["accepted_calls"] == 1


async def test_a_sideband_may_be_found_late(harness: SimulatorHarness) -> None:
    """So many handshakes are refused with 404; the SDK raises what a gateway can retry on."""
    refusals: list[Response] = []

    async def attach_patiently(call_id: str) -> None:
        await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
        for _ in range(2):
            with pytest.raises(InvalidStatus) as refusal:
                await harness.gateway.attach(call_id)
            refusals.append(refusal.value.response)
        await harness.gateway.attach(call_id)

    harness.gateway.take = attach_patiently
    report = await harness.call(PLAIN, faults=CallFaults(handshake_refusals=2))
    assert [refusal.status_code for refusal in refusals] == [404, 404]
    assert b"call_id_not_found" in (refusals[0].body or b"")
    assert report.started


async def test_a_sideband_that_is_never_found_is_an_abandoned_call(harness: SimulatorHarness) -> None:
    """A call that was accepted and whose sideband never opens is abandoned, never started."""
    report = await harness.call_in_vain(PLAIN, faults=CallFaults(handshake_refusals=1000))
    await harness.gateway.settled()
    assert isinstance(harness.gateway.failures[0], InvalidStatus)
    assert (report.end, report.accepted, report.started) == ("abandoned", True, False)
    assert (harness.totals["abandoned"], harness.totals["started_calls"]) == (1, 0)


async def test_a_sideband_can_break_at_every_step(harness: SimulatorHarness) -> None:
    """Wherever the connection breaks, the gateway got every event sent before, and the call ended without failing."""
    cuts = range(34)
    reports = await asyncio.gather(
        *(harness.call(PLAIN, call_id=f"rtc_{after}", faults=CallFaults(cut=SocketCut(after))) for after in cuts)
    )
    await harness.gateway.settled()
    assert [harness.gateway.heard[f"rtc_{after}"] for after in cuts] == list(cuts)
    assert {(report.started, report.failed, report.end) for report in reports} == {(True, False, "caller_hung_up")}
    assert [close.rcvd for close in harness.gateway.closes] == [None] * len(cuts)
    assert (harness.totals["active_calls"], harness.totals["ended_calls"]) == (0, len(cuts))


async def test_a_cut_with_an_error_code_is_a_failed_call(harness: SimulatorHarness) -> None:
    """The close code of a cut reaches the gateway, and 1011 means that the call failed."""
    report = await harness.call(PLAIN, faults=CallFaults(cut=SocketCut(4, code=1011)))
    await harness.gateway.settled()
    close = harness.gateway.closes[0]
    assert isinstance(close, ConnectionClosedError)
    assert close.rcvd is not None
    assert close.rcvd.code == 1011
    assert report.failed


async def test_the_first_event_can_be_the_gateways(harness: SimulatorHarness) -> None:
    """A cut counts what the carrier sends in answer to the gateway, too: the line breaks though nobody speaks."""
    script = CallScript("mute", (Pause(2000),))
    harness.gateway.says = json.dumps({"type": "session.update", "session": {"type": "realtime"}})
    report = await harness.call(script, faults=CallFaults(cut=SocketCut(2)))
    assert (report.end, report.failed) == ("caller_hung_up", False)


@pytest.mark.parametrize("fault", [Refuse(500), NeverAnswer(), DropConnection(processed=False)])
async def test_a_refused_reject_still_tells_its_reason(
    harness: SimulatorHarness, fault: Refuse | NeverAnswer | DropConnection
) -> None:
    """The reason counts by what the gateway asked for, and once, however the request goes."""
    harness.gateway.reject_with = 486
    if isinstance(fault, NeverAnswer):
        # What was sent arrives, however short the wait for its answer.
        timeout = httpx2.Timeout(PATIENT_SECONDS, read=0.3)
        harness.gateway.client = harness.gateway.client.with_options(timeout=timeout)
    report = await harness.call_in_vain(
        PLAIN, once=lambda: harness.totals["rejected_calls_capacity"] == 1, faults=CallFaults(reject=fault)
    )
    await harness.gateway.settled()
    assert len(harness.gateway.failures) == 1
    assert (report.rejection_status, harness.totals["rejected_calls_capacity"]) == (486, 1)


@pytest.mark.parametrize("caller_timeout", [0.6])
@pytest.mark.parametrize("fault", [Refuse(500), Refuse(404), NeverAnswer(), DropConnection(processed=False)])
async def test_a_refer_that_fails_is_no_transfer(
    harness: SimulatorHarness, fault: Refuse | NeverAnswer | DropConnection
) -> None:
    """Without a 200 the call was not referred, and the caller who waits in vain hangs up."""
    script = CallScript("moves", (AgentGreets(AgentSpeaks("Hello")),), AgentTransfers("sales"))
    harness.gateway.client = harness.gateway.client.with_options(timeout=0.3)
    report = await harness.call(script, faults=CallFaults(refer=fault))
    await harness.gateway.settled()
    assert (report.referred, report.started) == (False, True)
    assert harness.totals["referred_calls"] == 0


async def test_a_refer_whose_answer_is_lost_happens_and_is_not_known(harness: SimulatorHarness) -> None:
    """The caller leaves for the new destination, and no transfer counts since the gateway cannot know of one."""
    script = CallScript("moves", (AgentGreets(AgentSpeaks("Hello")),), AgentTransfers("sales"))
    report = await harness.call(script, faults=CallFaults(refer=DropConnection()))
    assert (report.end, report.referred) == ("referred", False)


@pytest.mark.parametrize("caller_timeout", [0.6])
async def test_a_hang_up_that_fails_leaves_the_caller_waiting(harness: SimulatorHarness) -> None:
    """Without the hang-up the call goes on until the caller's patience ends."""
    script = CallScript("ends", (AgentGreets(AgentSpeaks("Hello")),), AgentHangsUp())
    report = await harness.call(script, faults=CallFaults(hangup=Refuse(500)))
    assert report.end == "caller_hung_up"
