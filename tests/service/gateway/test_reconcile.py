"""The comparison of the ledgers through the whole service: under load, after a kill, over HTTP and in the terminal."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from service.commands.reconcile import reconcile
from service.simulator.tenants import simulated_tenants
from service.simulator.traffic import Plan, Traffic
from tests.peers.gateway import eventually
from tests.peers.service import Service
from tests.service.gateway.harness import TOKEN, GatewayHarness, on_the_air, running_harness, serving
from tests.support.contract import Contract

RECONCILE = "/api/v1/metrics/reconcile"
RECORDS = "/api/v1/call-records"

app = typer.Typer()
app.command()(reconcile)


@pytest.mark.endurance
async def test_a_busy_service_agrees_with_itself(tmp_path: Path) -> None:
    """Asked again and again while hundreds of calls of all kinds come and go, it never reports a difference."""
    async with running_harness(tmp_path, tenants=3, tenant_limit=10) as harness:
        traffic = asyncio.create_task(harness.traffic(Plan("busy", seed=6, calls_per_second=60, calls=250)))
        while not traffic.done():
            found = await harness.get(RECONCILE)
            assert found["consistent"], (found["differences"], found["calls"])
            await asyncio.sleep(0.05)
        await traffic
        found = await harness.get(RECONCILE)
        assert (found["consistent"], found["complete"]) == (True, True), found["differences"]
        ground_truth = harness.carrier.ground_truth()["global"]
        for ledger in ("live", "records"):
            figures = found["total"][ledger]["figures"]
            assert (figures["accepted"], figures["ended"]) == (
                ground_truth["accepted_calls"],
                ground_truth["ended_calls"],
            ), ledger


async def test_answers_are_as_declared(tmp_path: Path) -> None:
    """With and without a window, of one tenant, and refused: each answer passes the schema of the document."""
    async with running_harness(tmp_path) as harness:
        await harness.traffic(Plan("few", seed=2, calls_per_second=60, calls=20))
        contract = Contract((await harness.client.get("/openapi.json")).json())
        for query, status in (
            ("", 200),
            ("?tenant_id=tenant-001", 200),
            ("?from=2026-01-01&tz=Europe/Berlin", 200),
            ("?from=2026-01-01&to=2026-01-02T12:00:00Z", 200),
            ("?from=yesterday", 422),
            ("?to=2026-01-01", 422),
            ("?from=2999-01-01&to=2999-01-02", 422),
            ("?tz=Mars&from=2026-01-01", 422),
        ):
            answer = await harness.client.get(f"{RECONCILE}{query}")
            assert answer.status_code == status, (query, answer.text)
            contract.check(answer)
        nobody = await harness.client.get(RECONCILE, headers={"X-Admin-Token": "wrong"})
        assert nobody.status_code == 401


@pytest.mark.endurance
async def test_the_history_is_served_in_pages(tmp_path: Path) -> None:
    """What another process had is listed too, the latest first, by tenant and outcome, page after page."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path) as first:
            await first.traffic(Plan("first", seed=2, calls_per_second=60, calls=30))
        async with serving(carrier, tmp_path) as second:
            contract = Contract((await second.client.get("/openapi.json")).json())
            pages = [page async for page in _pages(second, contract, f"{RECORDS}?limit=7")]
            assert [len(page) for page in pages[:4]] == [7, 7, 7, 7]
            calls = [call for page in pages for call in page]
            assert len({call["call_id"] for call in calls}) == len(calls) == 30
            assert [call["received_at"] for call in calls] == sorted((c["received_at"] for c in calls), reverse=True)
            rejected = [call async for page in _pages(second, contract, f"{RECORDS}?outcome=rejected") for call in page]
            assert {call["call_id"] for call in rejected} == {
                call["call_id"] for call in calls if call["state"] == "rejected"
            }
            wrong = await second.client.get(f"{RECORDS}?cursor=nonsense")
            assert wrong.status_code == 422
            contract.check(wrong)


async def _pages(harness: GatewayHarness, contract: Contract, path: str) -> Any:  # noqa: ANN401 -- JSON of one shape
    more = ""
    while True:
        answer = await harness.client.get(path + more)
        contract.check(answer)
        page = answer.json()
        yield page["calls"]
        if page["next_cursor"] is None:
            return
        more = f"&cursor={page['next_cursor']}"


@pytest.mark.endurance
async def test_after_a_kill_the_next_process_agrees(tmp_path: Path) -> None:
    """Killed under load and started again, the service takes over what lives, and its ledgers agree."""
    tenants = simulated_tenants(2)
    async with on_the_air() as carrier:
        service = Service(tmp_path, carrier.base_url, {"CALL_HEARTBEAT_SECONDS": "0.5"})
        await asyncio.to_thread(service.import_tenants, tenants)
        await asyncio.to_thread(service.start)
        carrier.target = service.address
        traffic = asyncio.create_task(Traffic(carrier, Plan("killed", seed=3, calls_per_second=20, calls=80)).run())
        await asyncio.sleep(2)
        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        carrier.hang_up_all()
        await traffic
        try:
            async with service.client() as client:

                async def settled() -> dict[str, Any] | None:
                    found = (await client.get(RECONCILE)).json()
                    held = found["total"]["records"]["figures"]
                    over = not held["active"] and not held["pending"]
                    return found if found["complete"] and over else None

                found = await eventually(settled, "every call to be over")
            assert found["consistent"], (found["differences"], found["calls"])
        finally:
            await asyncio.to_thread(service.stop)


@pytest.mark.parametrize("planted", ["DELETE FROM call_records", "UPDATE call_records SET instance_id = 'other'"])
async def test_the_command_shows_what_differs(tmp_path: Path, planted: str) -> None:
    """It prints the figures side by side with the calls behind them, and its exit code tells a script."""
    async with running_harness(tmp_path) as harness:
        await harness.traffic(Plan("few", seed=2, calls_per_second=60, calls=12))
        assert (await _told(harness)).exit_code == 0
        async with harness.container.database.writing() as session:
            await (await session.connection()).exec_driver_sql(planted)
        differing = await _told(harness)
        assert differing.exit_code == 1
        assert "The ledgers differ." in differing.stdout
        assert "received ≠" in differing.stdout
        assert "rtc_" in differing.stdout
        alone = await _told(harness, "--from", "2026-01-01")
        assert (alone.exit_code, "nothing to compare" in alone.stdout) == (3, True)
        wrong = await _told(harness, "--from", "yesterday")
        assert (wrong.exit_code, "--from" in wrong.stderr) == (2, True)
        refused = await _told(harness, "--token", "wrong")
        assert refused.exit_code == 3
        assert "401" in refused.stderr


async def _told(harness: GatewayHarness, *words: str) -> Result:
    address = ("--url", str(harness.client.base_url), "--token", TOKEN)
    return await asyncio.to_thread(CliRunner().invoke, app, [*address, *words], env={"COLUMNS": "200"})
