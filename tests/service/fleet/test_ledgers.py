"""The ledgers of a fleet of three: carrier, each process's answer, the store, the records, and Prometheus."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
import redis

from service.fleet.live.scripts import bucket_keys
from service.fleet.live.store import TOTAL, bucket_of
from service.simulator.script_writer import Shares
from service.simulator.simulator import Simulator
from service.simulator.traffic import Plan, Traffic
from telemetry.semconv.catalogue import LIVE_FIELDS
from tests.peers.gateway import eventually
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus
from tests.peers.redis_fleets import behind
from tests.service.fleet.test_endurance import Fleet, deliver_to_any
from tests.service.fleet.test_processes import FleetProcess, fleet

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

LIVE = "/api/v1/metrics/live"
RECONCILE = "/api/v1/metrics/reconcile?scope=fleet"
TENANTS = ("tenant-001", "tenant-002", "_unknown")
SHARES = Shares(duplicates=0.1, unknown=0.1, refers=0.15, errors=0.1, late=0.0)
WELL = replace(SHARES, errors=0.0)
"""No call fails: one that does while it is handed over is found to be over, and nobody can say how it ended."""
MINUTES = "minutes_processed"
PREFIX = "callscope"
"""That of the keys, unless REDIS_PREFIX says another."""
KILLS = 20
HANDED_OVER_MINUTES = 0.02
"""Call time between a process's last word and its successor's first, of the calls of a rolling deploy."""


def exporting_to(prometheus: Prometheus) -> dict[str, Any]:
    """Return the settings of a service whose metrics go to a Prometheus, and which asks that for them."""
    return {
        "otel_exporter_otlp_metrics_endpoint": prometheus.otlp_metrics_url,
        "otel_exporter_otlp_metrics_protocol": "http/protobuf",
        "otel_metric_export_interval": "500",
        "prometheus_url": prometheus.url,
    }


async def answers(processes: list[FleetProcess]) -> dict[str, dict[str, float]]:
    """Return what every process says alike, by tenant, that of all under an empty name; wait until they agree."""

    async def alike() -> dict[str, dict[str, float]] | None:
        said: dict[str, list[dict[str, float]]] = {}
        for tenant in ("", *TENANTS):
            for process in processes:
                answer = await process.client.get(f"{LIVE}/{tenant}".rstrip("/"), params={"scope": "fleet"})
                if answer.status_code != httpx2.codes.OK:
                    return None
                said.setdefault(tenant, []).append(answer.json())
        same = all(each == tenants[0] for tenants in said.values() for each in tenants)
        return {tenant: tenants[0] for tenant, tenants in said.items()} if same else None

    found: dict[str, dict[str, float]] = await eventually(alike, "all processes to answer alike")
    return found


def equal_to_the_carrier(carrier: Simulator, said: Mapping[str, Mapping[str, float]]) -> None:
    """Each of the eleven counts is what the carrier saw, of each tenant and of all."""
    truth = carrier.ground_truth()
    rows = {"": truth["global"], **truth["tenants"]}
    wrong = {
        (tenant, field): (said[tenant][field], rows[tenant][field])
        for tenant in ("", *TENANTS)
        for field in LIVE_FIELDS
        if field != MINUTES and said[tenant][field] != rows[tenant][field]
    }
    assert wrong == {}


async def reconciled(process: FleetProcess, *ledgers: str) -> dict[str, Any]:
    """Return the comparison once these ledgers are in it and have every end."""

    async def settled() -> dict[str, Any] | None:
        found = await process.get(RECONCILE)
        ends = [found["total"].get(ledger, {}).get("figures", {}).get("ended") for ledger in ledgers]
        compared = all(found["ledgers"][ledger]["state"] == "compared" for ledger in ledgers)
        return found if compared and len(set(ends)) == 1 else None

    found: dict[str, Any] = await eventually(settled, f"{', '.join(ledgers)} to have every end")
    return found


async def five_alike(carrier: Simulator, processes: list[FleetProcess]) -> None:
    """Each count is the carrier's whichever process is asked, and the same in records, store and Prometheus."""
    equal_to_the_carrier(carrier, await answers(processes))
    found = await reconciled(processes[1], "records", "store", "prometheus")
    assert (found["consistent"], found["complete"]) == (True, True), found["differences"]
    for tenant, ledgers in {"": found["total"], **found["tenants"]}.items():
        figures = {name: row["figures"] for name, row in ledgers.items()}
        for field in ("received", "accepted", "started", "ended", "failed", "referred"):
            assert len({figures[name][field] for name in ("records", "store", "prometheus")}) == 1, (tenant, field)


async def more(traffic: Traffic, calls: int) -> None:
    """Wait until so many more calls were placed."""
    wanted = traffic.placed + calls

    async def placed() -> bool:
        return traffic.placed >= wanted

    await eventually(placed, "more calls to come")


async def all_over(processes: list[FleetProcess]) -> None:
    """Wait until no process has a call and the store no slot."""

    async def over() -> bool:
        idle = [await process.idle() for process in processes]
        return all(idle) and not await processes[0].slots()

    await eventually(over, "no call to be open")


