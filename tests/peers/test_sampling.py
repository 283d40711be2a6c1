"""What sampling leaves: at the head the admin view stays whole, at the tail the calls worth reading do."""

import asyncio
from pathlib import Path

from service.simulator.faults import CallFaults, Refuse
from service.simulator.script import (
    AgentGreets,
    AgentSpeaks,
    AgentUsesTool,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    SidebandCloses,
)
from tests.peers.collector import Collector
from tests.peers.gateway import Gateway, eventually, gateway
from tests.peers.peers import Peers
from tests.peers.received import Span

SCALE = 0.02
HELLO = AgentGreets(AgentSpeaks("Hello"))
TALK = (HELLO, CallerSpeaks("Hi"), AgentUsesTool("current_time"), AgentSpeaks("It is noon."))
SLOW = (HELLO, CallerSpeaks("Hi"), AgentSpeaks("Well…", think_seconds=2.5 / SCALE))
"""The caller waits two and a half real seconds for an answer."""

NOTABLE_SECONDS = 1.5
"""The shortest wait for an answer that the shipped policies keep a call for."""

NOBODY = "+12125550001"
"""A number no tenant has."""


async def test_without_a_single_trace_the_admin_view_is_whole(peers: Peers, tmp_path: Path) -> None:
    """Head sampling that keeps nothing: the call says so, and all but its spans is there; metrics and logs leave."""
    collector = peers.collector("base", "local")
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http,
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    async with gateway(tmp_path, environment, scale=SCALE) as line:
        call_id = await line.call(CallScript("ordinary", TALK, CallerHangsUp()))
        call = await line.get(f"/api/v1/calls/{call_id}")
        listed = (await line.get("/api/v1/calls?outcome=hangup"))["calls"]
        picture = (await line.client.get(f"/api/v1/calls/{call_id}/timeline.svg")).text
        by_trace = await line.get(f"/api/v1/traces/{call['trace']['trace_id']}")
    assert (call["trace"]["sampled"], call["trace"]["spans"]) == (False, [])
    assert call["trace"]["note"] in picture
    assert {"tenant_lookup", "instructions", "accept", "connect"} <= {phase["phase"] for phase in call["phases"]}
    assert (call["turn_count"], [tool["tool"] for tool in call["tools"]]) == (1, ["current_time"])
    assert call["turns"][0]["time_to_first_audio_seconds"] > 0
    assert call["tokens"]["output"] > 0
    assert "call ended" in {entry["message"] for entry in call["logs"]}
    assert [entry["call_id"] for entry in listed] == [by_trace["call_id"]] == [call_id]

    async def counted() -> bool:
        points, logs = await asyncio.to_thread(lambda: (collector.received.points(), collector.received.logs()))
        return any(p.metric == "voice.call.ended" for p in points) and any("ended" in record.body for record in logs)

    await eventually(counted, "the metrics and logs")
    assert collector.received.spans() == []


async def test_the_tail_keeps_the_calls_worth_reading(peers: Peers, tmp_path: Path) -> None:
    """The service's own rejected, refused, failed and slow calls are kept whole; ordinary ones are not."""
    sink = peers.sink()
    environment = {f"OTLP_{signal}_URL": f"{sink.url}/v1/{signal.lower()}" for signal in ("METRICS", "TRACES", "LOGS")}
    none_of_the_rest = {"COLLECTOR_SAMPLE_PERCENT": "0", "COLLECTOR_ROOT_GRACE": "1s"}
    collector = peers.collector("base", "production", "vendors/otlp", environment=environment | none_of_the_rest)
    async with gateway(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}, scale=SCALE) as line:
        # First, so that what is decided about the others is decided about them too.
        ordinary = await _ordinary(line)
        worth_reading = {
            await line.call(CallScript("rejected", TALK), number=NOBODY),
            await line.call(CallScript("refused", TALK), faults=CallFaults(accept=Refuse(500))),
            await line.call(CallScript("failed", TALK, SidebandCloses(1011))),
            await line.call(CallScript("slow", SLOW, CallerHangsUp())),
        }

        async def decided() -> bool:
            return await asyncio.to_thread(_calls, collector) >= worth_reading

        await eventually(decided, "the decisions")
    assert ordinary not in _calls(collector)
    kept = {span.trace_id for span in collector.received.spans()}
    assert _violations(collector)
    assert _violations(collector) <= kept, "an exemplar of a broken objective leads nowhere"
    for spans in _traces(collector):
        known = {span.span_id for span in spans}
        assert {span.parent_id for span in spans if span.parent_id} <= known


async def _ordinary(line: Gateway) -> str:
    """A call in which nobody waited long; on a busy machine it may take more than one."""
    while True:
        call_id = await line.call(CallScript("ordinary", TALK, CallerHangsUp()))
        if (await line.get(f"/api/v1/calls/{call_id}"))["longest_wait_seconds"] < NOTABLE_SECONDS:
            return call_id


def _calls(collector: Collector) -> set[str]:
    return {str(span.attributes["voice.call.id"]) for span in collector.received.spans("call")}


def _violations(collector: Collector) -> set[str]:
    """The traces that exemplars of answers past the objective name."""
    return {
        trace_id
        for point in collector.received.points("voice.turn.time_to_first_audio")
        for trace_id, seconds in zip(point.exemplar_trace_ids, point.exemplar_values, strict=True)
        if seconds > NOTABLE_SECONDS
    }


def _traces(collector: Collector) -> list[list[Span]]:
    spans = collector.received.spans()
    kept = {span.trace_id for span in spans if span.name == "call"}
    return [[span for span in spans if span.trace_id == trace_id] for trace_id in kept]
