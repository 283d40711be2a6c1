"""Sampling: once a minute, the counts become part of the history that derived figures are computed from."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from service.periodic import PeriodicWorker
from telemetry.clock import Clock, Instant
from telemetry.metrics.past import SAMPLE_SECONDS
from telemetry.metrics.reader import LiveMetricsReader

_logger = logging.getLogger(__name__)


class Sampled(Protocol):
    """A taker of samples; :class:`telemetry.metrics.history.History` is one."""

    def sample(self, now: Instant) -> None:
        """Note what has changed since the last sample; may take a while."""
        ...


@dataclass(frozen=True, slots=True)
class SamplingHealth:
    """Counts of samples taken and failed."""

    samples: int
    failures: int
    """The windows of derived figures then begin a little earlier; nothing is lost."""
    last_sample_seconds: float | None
    """Since the last one; ``None`` before the first."""


class Sampler:
    """Samples in a thread, for as long as it runs. A failure is counted, and the first one logged."""

    def __init__(
        self, live: LiveMetricsReader, history: Sampled, clock: Clock, *, every_seconds: float = SAMPLE_SECONDS
    ) -> None:
        self._live = live
        self._history = history
        self._clock = clock
        self._samples = 0
        self._failures = 0
        self._last = clock.now()
        self._worker = PeriodicWorker(self.sample, interval=every_seconds, failed=self._note, name="callscope-sampling")

    def start(self) -> None:
        """Begin; does nothing if it has begun."""
        self._worker.start()

    async def stop(self) -> None:
        """End; does nothing if it has not begun."""
        await self._worker.stop()

    async def sample(self) -> None:
        """Sample now."""
        try:
            await self._live.refreshed()
            now = self._clock.now()
            await asyncio.to_thread(self._history.sample, now)
        except Exception as error:  # noqa: BLE001 -- derived figures must never end the service
            self._note(error)
        else:
            self._samples += 1
            self._last = now

    def health(self) -> SamplingHealth:
        """Return the counts of samples taken and failed."""
        since = self._clock.now().since(self._last) if self._samples else None
        return SamplingHealth(self._samples, self._failures, since)

    def _note(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            _logger.error("sampling failed, further failures are only counted: %s", type(error).__name__)
