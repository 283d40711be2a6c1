"""A process killed under a call: what backend, record and the next process still know of it."""

import asyncio
from pathlib import Path
from random import Random

from service.simulator.call import dial
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallerSpeaks, CallScript, Pause
from tests.peers.collector import Collector
from tests.peers.gateway import TIMEOUT_SECONDS, Gateway, eventually, gateway
from tests.peers.peers import Peers
from tests.peers.received import Json, LogRecord

TALK = (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?"), CallerSpeaks("And?"))
ON_AND_ON = CallScript("running", (*TALK, AgentSpeaks("So."), Pause(100_000.0)), CallerHangsUp())
QUICK = {"CALL_HEARTBEAT_SECONDS": "0.3"}


async def test_a_killed_call_is_known_by_what_had_ended(peers: Peers, tmp_path: Path) -> None:
    """The backend has its beginning and the spans that had ended; the next process goes on in the same trace."""
    collector = peers.collector("base", "local")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http, **QUICK}
    async with gateway(tmp_path, environment, linger_seconds=TIMEOUT_SECONDS) as line:
        call = dial(next(iter(line.carrier.numbers)), ON_AND_ON, rng=Random())  # noqa: S311 -- an id nobody else has
        call_id = call.call_id
        placed = asyncio.create_task(line.carrier.place_call(call))
        await eventually(lambda: _state(line, call_id, "started"), "the call to run")
        trace_id = (await line.get(f"/api/v1/calls/{call_id}"))["trace"]["trace_id"]
        await eventually(lambda: _arrived(collector, trace_id, "turn"), "the first turn to arrive")
        started: LogRecord = await eventually(lambda: _started(collector), "`call.started` to arrive")
        await asyncio.to_thread(line.service.kill)
        assert (started.trace_id, started.attributes["voice.call.id"]) == (trace_id, call_id)
        assert {"webhook", "tenant_lookup", "accept", "connect", "turn"} <= _names(collector, trace_id)
        assert _names(collector, trace_id).isdisjoint({"call", "session"})
        await asyncio.to_thread(line.service.start)
        await eventually(lambda: _state(line, call_id, "started"), "the next process to go on")
        line.carrier.hang_up_all()
        await placed
        await eventually(lambda: _state(line, call_id, "ended"), "the call to end")
        known = await line.get(f"/api/v1/calls/{call_id}")
        assert (known["trace"]["trace_id"], known["resumed"], known["outcome"]) == (trace_id, True, "hangup")
        assert not [span for span in _flat(known["trace"]["spans"]) if span["open"]]
        await eventually(lambda: _arrived(collector, trace_id, "call"), "the root to arrive")
    sent = [span.span_id for span in collector.received.spans()]
    assert len(sent) == len(set(sent))


async def _state(line: Gateway, call_id: str, state: str) -> bool:
    answer = await line.client.get(f"/api/v1/calls/{call_id}")
    return answer.status_code == 200 and answer.json()["state"] == state


async def _started(collector: Collector) -> LogRecord | None:
    records = await asyncio.to_thread(collector.received.logs)
    return next((record for record in records if record.event == "call.started"), None)


async def _arrived(collector: Collector, trace_id: str, name: str) -> bool:
    return name in await asyncio.to_thread(_names, collector, trace_id)


def _names(collector: Collector, trace_id: str) -> set[str]:
    return {span.name for span in collector.received.spans() if span.trace_id == trace_id}


def _flat(spans: list[Json]) -> list[Json]:
    return [each for span in spans for each in (span, *_flat(span["children"]))]
