"""Three ledgers of the same calls: what the carrier saw, what the service answers, what Prometheus was sent."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.simulator.script_writer import Shares
from service.simulator.tenants import Tenant, simulated_tenants
from service.simulator.traffic import Plan
from telemetry.semconv.catalogue import LIVE_FIELDS
from tests.peers.gateway import FALLBACK, Gateway, gateway
from tests.peers.ledgers import differing, exported, summed, table
from tests.peers.peers import Peers

TENANTS = 12
CALLS = 300
MISSING, FALLEN_BACK = "rejected_calls_instructions_missing", "fallback_instructions_used"
NEVER = {"active_calls", "instructions_db_errors"}
"""What is zero at the end of every run: all calls are over, and the database was there."""


@pytest.mark.parametrize(
    ("protocol", "processes", "fallback"),
    [("http/protobuf", 1, FALLBACK), ("grpc", 1, ""), ("http/protobuf", 2, FALLBACK)],
    ids=["http", "grpc", "two processes"],
)
async def test_three_ledgers_agree(
    protocol: str, processes: int, fallback: str, peers: Peers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After several hundred calls each of the twelve fields is one number in all three, per tenant and in all.

    Tenants without instructions live on the general ones, or have their calls rejected where there are none.
    """
    prometheus = peers.prometheus()
    environment = {
        "PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url,
        "TRACES_OTLP_GRPC": peers.jaeger().otlp_grpc_target,
    }
    collector = peers.collector("base", "local", environment=environment)
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    exporting = {
        "FALLBACK_INSTRUCTIONS": fallback,
        "MAX_CONCURRENT_CALLS": "30",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    async with AsyncExitStack() as stack:
        tenants = _without_some_instructions(simulated_tenants(TENANTS, max_concurrent_calls=4))
        pairs = [
            await stack.enter_async_context(gateway(tmp_path / str(number), exporting, tenants=tenants))
            for number in range(processes)
        ]
        await asyncio.gather(*(_several_hundred_calls(pair, seed) for seed, pair in enumerate(pairs)))
        ledgers = [await pair.answers() for pair in pairs]
        assert [difference for _, _, found in ledgers for difference in found] == []
        ground_truth, admin = summed([ledger[0] for ledger in ledgers]), summed([ledger[1] for ledger in ledgers])
        sent = await exported(prometheus, admin)
    with capsys.disabled():
        sys.stdout.write(table(f"{protocol}, {processes} process(es)", ground_truth, admin, sent))
    assert differing(admin, sent) == []
    happened = {field for field, number in ground_truth["global"].items() if number}
    assert happened == set(LIVE_FIELDS) - NEVER - ({MISSING} if fallback else {FALLEN_BACK})


async def _several_hundred_calls(pair: Gateway, seed: int) -> None:
    shares = Shares(unknown=0.1, duplicates=0.1, errors=0.1, refers=0.15)
    await pair.traffic(Plan(f"ledgers-{seed}", seed=seed, calls_per_second=25, calls=CALLS, shares=shares))


def _without_some_instructions(tenants: Sequence[Tenant]) -> list[Tenant]:
    """Every fourth tenant has none."""
    return [{**tenant, "instructions": None} if place % 4 == 0 else tenant for place, tenant in enumerate(tenants)]
