"""The trace of a call that a real service took: what it is made of, and where it came from."""

from pathlib import Path

import pytest

from service.simulator.faults import CallFaults, Refuse
from service.simulator.script import AgentGreets, AgentSpeaks, AgentTransfers, CallerHangsUp, CallerSpeaks, CallScript
from telemetry.recent.record import SpanRow, Trace
from tests.service.gateway.harness import GatewayHarness, announcement, fresh_id, running_harness

TALK = (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?"))
SETUP = ["webhook", "record", "tenant_lookup", "capacity", "instructions", "record", "accept"]
# Twice on record: the number was not called before, so that the claim could not name its tenant.


def trace(harness: GatewayHarness, call_id: str) -> Trace:
    found = harness.record(call_id).trace
    assert found is not None
    return found


def children(found: Trace, of: str) -> list[SpanRow]:
    """The spans below the one of this name."""
    (parent,) = [span for span in found.spans if span.name == of]
    return [span for span in found.spans if span.parent_id == parent.span_id]


async def test_every_step_of_the_way_is_a_span(tmp_path: Path) -> None:
    """From the delivery of the webhook on, no step of the setup goes untold; the rest hangs in the session."""
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        await harness.call(CallScript("refer", TALK, AgentTransfers("sales")), call_id=call_id)
        found = trace(harness, call_id)
        assert [span.name for span in children(found, "call")] == [*SETUP, "connect", "session"]
        assert "turn" in {span.name for span in children(found, "session")}
        assert "execute_tool transfer_call" in {span.name for span in children(found, "turn")}
        assert [span.name for span in children(found, "execute_tool transfer_call")] == ["transfer"]
        assert all(span.end_unix_nanos is not None for span in found.spans)


async def test_what_a_step_asks_of_others_hangs_below_it(tmp_path: Path) -> None:
    """Statements are in the look-ups that need them, requests to the carrier in the steps that make them."""
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        await harness.call(CallScript("plain", TALK, CallerHangsUp()), call_id=call_id)
        found = trace(harness, call_id)
        for step in ("tenant_lookup", "instructions"):
            assert {"SELECT"} <= {span.name for span in children(found, step)}, step
        (request,) = children(found, "accept")
        assert (request.kind, request.name, request.attributes["http.response.status_code"]) == ("client", "POST", 200)


async def test_a_failed_request_says_why_on_its_step(shared: GatewayHarness) -> None:
    """The step that failed has the carrier's status, as the request and the rejection have."""
    call_id = fresh_id()
    await shared.call(CallScript("plain", TALK), faults=CallFaults(accept=Refuse(429)), call_id=call_id)
    accept = next(phase for phase in shared.record(call_id).phases if phase.phase == "accept")
    assert accept.error_type == "429"
    (request,) = children(trace(shared, call_id), "accept")
    assert (request.error, request.attributes["error.type"]) == (True, "429")


@pytest.mark.parametrize("where", ["the webhook", "a SIP header"])
async def test_a_trace_context_from_outside_is_linked(shared: GatewayHarness, where: str) -> None:
    """Whoever names a trace is linked from the root and is nobody's parent; the call's trace is its own."""
    outside = "4bf92f3577b34da6a3ce929d0e0e4736"
    context = f"00-{outside}-00f067aa0ba902b7-01"
    headers = [{"name": "To", "value": "sip:+12125550001@example.com"}, {"name": "X-Traceparent", "value": context}]
    call_id = fresh_id()
    if where == "the webhook":
        await shared.deliver(announcement(call_id), traceparent=context, baggage="caller=somebody")
    else:
        await shared.deliver(announcement(call_id, sip_headers=headers))
    await shared.settled()
    found = trace(shared, call_id)
    (root,) = [span for span in found.spans if span.name == "call"]
    assert (root.parent_id, root.linked_trace_ids) == (None, (outside,))
    assert found.trace_id != outside
