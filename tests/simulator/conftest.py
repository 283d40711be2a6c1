"""A carrier and a small gateway facing it, both on real sockets."""

from collections.abc import AsyncIterator

import pytest

from service.simulator.pace import Pace
from service.simulator.simulator import Line, Simulator
from service.simulator.tenants import demo_tenants, numbers_of
from tests.simulator.mini_gateway import MiniGateway
from tests.simulator.stand import SECRET, Stand


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    line = Line(
        secret=SECRET,
        numbers=numbers_of(demo_tenants()),
        pace=Pace(scale=0.01, patience=0.5, greeting=0.5),
        ring_seconds=0.5,
        fallback_instructions="Be kind.",
        api_key="sk-test",
    )
    async with Simulator(line) as carrier, MiniGateway(carrier.base_url, SECRET) as gateway:
        carrier.target = gateway.address
        yield Stand(carrier, gateway)
