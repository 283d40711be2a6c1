"""The dashboards after a day at the gateway: simulated calls through the service, the Collector and Prometheus."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from service.simulator.call import dial
from service.simulator.faults import ALWAYS, CallFaults, Refuse
from service.simulator.script import AgentGreets, AgentSpeaks, CallScript, Pause
from service.simulator.script_writer import Shares
from service.simulator.tenants import Tenant, simulated_tenants
from service.simulator.traffic import Plan
from tests.collector.dashboards import Query, queries
from tests.peers.gateway import TIMEOUT_SECONDS, Gateway, eventually, gateway
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus

BUSY = Shares(unknown=0.1, duplicates=0.1, errors=0.1, refers=0.15, interruptions=0.4, tools=0.4)
FAULTS = ((0.05, CallFaults(accept=Refuse(500))), (0.05, CallFaults(handshake_refusals=ALWAYS)))
"""Some calls the carrier fails over, and some that are accepted and never start."""

HESITANT = CallScript(
    "dead_air", (AgentGreets(AgentSpeaks("Good day.")), Pause(200.0), AgentSpeaks("Are you still there?"))
)
"""A call with four seconds, as the gateway counts them, in which nobody speaks."""

NOT_OF_THIS_SOURCE = {"quality/Stages of an answer"}
"""Panels without data here: a model that hears and speaks tells no stages of its answers, as other sources do."""


async def test_every_panel_has_data_after_a_simulator_run(peers: Peers, tmp_path: Path) -> None:
    """Each expression of each dashboard has a value that is a number, with nothing but real calls to draw from."""
    prometheus = peers.prometheus()
    collector = peers.collector(
        "base", "local", environment={"PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url}
    )
    environment = {"MAX_CONCURRENT_CALLS": "10", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}
    tenants = _one_on_the_fallback(simulated_tenants(3, max_concurrent_calls=4))
    async with gateway(tmp_path, environment, tenants=tenants) as line:
        busy = Plan("dashboards", seed=1, calls_per_second=20, calls=150, shares=BUSY, faults=FAULTS)
        await asyncio.gather(line.traffic(busy), _hesitant_callers(line))
        without = await _without_data(prometheus, str(tenants[0]["tenant_id"]))
        shown, on_record = await _minutes(prometheus, line)
    assert without == []
    assert shown == pytest.approx(on_record, abs=0.005)


async def _hesitant_callers(line: Gateway) -> None:
    """Place some, one after the other, since a rate needs a second call to rise by."""
    for _ in range(4):
        *_, number = line.carrier.numbers
        await line.carrier.place_call(dial(number, HESITANT, rng=Random()))  # noqa: S311 -- an id nobody else has


async def _minutes(prometheus: Prometheus, line: Gateway) -> tuple[float, float]:
    """The minutes that the dashboard shows over the last hour, once they stand still, and those of the records."""
    (query,) = (query for query in queries() if str(query) == "billing/Minutes, in the time shown")
    expression = query.expression.replace("$__range", "1h")
    today = datetime.now(UTC).date()
    period = f"from={today - timedelta(days=1)}&to={today + timedelta(days=2)}"

    async def both() -> tuple[float, float] | None:
        usage = await line.get(f"/api/v1/usage?{period}")
        on_record = float(usage["total"]["seconds"]) / 60
        shown = await asyncio.to_thread(prometheus.value, expression)
        return (shown, on_record) if usage["total"]["open_calls"] == 0 and abs(shown - on_record) < 0.005 else None

    found: tuple[float, float] = await eventually(both, "dashboard and records to have the same minutes")
    return found


def _one_on_the_fallback(tenants: list[Tenant]) -> list[Tenant]:
    first, *others = tenants
    return [{**first, "instructions": None}, *others]


async def _without_data(prometheus: Prometheus, tenant: str) -> list[str]:
    """The panels that have no value, once the last points have arrived or time is up."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    waiting = [query for query in queries() if str(query) not in NOT_OF_THIS_SOURCE]
    while waiting and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.5)
        waiting = [query for query in waiting if not await asyncio.to_thread(_has_data, prometheus, query, tenant)]
    return [f"{query}: {query.filled(tenant)}" for query in waiting]


def _has_data(prometheus: Prometheus, query: Query, tenant: str) -> bool:
    return any(not math.isnan(sample.value) for sample in prometheus.query(query.filled(tenant)))
