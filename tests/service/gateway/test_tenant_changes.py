"""Tenants changed over HTTP while their calls run: what runs goes on, what comes next meets what was changed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallerSpeaks, CallScript, Pause
from service.tenants.spec import checked_spec
from telemetry.calls.events import LimitHit
from telemetry.recent.record import CallSummary
from telemetry.semconv.attributes import CallId, CapacityScope, RejectionReason, TenantId
from tests.service.gateway.harness import GatewayHarness, fresh_id, running_harness
from tests.telemetry.otlp_receiver import Receiver, http_receiver

LONG = CallScript("long", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())
WORDS = "Where is my parcel?"
SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks(WORDS)), CallerHangsUp())
UTILIZATION, LIMIT = "voice.capacity.utilization", "voice.capacity.limit"
TENANT = "tenant-001"
PATH = f"/api/v1/tenants/{TENANT}"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Where the service under test exports to, soon after each change."""
    with http_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
        yield receiver


@asynccontextmanager
async def running(harness: GatewayHarness, calls: int) -> AsyncIterator[list[str]]:
    """So many more calls of the first tenant have started and go on until the end of the block; gives their ids."""
    usage = harness.container.telemetry.tracker.usage
    expected = usage().active + calls
    ids = [fresh_id() for _ in range(calls)]
    placing = [asyncio.create_task(harness.place(LONG, call_id=call_id)) for call_id in ids]
    await harness.until(lambda: usage().active == expected, f"{expected} running calls")
    try:
        yield ids
    finally:
        harness.carrier.hang_up_all()
        await asyncio.gather(*placing)
        await harness.settled()


async def change(harness: GatewayHarness, **fields: object) -> None:
    """Change the tenant over HTTP at its present version."""
    tag = (await harness.client.get(PATH)).headers["etag"]
    (await harness.client.patch(PATH, json=fields, headers={"If-Match": tag})).raise_for_status()


async def slots(harness: GatewayHarness) -> dict[str, Any]:
    """What the registry shows of the tenant."""
    shown: dict[str, Any] = (await harness.get("/api/v1/metrics/capacity/debug"))["tenants"][TENANT]
    return {name: shown[name] for name in ("limit", "in_use", "available", "active")}


async def refused(harness: GatewayHarness) -> tuple[RejectionReason | None, LimitHit | None]:
    """Place a call that is turned away; answers why."""
    call_id = fresh_id()
    await harness.place(LONG, call_id=call_id)
    record = harness.record(call_id)
    assert record.decision is not None
    return record.summary.rejection_reason, record.decision.limit


async def test_a_limit_below_what_runs_leaves_what_runs(tmp_path: Path, exported: Receiver) -> None:
    """Running calls stay, new ones are rejected at the new limit until fewer run, and the figures tell of 300 %."""
    async with running_harness(tmp_path, tenants=1, tenant_limit=10) as harness:
        async with running(harness, 3):
            await change(harness, max_concurrent_calls=1)
            assert await slots(harness) == {"limit": 1, "in_use": 3, "available": 0, "active": 3}
            assert await refused(harness) == (RejectionReason.CAPACITY, LimitHit(CapacityScope.TENANT, 1, 3))
            await asyncio.to_thread(exported.wait_until, lambda: _latest(exported, UTILIZATION) == 3.0)
            assert _latest(exported, LIMIT) == 1
            assert harness.container.telemetry.tracker.usage().active == 3
        async with running(harness, 1):
            assert (await refused(harness))[1] == LimitHit(CapacityScope.TENANT, 1, 1)
        assert await harness.differences() == []


async def test_new_calls_wait_until_enough_have_ended(tmp_path: Path) -> None:
    """With three calls and a limit lowered to two, the next one is let in once two have ended, not after the first."""
    async with running_harness(tmp_path, tenants=1, tenant_limit=10) as harness, running(harness, 3) as ids:
        await change(harness, max_concurrent_calls=2)
        for left, call_id in ((2, ids[0]), (1, ids[1])):
            assert (await refused(harness))[0] is RejectionReason.CAPACITY
            await harness.container.carrier.hangup(CallId(call_id))
            await harness.until(partial(_holds, harness, left), f"{left} running calls")
        async with running(harness, 1):
            assert (await slots(harness))["in_use"] == 2


async def test_a_limit_of_nothing_and_none_at_all(tmp_path: Path) -> None:
    """A limit of 0 lets no new call in while the running one goes on; lifted, calls come in again."""
    async with running_harness(tmp_path, tenants=1, tenant_limit=10) as harness, running(harness, 1):
        await change(harness, max_concurrent_calls=0)
        assert (await slots(harness))["limit"] == 0
        assert await refused(harness) == (RejectionReason.CAPACITY, LimitHit(CapacityScope.TENANT, 0, 1))
        await change(harness, max_concurrent_calls=None)
        assert (await slots(harness))["limit"] == harness.container.limits.total()
        async with running(harness, 1):
            assert (await slots(harness))["active"] == 2


