"""Nobody is told of a call before it is on record; what is on record is decided about by whoever comes next."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from service.gateway import manager
from service.records.calls import CallRecords, Ownership
from service.records.ledger import NewCall
from service.simulator.faults import CallFaults, NeverAnswer, Operation
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import CallId
from tests.service.gateway.harness import GatewayHarness, announcement, fresh_id, on_the_air, running_harness, serving

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(20)), CallerHangsUp())
NOBODYS = "sip:+19995550199@sip.example.com"


class Gate:
    """Stands in for the records: a call is on record once the gate is open."""

    def __init__(self, records: CallRecords) -> None:
        self.records = records
        self.asked: list[str] = []
        self.open = asyncio.Event()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the rest is the records' own
        return getattr(self.records, name)

    async def claim(self, call: NewCall, budget_seconds: float) -> Ownership:
        self.asked.append(call.call_id)
        await self.open.wait()
        return await self.records.claim(call, budget_seconds)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[GatewayHarness]:
    async with running_harness(tmp_path) as harness:
        yield harness


@pytest.fixture
def gate(harness: GatewayHarness, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(harness.container.records)
    monkeypatch.setattr(harness.container.manager._gate, "_records", gate)
    return gate


@pytest.mark.parametrize("to", ["sip:+18005550000@sip.example.com", NOBODYS], ids=["taken", "turned away"])
async def test_a_delivery_is_answered_once_its_call_is_on_record(harness: GatewayHarness, gate: Gate, to: str) -> None:
    """Neither the first delivery nor its repetition is answered before, and the carrier has been asked for nothing."""
    body = announcement(to=to)
    deliveries = [asyncio.create_task(harness.deliver(body, webhook_id="wh_repeated")) for _ in range(2)]
    await harness.until(lambda: bool(gate.asked), "the record to be asked for")
    done, _ = await asyncio.wait(deliveries, timeout=0.3)
    assert not done
    assert len(gate.asked) == 1
    gate.open.set()
    answers = [await delivery for delivery in deliveries]
    assert [answer.status_code for answer in answers] == [HTTPStatus.OK] * 2
    assert sorted(answer.json().get("deduped", False) for answer in answers) == [False, True]


async def test_a_record_that_takes_too_long_is_no_answer(
    harness: GatewayHarness, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time there is for an answer the carrier is asked to come again, and meets the same call then."""
    monkeypatch.setattr(manager, "ANSWER_SECONDS", 0.05)
    body = announcement()
    early = await harness.deliver(body, webhook_id="wh_1")
    assert (early.status_code, early.headers["retry-after"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "2")
    gate.open.set()
    monkeypatch.setattr(manager, "ANSWER_SECONDS", 60.0)
    late = await harness.deliver(body, webhook_id="wh_1")
    assert (late.status_code, late.json()) == (HTTPStatus.OK, {"ok": True, "deduped": True})
    await harness.settled()
    assert (await harness.numbers())["received_calls"] == 1


async def test_an_undecided_call_is_decided_by_the_next_process(tmp_path: Path) -> None:
    """A caller still ringing when the process goes is answered by the one that comes, under the same trace."""
    async with on_the_air() as carrier:
        call_id = CallId(fresh_id())
        async with serving(carrier, tmp_path) as first:
            never = CallFaults(accept=NeverAnswer(times=1))
            placing = asyncio.create_task(first.place(TALK, call_id=call_id, faults=never))
            tracker = first.container.telemetry.tracker
            await first.until(lambda: tracker.knows(call_id), "the call to be announced")
            await first.until(lambda: bool(carrier._registry.find(call_id).requests[Operation.ACCEPT]), "an accept")
            trace_id = first.container.telemetry.traces.trace_id(call_id)
        async with serving(carrier, tmp_path) as second:
            report = await placing
            await second.settled()
            assert await second.container.records.flush(60)
            record = await second.container.records.find(call_id)
            numbers = await second.numbers()
        assert (report.accepted, report.started, report.end) == (True, True, "caller_hung_up")
        assert record is not None
        assert (record.state, record.trace_id) == (CallState.ENDED, trace_id)
        assert (numbers["accepted_calls"], numbers["started_calls"], numbers["lifecycle_violations"]) == (1, 1, 0)
