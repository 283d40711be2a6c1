"""Calls that outlive their gateway: the line stays open for a while, and webhooks come again until somebody answers."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from service.simulator.delivery import ATTEMPTS
from service.simulator.script import CallScript, Pause, Step
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.timing import TimeScale
from tests.service.simulator.harness import ACME, API_KEY, SECRET, SimulatorHarness
from tests.service.simulator.mini_gateway import MiniGateway
from tests.support.patience import PATIENT_SECONDS

SHORT = CallScript("short", (Pause(30),))
QUICK = TimeScale(scale=0.01)


@asynccontextmanager
async def _lingering(seconds: float, time_scale: TimeScale = QUICK) -> AsyncIterator[SimulatorHarness]:
    line = CarrierOptions(
        secret=SECRET,
        numbers={ACME: "acme"},
        time_scale=time_scale,
        answer_timeout=PATIENT_SECONDS,
        ring_seconds=PATIENT_SECONDS,
        linger_seconds=seconds,
        delivery_attempts=50,
    )
    async with Simulator(line) as carrier, MiniGateway(carrier.base_url, SECRET, API_KEY) as gateway:
        carrier.target = gateway.address
        yield SimulatorHarness(carrier, gateway)


async def _glance(harness: SimulatorHarness, call_id: str) -> None:
    """Accept, attach and leave again at once."""
    await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
    async with harness.gateway.sideband(call_id) as sideband:
        await sideband.recv()


async def test_a_call_goes_on_while_nobody_watches() -> None:
    """Its script plays to its end and is the call's end, as if the gateway had never left."""
    async with _lingering(60) as harness:
        harness.gateway.take = lambda call_id: _glance(harness, call_id)
        report = await harness.call(SHORT)
        assert (report.end, report.started, report.failed) == ("caller_hung_up", True, False)
        assert harness.totals["left_open"] == 0


async def test_whoever_comes_back_goes_on_with_the_call() -> None:
    """A second sideband of the same call is welcomed, and sees its end."""
    async with _lingering(60) as harness:

        async def leave_and_come_back(call_id: str) -> None:
            await _glance(harness, call_id)
            await harness.gateway.attach(call_id)

        harness.gateway.take = leave_and_come_back
        report = await harness.call(SHORT)
        await harness.gateway.settled()
        assert (report.end, report.started) == ("caller_hung_up", True)
        assert (harness.totals["started_calls"], harness.totals["violations"]) == (1, 0)


async def test_nobody_waits_for_a_gateway_for_ever() -> None:
    """After the time a line stays open, the call is over and counted as left."""
    async with _lingering(0.05) as harness:
        harness.gateway.take = lambda call_id: _glance(harness, call_id)
        report = await harness.call(CallScript("long", (Pause(100_000),)))
        assert report.end == "left"
        assert harness.totals["left_open"] == 1


async def test_a_script_that_fails_while_nobody_watches_ends_its_call(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a script costs its own call and no more: the call ends as failed, and a line tells why."""
    broken = CallScript("broken", (Pause(20), cast("Step", "no step at all")))
    left = asyncio.Event()

    class UntilLeft(TimeScale):
        """Lets the script's pause pass once the gateway has left."""

        async def pause(self, seconds: float, *, at_least: float = 0.0) -> None:
            await (left.wait() if seconds == 20 else super().pause(seconds, at_least=at_least))

    async with _lingering(PATIENT_SECONDS, UntilLeft(scale=0.01)) as harness:

        async def glance(call_id: str) -> None:
            await _glance(harness, call_id)
            await harness.until(lambda: not harness.carrier._registry.find(call_id).attached)
            left.set()

        harness.gateway.take = glance
        report = await harness.call(broken)
        assert (report.end, report.failed) == ("closed", True)
        assert harness.totals["active_calls"] == 0
    assert "a script failed" in caplog.text


async def test_a_webhook_is_delivered_until_somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is away for longer than three attempts take gets its calls all the same."""
    async with _lingering(60) as harness:
        attempts = itertools.count()

        def target() -> str:
            return harness.carrier.target if next(attempts) > ATTEMPTS else "http://127.0.0.1:9"

        monkeypatch.setattr(harness.carrier, "_next_target", target)
        report = await harness.call(SHORT)
        assert report.started
        assert report.deliveries == (0,) * (ATTEMPTS + 1) + (200,)