async def test_a_changed_limit_is_shown_without_a_call(tmp_path: Path) -> None:
    """Also a limit that another process wrote is in force, and shown, although no call came in meanwhile."""
    async with running_harness(tmp_path, tenants=1, tenant_limit=10) as harness, running(harness, 1):
        await harness.container.tenants.change(checked_spec(TENANT, {"max_concurrent_calls": 4}), actor="somebody else")
        await harness.until(lambda: harness.container.limits.of(TenantId(TENANT)) == 4, "the limit to be followed")
        assert await slots(harness) == {"limit": 4, "in_use": 1, "available": 3, "active": 1}


async def test_a_disabled_tenant_keeps_its_running_calls(tmp_path: Path) -> None:
    """Running calls go on to their own end, new ones are rejected as not configured, until it is enabled again."""
    async with running_harness(tmp_path, tenants=1) as harness:
        async with running(harness, 2):
            await change(harness, enabled=False)
            assert await refused(harness) == (RejectionReason.TENANT_NOT_CONFIGURED, None)
            assert (await slots(harness))["active"] == 2
            assert (await harness.numbers(TENANT))["ended_calls"] == 0
        await change(harness, enabled=True)
        async with running(harness, 1):
            assert (await slots(harness))["active"] == 1
        assert await harness.differences() == []


async def test_a_deleted_tenant_keeps_its_running_calls(tmp_path: Path) -> None:
    """Running calls of a tenant that is gone go on and are counted; its number reaches nobody."""
    async with running_harness(tmp_path, tenants=1) as harness:
        async with running(harness, 1):
            tag = (await harness.client.get(PATH)).headers["etag"]
            assert (await harness.client.delete(PATH, headers={"If-Match": tag})).status_code == 204
            assert await refused(harness) == (RejectionReason.TENANT_NOT_CONFIGURED, None)
            assert (await slots(harness))["active"] == 1
        assert (await harness.numbers(TENANT))["ended_calls"] == 1


async def test_what_is_set_holds_for_the_next_call(tmp_path: Path) -> None:
    """A number, instructions withdrawn and set again: each is what the very next call meets."""
    async with running_harness(tmp_path, tenants=1) as harness:
        number = "+18335559999"
        assert (await decision(harness, number)).rejection_reason is RejectionReason.TENANT_NOT_CONFIGURED
        given = await harness.client.put(f"{PATH}/numbers/{number}", headers={"If-Match": "*"})
        assert given.status_code == 200
        assert (await decision(harness, number)).tenant_id == TENANT
        await change(harness, instructions=None)
        assert (await decision(harness, number)).rejection_reason is RejectionReason.INSTRUCTIONS_MISSING
        restored = await harness.client.post(f"{PATH}/instructions/1/restore", headers={"If-Match": "*"})
        assert restored.status_code == 200
        assert (await decision(harness, number)).rejection_reason is None


async def test_content_is_captured_once_it_is_switched_on(tmp_path: Path, exported: Receiver) -> None:
    """What was said is on the spans of calls that came in after the feature was switched on, and of no other."""
    async with running_harness(tmp_path, tenants=1) as harness:
        before = await decision(harness)
        on = await harness.client.put(
            f"{PATH}/features/capture_content", json={"value": True}, headers={"If-Match": "*"}
        )
        assert on.status_code == 200
        after = await decision(harness)
    saying = {span.trace_id.hex() for span in exported.spans if WORDS in str(span)}
    assert saying == {after.trace_id}
    assert {before.trace_id, after.trace_id} <= {span.trace_id.hex() for span in exported.spans}


async def decision(harness: GatewayHarness, number: str | None = None) -> CallSummary:
    """Have one short call happen; answers what became of it."""
    call_id = fresh_id()
    await harness.call(SHORT, number=number, call_id=call_id)
    return harness.record(call_id).summary


def _holds(harness: GatewayHarness, slots: int) -> bool:
    return harness.container.capacity.in_use == slots


def _latest(receiver: Receiver, name: str) -> float | None:
    """The tenant's value in the latest export of a gauge."""
    values = [
        point.as_double if point.HasField("as_double") else point.as_int
        for metric in receiver.metrics
        if metric.name == name
        for point in metric.gauge.data_points
        if any(attribute.value.string_value == TENANT for attribute in point.attributes)
    ]
    return values[-1] if values else None
