"""Sampling goes on whatever happens, says how it goes, and ends with the service."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from service.sampling import Sampler
from service.tenants.limits import CallLimits
from telemetry.clock import Instant
from telemetry.metrics.history import History
from telemetry.metrics.past import WindowName
from telemetry.testing import TelemetryKit, capture

TIMEOUT_SECONDS = 60.0


@dataclass
class FakeHistory:
    """Counts its samples, and fails as long as it is told to."""

    broken: bool = False
    samples: list[Instant] = field(default_factory=list)

    def sample(self, now: Instant) -> None:
        if self.broken:
            raise RuntimeError("no room")
        self.samples.append(now)


async def until(sampler: Sampler, samples: int) -> None:
    """Wait for so many samples."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while sampler.health().samples < samples:  # noqa: ASYNC110 -- nothing notifies
            await asyncio.sleep(0.005)


async def test_a_sample_takes_what_has_just_been_counted() -> None:
    """What was recorded before a sample is before the windows that begin with the next."""
    with capture() as kit:
        history = History(kit.store, kit.tracker, CallLimits(3), kit.clock.now())
        sampler = Sampler(kit.reader, history, kit.clock)
        assert sampler.health().last_sample_seconds is None
        kit.tracker.received("rtc_1", "acme")
        kit.clock.advance(60)
        await sampler.sample()
        for _ in range(8):
            kit.clock.advance(60)
            await sampler.sample()
        windows = history.of(kit.clock.now(), "acme")
    assert (windows[WindowName.FIVE_MINUTES].numbers[0], windows[WindowName.HOUR].numbers[0]) == (0, 1)


async def test_a_failure_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Sampling that fails goes on, and once it works again says so."""
    with capture() as kit:
        history = FakeHistory(broken=True)
        sampler = Sampler(kit.reader, history, kit.clock)
        with caplog.at_level(logging.ERROR):
            await sampler.sample()
            await sampler.sample()
        history.broken = False
        await sampler.sample()
        kit.clock.advance(7)
        health = sampler.health()
    assert (health.samples, health.failures, health.last_sample_seconds) == (1, 2, 7)
    assert caplog.messages == ["sampling failed, further failures are only counted: RuntimeError"]


async def test_it_runs_from_start_to_stop() -> None:
    """Once started it samples by itself; stopped it does no more; both may be said twice."""
    with TelemetryKit() as kit:
        history = FakeHistory()
        sampler = Sampler(kit.reader, history, kit.clock, every_seconds=0.001)
        await sampler.stop()
        sampler.start()
        sampler.start()
        await until(sampler, 3)
        await sampler.stop()
        await sampler.stop()
        assert [task.get_name() for task in asyncio.all_tasks()].count("callscope-sampling") == 0
    assert len(history.samples) >= 3
