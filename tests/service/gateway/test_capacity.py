"""The capacity rule under many calls at once."""

import asyncio
from pathlib import Path

import pytest

from service.gateway.capacity import Capacity, Slot
from service.simulator.script import CallerHangsUp, CallScript, Pause
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import CapacityScope, TenantId
from tests.service.gateway.harness import GatewayHarness, fresh_id, running_harness

LONG = CallScript("long", (Pause(100_000),), CallerHangsUp())


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("tenant_limit", "total", "scope"), [(10, 1_000, "tenant"), (None, 10, "global")], ids=["tenant", "global"]
)
async def test_five_hundred_webhooks_against_a_limit_of_ten(
    tmp_path: Path, tenant_limit: int | None, total: int, scope: str
) -> None:
    """Of five hundred calls announced at once exactly ten are accepted, and each other one says which limit it met."""
    async with running_harness(tmp_path, tenants=1, tenant_limit=tenant_limit, max_concurrent_calls=total) as harness:
        ids = [fresh_id() for _ in range(500)]
        placing = [asyncio.create_task(harness.call(LONG, call_id=call_id)) for call_id in ids]
        await harness.until(lambda: _decided(harness) == 500, "all calls to be decided")
        await harness.until(lambda: harness.carrier.counts()["global"]["active_calls"] == 10, "ten sessions")
        counted = await harness.numbers()
        assert (counted["received_calls"], counted["accepted_calls"]) == (500, 10)
        assert counted["rejected_calls_capacity"] == 490
        assert harness.container.telemetry.tracker.usage().peak_in_use == 10
        turned_away = next(record for record in map(harness.record, ids) if record.summary.rejection_reason)
        assert turned_away.decision is not None
        assert turned_away.decision.limit == LimitHit(CapacityScope(scope), 10, 10)
        harness.carrier.hang_up_all()
        await asyncio.gather(*placing)
        assert await harness.differences() == []


def _decided(harness: GatewayHarness) -> int:
    numbers = harness.container.telemetry.live.store.numbers() or {}
    harness.container.telemetry.live.refresh()
    return int(numbers["accepted_calls"] + numbers["rejected_calls_capacity"])


def test_the_tenants_own_limit_is_named_first() -> None:
    """Where both limits are reached, the tenant's says more, unless it is no tighter than the total."""
    capacity, acme, other = Capacity(), TenantId("acme"), TenantId("other")
    for tenant_id in (acme, other):
        assert isinstance(capacity.reserve(tenant_id, limit=1, total_limit=2), Slot)
    assert capacity.reserve(acme, limit=1, total_limit=2) == LimitHit(CapacityScope.TENANT, 1, 1)
    assert capacity.reserve(acme, limit=2, total_limit=2) == LimitHit(CapacityScope.GLOBAL, 2, 2)


def test_a_slot_is_given_back_once() -> None:
    """However often a slot is released, it counts once."""
    capacity, acme = Capacity(), TenantId("acme")
    first, second = (capacity.reserve(acme, limit=2, total_limit=2) for _ in range(2))
    assert isinstance(first, Slot)
    assert isinstance(second, Slot)
    for _ in range(3):
        first.release()
    assert capacity.in_use == 1
    assert capacity.reserve(acme, limit=1, total_limit=2) == LimitHit(CapacityScope.TENANT, 1, 1)
    second.release()
    assert capacity.in_use == 0
    assert isinstance(capacity.reserve(acme, limit=1, total_limit=2), Slot)
