"""The dashboards after a day at the gateway: simulated calls through the service, the Collector and Prometheus."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import suppress
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

logger = logging.getLogger(__name__)

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
        figures = await _figures(prometheus, line, [str(tenant["tenant_id"]) for tenant in tenants])
    assert without == []
    logger.info("%s", "\n".join(f"| {panel} | {shown:g} | {on_record:g} |" for panel, shown, on_record in figures))
    assert [figure for figure in figures if figure[1] != pytest.approx(figure[2], abs=0.005)] == []
    assert not [panel for panel, shown, _ in figures if shown == 0 and not panel.startswith(FAILED)]


async def _hesitant_callers(line: Gateway) -> None:
    """Place some, one after the other, since a rate needs a second call to rise by."""
    for _ in range(4):
        *_, number = line.carrier.numbers
        await line.carrier.place_call(dial(number, HESITANT, rng=Random()))  # noqa: S311 -- an id nobody else has


TURNED_AWAY, FAILED = "capacity/Turned away, in the time shown", "tenant/Failed, in the time shown"
Figure = tuple[str, float, float]
"""What is shown, its value, and that of the records."""


async def _figures(prometheus: Prometheus, line: Gateway, tenants: list[str]) -> list[Figure]:
    """Each figure over the last hour that the records have as well, once they agree or time is up."""
    found: list[Figure] = []

    async def agree() -> bool:
        found[:] = [figure async for figure in _read(prometheus, line, tenants)]
        return all(abs(shown - on_record) < 0.005 for _, shown, on_record in found)

    with suppress(AssertionError):  # the test says which differ
        await eventually(agree, "dashboards and records to agree")
    return found


async def _read(prometheus: Prometheus, line: Gateway, tenants: list[str]) -> AsyncIterator[Figure]:
    today = datetime.now(UTC).date()
    period = f"from={today - timedelta(days=1)}&to={today + timedelta(days=2)}"
    lines = (await line.get(f"/api/v1/usage?{period}&group_by=tenant,outcome"))["lines"]

    def on_record(key: str = "calls", **wanted: str) -> float:
        return sum(float(each[key]) for each in lines if all(each[name] == value for name, value in wanted.items()))

    async def shown(panel: str, tenant: str = "") -> float:
        expression = next(query.expression for query in queries() if str(query) == panel)
        filled = expression.replace("$__range", "1h").replace("$tenant", tenant)
        samples = await asyncio.to_thread(prometheus.query, filled)
        return samples[0].value if samples else 0.0

    total = "billing/Minutes, in the time shown"
    yield total, await shown(total), on_record("seconds") / 60
    yield TURNED_AWAY, await shown(TURNED_AWAY), on_record(outcome="rejected", reason="capacity")
    for tenant in tenants:
        of_all, rejected, unanswered, failed = (
            on_record(tenant_id=tenant, **({"outcome": outcome} if outcome else {}))
            for outcome in ("", "rejected", "unanswered", "failed")
        )
        recorded = {
            "tenant/Accepted, in the time shown": of_all - rejected - unanswered,
            "tenant/Rejected, in the time shown": rejected,
            FAILED: failed,
            "tenant/Minutes, in the time shown": on_record("seconds", tenant_id=tenant) / 60,
        }
        for panel, value in recorded.items():
            yield f"{panel}, {tenant}", await shown(panel, tenant), value


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
