"""The comparison of the ledgers with a real Prometheus behind a real Collector."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.simulator.script_writer import Shares
from service.simulator.tenants import simulated_tenants
from service.simulator.traffic import Plan, Traffic
from tests.peers.gateway import Gateway, eventually, gateway
from tests.peers.network import HOST, free_port
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus
from tests.support.server import TIMEOUT_SECONDS, TLS

RECONCILE = "/api/v1/metrics/reconcile"
SHARES = Shares(unknown=0.1, duplicates=0.1, errors=0.1, refers=0.15)
EXPORT_SECONDS = 0.5
"""How often the service exports in these tests, or is scraped."""

Reached = Callable[[Peers], tuple[Prometheus, dict[str, str]]]
"""Starts a Prometheus, and returns it with the variables that have it get the service's metrics."""


def _scraped(peers: Peers) -> tuple[Prometheus, dict[str, str]]:
    port = free_port()
    prometheus = peers.prometheus(rules=False, interval="500ms", callscope=port)
    return prometheus, {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": HOST,
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        "PROMETHEUS_URL": prometheus.url,
    }


def _environment(peers: Peers) -> tuple[Prometheus, dict[str, str]]:
    prometheus = peers.prometheus(rules=False)
    collector = peers.collector(
        "base", "local", environment={"PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url}
    )
    return prometheus, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http, "PROMETHEUS_URL": prometheus.url}


async def _settled(line: Gateway, path: str) -> dict[str, Any]:
    """The comparison, once the backend has been told everything."""

    async def exact() -> dict[str, Any] | None:
        found = await line.get(path)
        figures = {name: row["figures"] for name, row in found["total"].items()}
        told = figures.get("prometheus", {}).get("ended")
        return found if found["complete"] and told == figures["records"]["ended"] else None

    found: dict[str, Any] = await eventually(exact, f"Prometheus to have every end, at {path}")
    return found


@pytest.mark.parametrize("reached", [_environment, _scraped], ids=["pushed", "scraped"])
async def test_four_ledgers_agree(reached: Reached, peers: Peers, tmp_path: Path) -> None:
    """While calls run and after them, of one process and of a window: no difference, and at rest the same numbers."""
    _, environment = reached(peers)
    began = datetime.now(UTC) - timedelta(minutes=1)
    tenants = simulated_tenants(5, max_concurrent_calls=6)
    async with gateway(tmp_path, environment, tenants=tenants) as line:
        traffic = asyncio.create_task(
            line.traffic(Plan("reconciled", seed=4, calls_per_second=15, calls=120, shares=SHARES))
        )
        seen = []
        while not traffic.done():
            found = await line.get(RECONCILE)
            seen.append(found["ledgers"]["prometheus"]["state"])
            assert found["consistent"], (found["differences"], found["calls"])
            await asyncio.sleep(0.2)
        await traffic
        assert "compared" in seen
        found = await _settled(line, RECONCILE)
        assert found["consistent"], found["differences"]
        _same_in_all(found, ("live", "records", "prometheus"))
        window = await _settled(line, f"{RECONCILE}?from={began:%Y-%m-%dT%H:%M:%S}Z")
        assert (window["consistent"], window["scope"]) == (True, "fleet"), window["differences"]
        _same_in_all(window, ("records", "prometheus"))
        assert window["total"]["records"]["figures"]["received"] == found["total"]["live"]["figures"]["received"]
        await _later_calls_alone(line, found["total"]["records"]["figures"])
        done = await asyncio.to_thread(_command, line)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "The ledgers agree." in done.stdout


async def _later_calls_alone(line: Gateway, before: dict[str, float]) -> None:
    """A window that begins in the middle of a process's life has what came after, exactly, in both ledgers."""
    await asyncio.sleep(2 * EXPORT_SECONDS)
    middle = datetime.now(UTC)
    await asyncio.sleep(2 * EXPORT_SECONDS)
    await line.traffic(Plan("later", seed=5, calls_per_second=15, calls=30, shares=SHARES))
    window = await _settled(line, f"{RECONCILE}?from={middle:%Y-%m-%dT%H:%M:%S.%f}Z")
    assert window["consistent"], window["differences"]
    _same_in_all(window, ("records", "prometheus"))
    whole = (await line.get(RECONCILE))["total"]["live"]["figures"]
    for field in ("received", "accepted", "started", "ended", "referred"):
        assert window["total"]["prometheus"]["figures"][field] == whole[field] - before[field], field