async def test_five_ledgers_in_peace(
    postgres_url: str, store_url: str, peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load the processes answer for all; at rest every count is the carrier's, whichever ledger is asked."""
    exporting = exporting_to(peers.prometheus(rules=False))
    random = Random(3)  # noqa: S311 -- a test is to be the same each time
    async with fleet(3, postgres_url, store_url, tmp_path, **exporting) as (carrier, running):
        deliver_to_any(carrier, monkeypatch, lambda: random.choice(running).service.address)
        traffic = asyncio.create_task(
            Traffic(carrier, Plan("peace", seed=3, calls_per_second=10, calls=120, shares=SHARES)).run()
        )
        scopes = set()
        while not traffic.done():
            for process in running:
                answer = (await process.client.get(LIVE)).raise_for_status()
                # On a busy machine the store may be too slow for an answer, which then says so.
                scopes.add((answer.headers["X-Metrics-Scope"], answer.headers["X-Metrics-Processes"][-2:]))
            await asyncio.sleep(0.2)
        assert ("fleet", "/3") in scopes
        await traffic
        await all_over(running)
        await five_alike(carrier, running)


async def test_after_the_failover_of_a_cluster(
    postgres_url: str, peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load the primary of a tenant's sum dies, and then that of the total: at rest the five ledgers are alike.

    Each time the replica that takes its place has never got what the primary had acknowledged last.
    """
    cluster = peers.redis_cluster()
    exporting = exporting_to(peers.prometheus(rules=False))
    random = Random(13)  # noqa: S311 -- a test is to be the same each time
    async with fleet(3, postgres_url, cluster.url, tmp_path, capacity_on_outage="open", **exporting) as (
        carrier,
        running,
    ):
        deliver_to_any(carrier, monkeypatch, lambda: random.choice(running).service.address)
        traffic = Traffic(carrier, Plan("failover", seed=13, calls_per_second=8, max_running=20, shares=SHARES))
        calls = asyncio.create_task(traffic.run())
        for tenant in (TENANTS[0], TOTAL):
            await more(traffic, 20)
            key = bucket_keys(PREFIX, bucket_of(tenant))[0]
            primary = await asyncio.to_thread(cluster.owner, key)
            replica = await asyncio.to_thread(cluster.replica_of, primary)
            with behind(primary, replica):
                await more(traffic, 10)
                await asyncio.to_thread(primary.kill)
                placed = traffic.placed
            await asyncio.to_thread(cluster.owner_is, replica, key)
            assert traffic.placed > placed, "calls come all along"
            await more(traffic, 20)
            await asyncio.to_thread(cluster.bring_back, primary)
        traffic.stop()
        await calls
        await all_over(running)
        await five_alike(carrier, running)


async def test_after_twenty_kills(
    postgres_url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes answer alike, and as the records say, but for what the killed had not sent, which is named."""
    random = Random(11)  # noqa: S311 -- a test is to be the same each time
    async with fleet(3, postgres_url, store_url, tmp_path, patience_seconds=30.0, capacity_on_outage="closed") as (
        carrier,
        running,
    ):
        services = Fleet(running, random)
        deliver_to_any(carrier, monkeypatch, services.address)
        traffic = Traffic(carrier, Plan("killed", seed=11, calls_per_second=6, max_running=25, shares=SHARES))
        calls = asyncio.create_task(traffic.run())
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await services.kill_one()
        await services.whole()
        traffic.stop()
        await calls
        await all_over(running)
        await named_or_equal(running)


async def test_after_the_store_was_emptied(
    postgres_url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With calls running and counts of one that stopped: seconds later every number is as before, and goes on."""
    random = Random(5)  # noqa: S311 -- a test is to be the same each time
    async with fleet(3, postgres_url, store_url, tmp_path, capacity_on_outage="open") as (carrier, running):
        serving = list(running)
        deliver_to_any(carrier, monkeypatch, lambda: random.choice(serving).service.address)
        plan = Plan("emptied", seed=5, calls_per_second=10, calls=60, shares=WELL)
        calls = asyncio.create_task(Traffic(carrier, plan).run())
        await asyncio.sleep(2)
        gone = serving.pop()
        gone.signal(signal.SIGTERM)
        await asyncio.sleep(2)
        with redis.Redis.from_url(store_url) as client:
            client.flushall()
        await calls
        await all_over(serving)
        equal_to_the_carrier(carrier, await answers(serving))
        found = await reconciled(serving[0], "records", "store")
        assert found["consistent"], found["differences"]


async def test_a_rolling_deploy(
    postgres_url: str, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process after another stops, hands its calls over and begins anew: every call counts once."""
    random = Random(9)  # noqa: S311 -- a test is to be the same each time
    async with fleet(3, postgres_url, store_url, tmp_path) as (carrier, running):
        serving = list(running)
        deliver_to_any(carrier, monkeypatch, lambda: random.choice(serving).service.address)
        traffic = Traffic(carrier, Plan("rolling", seed=9, calls_per_second=5, max_running=6, shares=WELL))
        calls = asyncio.create_task(traffic.run())
        for process in running:
            await asyncio.sleep(2)
            serving.remove(process)
            await asyncio.to_thread(process.service.stop)
            await asyncio.to_thread(process.service.start)
            serving.append(process)
        traffic.stop()
        await calls
        await all_over(running)
        equal_to_the_carrier(carrier, await answers(running))
        found = await reconciled(running[0], "records", "store")
        assert found["consistent"], found["differences"]
        minutes = [found["total"][ledger]["figures"]["minutes"] for ledger in ("store", "records")]
        assert abs(minutes[0] - minutes[1]) < HANDED_OVER_MINUTES, "time is counted by one of two processes"


async def named_or_equal(processes: list[FleetProcess]) -> None:
    """Have all processes answer alike, and store and records agree, or the calls be named that were not sent."""
    await answers(processes)
    found = await processes[0].get(RECONCILE)
    lacking = [each for each in found["differences"] if each["values"]["store"] > each["values"]["records"]]
    assert lacking == [], "nothing counts twice"
    assert found["consistent"] or {call["finding"] for call in found["calls"]} == {"not_sent"}, found["differences"]
