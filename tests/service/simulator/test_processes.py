"""A gateway of several processes: where deliveries go, and how many of its calls run at the same time."""

import asyncio

from service.simulator.call import Delivery
from service.simulator.script import CallScript, Pause
from tests.peers.network import HOST, free_port
from tests.service.simulator.harness import ACME, API_KEY, SECRET, SimulatorHarness
from tests.service.simulator.mini_gateway import MiniGateway

GLOBEX = "+18005550001"
SHORT = CallScript("short", (Pause(1),))
LONG = CallScript("long", (Pause(100_000),))


async def test_a_repeated_delivery_goes_to_another_process(harness: SimulatorHarness) -> None:
    """Of three deliveries under one id each goes to the next process."""
    async with MiniGateway(harness.carrier.base_url, SECRET, API_KEY) as other:
        other._calls = harness.gateway._calls  # a call has one owner among them
        harness.carrier.targets = (harness.gateway.address, other.address)
        report = await harness.call(SHORT, delivery=Delivery(repeats=2))
        assert report.deliveries == (200, 200, 200)
        assert sorted((len(harness.gateway.webhooks), len(other.webhooks))) == [1, 2]
        assert harness.totals["violations"] == 0


async def test_a_delivery_that_fails_is_repeated_elsewhere(harness: SimulatorHarness) -> None:
    """Nobody listens at the first address; the next attempt goes to the second."""
    harness.carrier.targets = (f"http://{HOST}:{free_port()}", harness.gateway.address)
    report = await harness.call(SHORT)
    assert report.deliveries == (0, 200)


async def test_the_most_calls_at_once(harness: SimulatorHarness) -> None:
    """They are counted by tenant and in all; one that is turned away, or over, is not among them."""
    calls = [asyncio.create_task(harness.call(LONG, number)) for number in (ACME, GLOBEX)]
    await harness.until(lambda: harness.totals["active_calls"] == 2)
    await harness.call(SHORT, ACME)
    harness.gateway.reject_with = 486
    await harness.call(SHORT, GLOBEX)
    harness.carrier.hang_up_all()
    await asyncio.gather(*calls)
    harness.gateway.reject_with = None
    await harness.call(SHORT, GLOBEX)
    counts = harness.carrier.counts()
    assert counts["global"]["most_at_once"] == 3
    assert {name: row["most_at_once"] for name, row in counts["tenants"].items()} == {
        "_unknown": 0,
        "acme": 2,
        "globex": 1,
        "initech": 0,
    }
