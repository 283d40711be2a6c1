"""What a process prints: one JSON line a transition, and little else."""

import asyncio
import json
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from service.simulator.script import AgentGreets, AgentSpeaks, AgentTransfers, AgentUsesTool, CallerSpeaks, CallScript
from telemetry.logs.formatter import TRANSITION_KEYS
from tests.peers.gateway import gateway
from tests.telemetry.otlp_receiver import Receiver, http_receiver

TURN = (CallerSpeaks("Hi"), AgentUsesTool("current_time"), AgentSpeaks("It is noon."))
TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), *TURN, *TURN, *TURN), AgentTransfers("sales"))
TRANSITIONS = ["call.received", "call.accepted", "call.started", "call.referred", "call.ended"]
OURS = ("callscope.", "service.", "telemetry.", "uvicorn.error")

Line = dict[str, Any]


async def printed(folder: Path, level: str, receiver: Receiver) -> list[Line]:
    """The lines about a call with three turns and a transfer, and about requests right and wrong."""
    environment = {"LOG_LEVEL": level, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    async with gateway(folder, environment) as line:
        await line.call(TALK)
        for path in ("/api/v1/calls", "/api/v1/calls?limit=x", "/nothing", "/livez", "/readyz"):
            await line.client.get(path)
        await line.client.get("/api/v1/calls", headers={"X-Admin-Token": "wrong"})
    text = await asyncio.to_thread(lambda: line.service.log)
    lines = text.splitlines()
    greetings = [each for each in lines if each.startswith("Callscope serves http://")]
    assert len(greetings) == 1
    return [json.loads(each) for each in lines if each not in greetings]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_a_process_prints_its_transitions_and_no_chatter(tmp_path: Path, level: str) -> None:
    """Each transition is one line with the named fields in their order; a turn is none at INFO, a request never is."""
    with http_receiver() as receiver:
        lines = await printed(tmp_path, level, receiver)
        told = [line for line in lines if "event" in line]
        assert [line["event"] for line in told if line["level"] == "INFO"] == TRANSITIONS
        assert all(list(line)[: len(TRANSITION_KEYS)] == list(TRANSITION_KEYS) for line in told)
        assert len({(line["call_id"], line["trace_id"]) for line in told}) == 1
        assert {line["host"] for line in lines} == {gethostname()}
        assert len({(line["instance"], line["pid"]) for line in lines}) == 1
        assert [line["event"] for line in told if line["level"] == "DEBUG"] == ["turn.ended"] * 3 * (level == "DEBUG")
        assert {line["logger"] for line in lines if not line["logger"].startswith(OURS)} == set()
        assert not any("GET" in line["msg"] or "POST" in line["msg"] for line in lines)
        sent = [record for record in receiver.log_records if record.event_name in TRANSITIONS]
        assert {record.trace_id.hex() for record in sent} == {told[0]["trace_id"]}
        assert [record.event_name for record in sent] == TRANSITIONS
