"""The twelve live fields as Prometheus was sent them, to be held against what the service answers."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from telemetry.semconv.catalogue import LIVE_FIELDS
from tests.peers.gateway import TIMEOUT_SECONDS
from tests.peers.prometheus import Prometheus

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
Ledger = Mapping[str, Any]
"""``{"global": {field: number}, "tenants": {tenant_id: {field: number}}}``."""


def summed(ledgers: Sequence[Ledger]) -> Ledger:
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


async def exported(prometheus: Prometheus, admin: Ledger) -> Ledger:
    """Prometheus' ledger, once it has been sent what the service answered or time is up."""
    found = await asyncio.to_thread(_ask, prometheus, admin["tenants"])
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    while differing(admin, found) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        found = await asyncio.to_thread(_ask, prometheus, admin["tenants"])
    return found


def differing(admin: Ledger, sent: Ledger) -> list[tuple[str, str, float, float]]:
    """Where the service and Prometheus disagree: scope, field, and both numbers. Who knows nothing says zero."""
    scopes = {"global": (admin["global"], sent["global"])} | {
        tenant_id: (admin["tenants"].get(tenant_id, {}), sent["tenants"].get(tenant_id, {}))
        for tenant_id in admin["tenants"].keys() | sent["tenants"].keys()
    }
    return [
        (scope, field, ours.get(field, 0), theirs.get(field, 0))
        for scope, (ours, theirs) in scopes.items()
        for field in LIVE_FIELDS
        if not _same(field, ours.get(field, 0), theirs.get(field, 0))
    ]


def table(title: str, ground_truth: Ledger, admin: Ledger, sent: Ledger) -> str:
    """The three ledgers' totals side by side."""
    head = f"\n{title:40}{'carrier':>12}{'admin':>12}{'Prometheus':>12}"
    columns = [ledger["global"] for ledger in (ground_truth, admin, sent)]
    rows = [f"{field:40}" + "".join(f"{column[field]:>12.6g}" for column in columns) for field in LIVE_FIELDS]
    return "\n".join([head, *rows, ""])


def _same(field: str, ours: float, theirs: float) -> bool:
    """Compare counts to the unit, and minutes to the six places that the endpoint answers with."""
    return math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-6) if field == MINUTES else ours == theirs


def _ask(prometheus: Prometheus, tenants: Mapping[str, Row]) -> Ledger:
    rows: dict[str, dict[str, float]] = {tenant_id: dict.fromkeys(LIVE_FIELDS, 0.0) for tenant_id in tenants}
    total: dict[str, float] = {}
    for field, selector in PROMQL.items():
        scale = 60 if field == MINUTES else 1
        samples = prometheus.query(f"sum by (tenant_id) ({selector})")
        for sample in samples:
            rows.setdefault(sample.labels["tenant_id"], dict.fromkeys(LIVE_FIELDS, 0.0))[field] = sample.value / scale
        total[field] = sum(sample.value for sample in samples) / scale
    return {"global": total, "tenants": rows}
