"""Three ledgers of the same calls: what the carrier saw, what the service answers, what Prometheus was sent."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from service.simulator.plan import Plan
from service.simulator.shares import Shares
from service.simulator.tenants import Tenant, simulated_tenants
from telemetry.catalog import LIVE_FIELDS
from tests.peers.gateway import PATIENCE_SECONDS, Gateway, gateway
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus

TENANTS = 12
CALLS = 300
MINUTES = "minutes_processed"

PROMQL: Mapping[str, str] = {
    "active_calls": "voice_call_active",
    "accepted_calls": "voice_call_accepted_total",
    "rejected_calls_capacity": 'voice_call_rejected_total{voice_call_rejection_reason="capacity"}',
    "rejected_calls_tenant_not_configured": (
        'voice_call_rejected_total{voice_call_rejection_reason="tenant_not_configured"}'
    ),
    "rejected_calls_instructions_missing": (
        'voice_call_rejected_total{voice_call_rejection_reason="instructions_missing"}'
    ),
    "instructions_db_errors": "voice_instructions_errors_total",
    "fallback_instructions_used": "voice_instructions_fallbacks_total",
    "started_calls": "voice_call_started_total",
    "ended_calls": "voice_call_ended_total",
    "failed_calls": 'voice_call_ended_total{error_type!=""}',
    "referred_calls": "voice_call_referred_total",
    MINUTES: "voice_call_time_seconds_total",
}
"""Where each of the twelve fields is in Prometheus; minutes are seconds there."""

Row = Mapping[str, float]


@pytest.mark.parametrize(
    ("protocol", "processes"),
    [("http/protobuf", 1), ("grpc", 1), ("http/protobuf", 2)],
    ids=["http", "grpc", "two processes"],
)
async def test_three_ledgers_agree(
    protocol: str, processes: int, peers: Peers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After several hundred calls each of the twelve fields is one number in all three, per tenant and in all."""
    prometheus = peers.prometheus()
    environment = {
        "PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url,
        "TRACES_OTLP_GRPC": peers.jaeger().otlp_grpc_target,
    }
    collector = peers.collector("base", "local", environment=environment)
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    exporting = {
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
        truth, admin = _sum([ledger[0] for ledger in ledgers]), _sum([ledger[1] for ledger in ledgers])
        exported = await _exported(prometheus, admin)
    with capsys.disabled():
        sys.stdout.write(
            _table(f"{protocol}, {processes} process(es)", truth["global"], admin["global"], exported["global"])
        )
    assert _differing(admin, exported) == []


async def _several_hundred_calls(pair: Gateway, seed: int) -> None:
    shares = Shares(unknown=0.1, duplicates=0.1, errors=0.1, refers=0.15)
    await pair.traffic(Plan(f"ledgers-{seed}", seed=seed, calls_per_second=25, calls=CALLS, shares=shares))


def _without_some_instructions(tenants: Sequence[Tenant]) -> list[Tenant]:
    """Every fourth tenant lives on the fallback."""
    return [{**tenant, "instructions": None} if place % 4 == 0 else tenant for place, tenant in enumerate(tenants)]


def _sum(ledgers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ledgers of several processes as one."""
    tenants = {tenant_id for ledger in ledgers for tenant_id in ledger["tenants"]}
    return {
        "global": {field: sum(ledger["global"][field] for ledger in ledgers) for field in LIVE_FIELDS},
        "tenants": {
            tenant_id: {
                field: sum(ledger["tenants"].get(tenant_id, {}).get(field, 0) for ledger in ledgers)
                for field in LIVE_FIELDS
            }
            for tenant_id in tenants
        },
    }


async def _exported(prometheus: Prometheus, admin: Mapping[str, Any]) -> dict[str, Any]:
    """Prometheus' ledger, once it has been sent the last calls or patience is over."""
    found = await asyncio.to_thread(_ask, prometheus, admin["tenants"])
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while _differing(admin, found) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        found = await asyncio.to_thread(_ask, prometheus, admin["tenants"])
    return found


def _ask(prometheus: Prometheus, tenants: Mapping[str, Row]) -> dict[str, Any]:
    rows: dict[str, dict[str, float]] = {tenant_id: dict.fromkeys(LIVE_FIELDS, 0.0) for tenant_id in tenants}
    total: dict[str, float] = {}
    for field, selector in PROMQL.items():
        scale = 60 if field == MINUTES else 1
        samples = prometheus.query(f"sum by (tenant_id) ({selector})")
        for sample in samples:
            rows.setdefault(sample.labels["tenant_id"], dict.fromkeys(LIVE_FIELDS, 0.0))[field] = sample.value / scale
        total[field] = sum(sample.value for sample in samples) / scale
    return {"global": total, "tenants": rows}


def _differing(admin: Mapping[str, Any], exported: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    """Where the service and Prometheus disagree; sums of seconds were added up in another order."""
    scopes = {"global": (admin["global"], exported["global"])} | {
        tenant_id: (row, exported["tenants"].get(tenant_id, {})) for tenant_id, row in admin["tenants"].items()
    }
    return [
        (scope, field, ours[field], theirs.get(field, 0))
        for scope, (ours, theirs) in scopes.items()
        for field in LIVE_FIELDS
        if theirs.get(field, 0) != (pytest.approx(ours[field]) if field == MINUTES else ours[field])
    ]


def _table(title: str, truth: Row, admin: Row, exported: Row) -> str:
    head = f"\n{title:40}{'carrier':>12}{'admin':>12}{'Prometheus':>12}"
    rows = [f"{field:40}{truth[field]:>12.6g}{admin[field]:>12.6g}{exported[field]:>12.6g}" for field in LIVE_FIELDS]
    return "\n".join([head, *rows, ""])
