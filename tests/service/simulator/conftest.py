"""A carrier and a small gateway facing it, both on real sockets."""

from collections.abc import AsyncIterator

import pytest

from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import demo_tenants, numbers_of
from service.simulator.timing import TimeScale
from tests.service.simulator.harness import API_KEY, FALLBACK, SECRET, SimulatorHarness
from tests.service.simulator.mini_gateway import MiniGateway
from tests.support.patience import PATIENT_SECONDS


@pytest.fixture
def caller_timeout() -> float:
    """Seconds a caller waits for what the gateway owes; long, so that a busy machine changes nothing."""
    return PATIENT_SECONDS


@pytest.fixture
async def harness(caller_timeout: float) -> AsyncIterator[SimulatorHarness]:
    line = CarrierOptions(
        secret=SECRET,
        numbers=numbers_of(demo_tenants()),
        time_scale=TimeScale(scale=0.01, caller_timeout=caller_timeout, greeting_timeout=PATIENT_SECONDS),
        ring_seconds=PATIENT_SECONDS,
        answer_timeout=PATIENT_SECONDS,
        fallback_instructions=FALLBACK,
        api_key=API_KEY,
    )
    async with Simulator(line) as carrier, MiniGateway(carrier.base_url, SECRET, API_KEY) as gateway:
        carrier.target = gateway.address
        harness = SimulatorHarness(carrier, gateway)
        yield harness
        totals = harness.totals
        reasons = [count for field, count in totals.items() if field.startswith("ended_calls_")]
        assert sum(reasons) == totals["ended_calls"], "each end has one reason"
