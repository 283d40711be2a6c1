"""A real Prometheus that comes and reads: the same names and numbers as by OTLP, over restarts of the service."""

import asyncio
from pathlib import Path

from service.simulator.tenants import simulated_tenants
from service.simulator.traffic import Plan
from tests.peers.gateway import eventually, gateway
from tests.peers.ledgers import differing, exported
from tests.peers.network import free_port
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus

CALLS = 60
TENANTS = 4
ACCEPTED = "voice_call_accepted_total"


async def test_a_scraped_service_has_the_ledger_it_answers(peers: Peers, tmp_path: Path) -> None:
    """Each of the twelve fields is the carrier's, the service's and Prometheus'; a restart sets no series back."""
    port = free_port()
    prometheus = peers.prometheus(callscope=port)
    environment = {
        "MAX_CONCURRENT_CALLS": "10",
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    instances = []
    for seed in (1, 2):
        async with gateway(tmp_path / str(seed), environment, tenants=simulated_tenants(TENANTS)) as line:
            await line.traffic(Plan(f"run-{seed}", calls=CALLS, calls_per_second=20, seed=seed))
            ground_truth, admin, differences = await line.answers()
            assert differences == []
            assert ground_truth["global"]["accepted_calls"] > 0
            sent = await exported(prometheus, admin)
            assert differing(admin, sent) == []
            instances += await eventually(lambda: asyncio.to_thread(_instances, prometheus), "the process to be told")
            assert await asyncio.to_thread(_exemplars, prometheus)
    assert len(set(instances)) == 2
    assert all(instance.count("-") == 4 for instance in instances), "instance is the service.instance.id"
    resets = await asyncio.to_thread(prometheus.query, f"resets({ACCEPTED}[1h]) > 0")
    assert resets == []
    names = await asyncio.to_thread(prometheus.metric_names)
    assert {"voice_call_duration_seconds_bucket", "voice_capacity_utilization_ratio", "target_info"} <= names
    assert not any(name.endswith("_created") for name in names)


def _instances(prometheus: Prometheus) -> list[str]:
    """Return the processes that are scraped now, once the one that ended is known to have."""
    found = {sample.labels["instance"] for sample in prometheus.query(f"max by (instance) ({ACCEPTED})")}
    return sorted(found) if len(found) == 1 else []


def _exemplars(prometheus: Prometheus) -> bool:
    found = prometheus.query_exemplars("voice_call_setup_duration_seconds_bucket")
    return any(exemplar.trace_id for exemplar in found)
