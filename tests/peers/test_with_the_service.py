"""The service's own telemetry in real backends: whole traces, exemplars that lead somewhere, a Collector that dies."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from service.simulator.faults import CallFaults, Refuse
from service.simulator.script import (
    AgentGreets,
    AgentSpeaks,
    AgentTransfers,
    AgentUsesTool,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    SidebandCloses,
)
from service.simulator.traffic import Plan
from tests.peers.gateway import eventually, gateway
from tests.peers.jaeger import Jaeger, StoredSpan
from tests.peers.peers import Peers

HELLO = AgentGreets(AgentSpeaks("Hello"))
TALK = (HELLO, CallerSpeaks("Hi"), AgentUsesTool("current_time"), AgentSpeaks("It is noon."))


async def test_each_kind_of_call_is_one_tree(peers: Peers, tmp_path: Path) -> None:
    """Rejected, failed, transferred and ordinary calls: one trace each through the Collector, without orphans."""
    jaeger = peers.jaeger()
    collector = peers.collector("base", "local", environment={"TRACES_OTLP_GRPC": jaeger.otlp_grpc_target})
    async with gateway(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}) as line:
        calls = {
            "ordinary": await line.call(CallScript("ordinary", TALK, CallerHangsUp())),
            "transferred": await line.call(CallScript("transferred", TALK, AgentTransfers("sales"))),
            "failed": await line.call(CallScript("failed", TALK, SidebandCloses(1011))),
            "rejected": await line.call(CallScript("rejected", TALK), number="+12125550001"),
            "refused": await line.call(CallScript("refused", TALK), faults=CallFaults(accept=Refuse(500))),
        }
        ids = {
            kind: (await line.get(f"/api/v1/calls/{call_id}"))["trace"]["trace_id"] for kind, call_id in calls.items()
        }
    trees = {kind: await _tree(jaeger, trace_id) for kind, trace_id in ids.items()}
    for kind, spans in trees.items():
        assert [span.name for span in spans if not span.parent_id] == ["call"], kind
        known = {span.span_id for span in spans}
        assert {span.parent_id for span in spans if span.parent_id} <= known, f"{kind} has orphans"
    assert {"session", "turn", "speech", "execute_tool current_time"} <= {span.name for span in trees["ordinary"]}
    assert {"transfer"} <= {span.name for span in trees["transferred"]}
    assert _parents(trees["ordinary"], "POST") == {"accept"}
    assert _parents(trees["transferred"], "POST") == {"accept", "transfer"}
    assert _parents(trees["rejected"], "POST") == {"reject"}
    assert _parents(trees["ordinary"], "SELECT") == {"tenant_lookup", "instructions"}
    assert _root(trees["failed"])["error.type"] == "ws_1011"
    assert _root(trees["rejected"])["voice.call.rejection.reason"] == "tenant_not_configured"
    assert _root(trees["refused"])["error.type"] == "500"


async def test_an_exemplar_of_the_service_leads_to_the_call(peers: Peers, tmp_path: Path) -> None:
    """A duration bucket in Prometheus names a trace that Jaeger finds, and that leads back to the call."""
    jaeger, prometheus = peers.jaeger(), peers.prometheus()
    environment = {
        "TRACES_OTLP_GRPC": jaeger.otlp_grpc_target,
        "PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url,
    }
    collector = peers.collector("base", "local", environment=environment)
    async with gateway(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}) as line:
        call_id = await line.call(CallScript("ordinary", TALK, CallerHangsUp()))

        async def exemplars() -> list[str]:
            found = await asyncio.to_thread(prometheus.query_exemplars, "voice_call_duration_seconds_bucket")
            return [exemplar.trace_id for exemplar in found]

        trace_id = (await eventually(exemplars, "an exemplar"))[0]
        assert (await line.get(f"/api/v1/traces/{trace_id}"))["call_id"] == call_id
    assert await _tree(jaeger, trace_id)


async def test_a_collector_that_dies_under_load_costs_nothing(peers: Peers, tmp_path: Path) -> None:
    """Calls go on while it is away; once it is back, Prometheus has what the service and the carrier have."""
    prometheus = peers.prometheus()
    collector = peers.collector(
        "base", "local", environment={"PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url}
    )
    async with gateway(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}) as line:
        await line.traffic(Plan("before", seed=1, calls_per_second=20, calls=40))
        await asyncio.to_thread(collector.kill)
        await line.traffic(Plan("away", seed=2, calls_per_second=20, calls=80))

        async def noticed() -> bool:
            ready = await line.get("/readyz")
            return bool(ready["information"]["export"]["metrics"]["consecutive_failures"])

        await eventually(noticed, "the service to notice")
        _, said, differing = await line.answers()
        assert differing == []
        await asyncio.to_thread(collector.start)

        async def arrived() -> bool:
            ended = await asyncio.to_thread(prometheus.query, "sum(voice_call_ended_total)")
            return bool(ended) and ended[0].value == said["global"]["ended_calls"]

        await eventually(arrived, "the counts to arrive")

        async def recovered() -> bool:
            return not (await line.get("/readyz"))["information"]["export"]["failing"]

        await eventually(recovered, "the service to say so")


async def _tree(jaeger: Jaeger, trace_id: str) -> list[StoredSpan]:
    """The trace, once its root has arrived."""

    async def spans() -> list[StoredSpan]:
        found = await asyncio.to_thread(jaeger.trace, trace_id)
        return found if any(span.name == "call" for span in found) else []

    whole: list[StoredSpan] = await eventually(spans, f"the trace {trace_id}")
    return whole


def _parents(spans: list[StoredSpan], name: str) -> set[str]:
    """What the spans of this name hang below."""
    names = {span.span_id: span.name for span in spans}
    return {names[span.parent_id] for span in spans if span.name == name}


def _root(spans: list[StoredSpan]) -> Mapping[str, object]:
    return next(span.tags for span in spans if not span.parent_id)