async def test_a_doubled_series_is_found(peers: Peers, tmp_path: Path) -> None:
    """What Prometheus has too much of is a difference, with both numbers, and the command's exit code says so."""
    prometheus, environment = _environment(peers)
    async with gateway(tmp_path, environment) as line:
        await line.traffic(Plan("one", seed=1, calls_per_second=20, calls=20))
        found = await _settled(line, RECONCILE)
        assert found["consistent"]
        instance = next(
            sample.labels["instance"] for sample in prometheus.query("voice_call_started_total") if sample.value
        )
        await _plant(prometheus, instance)

        async def differs() -> list[Any] | None:
            found = await line.get(RECONCILE)
            return None if found["consistent"] else found["differences"]

        differences = await eventually(differs, "the planted series to be found")
        assert [(d["tenant_id"], d["field"], d["values"]) for d in differences] == [
            ("planted", "referred", {"live": 0, "prometheus": 7})
        ]
        done = await asyncio.to_thread(_command, line)
        assert done.returncode == 1
        assert "planted" in done.stdout


async def test_a_backend_that_is_away_is_a_state_of_its_column(peers: Peers, tmp_path: Path) -> None:
    """Without Prometheus the other ledgers are compared, and the answer says that one could not be."""
    prometheus, environment = _environment(peers)
    async with gateway(tmp_path, environment) as line:
        await line.traffic(Plan("one", seed=1, calls_per_second=20, calls=10))
        await asyncio.to_thread(prometheus.kill)
        found = await line.get(RECONCILE)
        assert (found["consistent"], found["complete"]) == (True, False)
        assert found["ledgers"]["prometheus"]["state"] == "unreachable"
        assert (await asyncio.to_thread(_command, line)).returncode == 3


async def test_after_kills_and_stops_the_ledgers_of_a_window_agree(peers: Peers, tmp_path: Path) -> None:
    """Processes that are killed and stopped under load leave no difference but what they had not told yet."""
    _, environment = _environment(peers)
    began = datetime.now(UTC) - timedelta(minutes=1)
    path = f"{RECONCILE}?from={began:%Y-%m-%dT%H:%M:%S}Z"
    environment |= {"CALL_HEARTBEAT_SECONDS": "1"}
    async with gateway(tmp_path, environment, scale=0.2) as line:
        for seed, killed in enumerate((True, False, True)):
            plan = Plan(f"before-{seed}", seed=seed, calls_per_second=10, calls=60)
            traffic = asyncio.create_task(Traffic(line.carrier, plan).run())
            await asyncio.sleep(3 + 4 * EXPORT_SECONDS)
            await asyncio.to_thread(_end, line, killed=killed)
            await asyncio.to_thread(line.service.start)
            await traffic
            await line.quiet()
        found = await _compared(line, path)
        assert found["consistent"], found["differences"]
        await _agrees(line)


def _end(line: Gateway, *, killed: bool) -> None:
    if killed:
        line.service.kill()
    else:
        line.service.stop()


async def _agrees(line: Gateway) -> None:
    found = await line.get(RECONCILE)
    assert found["consistent"], (found["differences"], found["calls"])


async def _compared(line: Gateway, path: str) -> dict[str, Any]:
    async def complete() -> dict[str, Any] | None:
        found = await line.get(path)
        return found if found["complete"] else None

    found: dict[str, Any] = await eventually(complete, "all ledgers to answer")
    return found


def _same_in_all(found: dict[str, Any], ledgers: tuple[str, ...]) -> None:
    """At rest every number is one number, but that minutes are rounded."""
    for tenant, rows in found["tenants"].items():
        for field, value in rows[ledgers[0]]["figures"].items():
            if field in ("active", "pending"):
                continue
            for ledger in ledgers[1:]:
                other = rows[ledger]["figures"][field]
                assert abs(other - value) < (0.01 if field == "minutes" else 1e-9), (tenant, field, ledger)


def _command(line: Gateway) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- this project's own command
        line.service.command("reconcile", "--url", line.service.address),
        env=line.service.whole_environment,
        capture_output=True,
        text=True,
        check=False,
    )


async def _plant(prometheus: Prometheus, instance: str) -> None:
    """Send Prometheus a counter in the service's name that the service never counted."""
    now = str(int(datetime.now(UTC).timestamp() * 1e9))
    point = {
        "asInt": "7",
        "timeUnixNano": now,
        "startTimeUnixNano": now,
        "attributes": [_attribute("tenant.id", "planted")],
    }
    metric = {
        "name": "voice.call.referred",
        "unit": "{call}",
        "sum": {"dataPoints": [point], "isMonotonic": True, "aggregationTemporality": 2},
    }
    resource = {"attributes": [_attribute("service.name", "callscope"), _attribute("service.instance.id", instance)]}
    body = {
        "resourceMetrics": [
            {"resource": resource, "scopeMetrics": [{"scope": {"name": "callscope"}, "metrics": [metric]}]}
        ]
    }
    async with httpx2.AsyncClient(verify=TLS, timeout=TIMEOUT_SECONDS) as client:
        headers = {"Content-Type": "application/json"}
        (await client.post(prometheus.otlp_metrics_url, content=json.dumps(body), headers=headers)).raise_for_status()


def _attribute(key: str, text: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": text}}
