"""The twelve fields against what the carrier saw."""

from pathlib import Path

import pytest

from service.simulator.faults import CallFaults, DropConnection, Refuse, SocketCut
from service.simulator.script_writer import Shares
from service.simulator.traffic import Plan
from tests.service.gateway.harness import FALLBACK, GatewayHarness, running_harness

ROUGH = (
    (0.05, CallFaults(accept=Refuse(404))),
    (0.05, CallFaults(accept=Refuse(500))),
    (0.05, CallFaults(handshake_refusals=2)),
    (0.1, CallFaults(cut=SocketCut(after_events=7))),
    (0.05, CallFaults(cut=SocketCut(after_events=3, code=1011))),
    (0.05, CallFaults(refer=Refuse(500), hangup=Refuse(500, times=1))),
    (0.05, CallFaults(hangup=DropConnection(times=1))),
)
"""What goes wrong at a carrier on a bad day."""


@pytest.mark.endurance
async def test_after_any_traffic_the_fields_equal_the_truth(tmp_path: Path) -> None:
    """Several hundred calls of all kinds: every count is the carrier's own, globally and for each tenant."""
    async with running_harness(tmp_path, tenants=5, tenant_limit=12, max_concurrent_calls=40) as harness:
        await harness.traffic(Plan("usual", seed=3, calls_per_second=150, calls=400))
        assert await harness.differences() == []
        await _nothing_is_left(harness)


@pytest.mark.endurance
async def test_on_a_bad_day_the_fields_equal_the_truth(tmp_path: Path) -> None:
    """The same with a carrier that refuses, drops and cuts at every point."""
    shares = Shares(duplicates=0.2, late=0.1, errors=0.1, unknown=0.1)
    async with running_harness(tmp_path, tenants=3, fallback_instructions=FALLBACK) as harness:
        plan = Plan("rough", seed=5, calls_per_second=100, calls=300, shares=shares, faults=ROUGH)
        await harness.traffic(plan)
        assert await harness.differences() == []
        await _nothing_is_left(harness)


async def _nothing_is_left(harness: GatewayHarness) -> None:
    numbers = await harness.numbers()
    assert (numbers["active_calls"], numbers["pending_calls"]) == (0, 0)
    assert numbers["unanswered_calls"] == harness.carrier.ground_truth()["global"]["unanswered_calls_canceled"] > 0
    assert numbers["received_calls"] == numbers["accepted_calls"] + numbers["unanswered_calls"] + sum(
        value for name, value in numbers.items() if name.startswith("rejected_")
    )
    assert numbers["accepted_calls"] == numbers["started_calls"] + numbers["abandoned_calls"]
    assert numbers["lifecycle_violations"] == 0
    debug = await harness.get("/api/v1/metrics/capacity/debug")
    assert (debug["consistent"], debug["inconsistencies"], debug["global"]["in_use"]) == (True, [], 0)
    assert harness.container.capacity.in_use == 0
    assert harness.carrier.ground_truth()["violations"] == []
