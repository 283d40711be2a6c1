"""The running whole: three providers, the lanes by which their signals leave, and one end for all within a budget."""

import atexit
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import LoggerProvider as SdkLoggerProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.trace import TracerProvider

from telemetry.export.health import ExportHealth
from telemetry.export.lane import Lane
from telemetry.export.record import HealthRecord
from telemetry.export.signals import Signal

_logger = logging.getLogger("telemetry.export")

DEFAULT_BUDGET = 5.0
"""Seconds that ending everything may take."""
_IN_PEACE = 0.8
"""Share of the budget in which the last exports may run and retry; after it, they are broken off."""
_ENDED = 0.95
"""Share of the budget by which the exports have ended or are abandoned; the rest is for the providers."""


@dataclass(frozen=True, slots=True)
class Providers:
    """What instruments, tracers and loggers come from. Nothing of it is set globally."""

    meter_provider: MeterProvider
    tracer_provider: TracerProvider
    logger_provider: LoggerProvider
    resource: Resource
    """Who is speaking; the same for all three."""


class Pipelines:
    """Everything that exports. Begins on construction; :meth:`shutdown` ends it."""

    def __init__(
        self, providers: Providers, lanes: Mapping[Signal, Lane], records: Mapping[Signal, HealthRecord]
    ) -> None:
        self.meter_provider = providers.meter_provider
        self.tracer_provider = providers.tracer_provider
        self.logger_provider = providers.logger_provider
        self.resource = providers.resource
        self._lanes = lanes
        self._records = records
        self._ending = Lock()
        self._all_arrived: bool | None = None
        atexit.register(self.shutdown)
        for lane in lanes.values():
            lane.start()

    def health(self) -> ExportHealth:
        """How exporting goes, per signal; cheap and never blocking."""
        return ExportHealth(
            **{
                signal: self._lanes[signal].health() if signal in self._lanes else record.snapshot(thread_alive=False)
                for signal, record in self._records.items()
            }
        )

    def flush(self, budget_seconds: float = DEFAULT_BUDGET) -> bool:
        """Export now whatever there is, all signals at once; true only if all of it arrived in time."""
        deadline = monotonic() + budget_seconds
        asked = [(lane, lane.source.thread.ask()) for lane in self._lanes.values()]
        arrived = [lane.source.thread.wait(number, deadline - monotonic()) for lane, number in asked]
        return all(arrived)

    def shutdown(self, budget_seconds: float = DEFAULT_BUDGET) -> bool:
        """Export what there is and end everything, all signals together within ``budget_seconds``.

        True if all arrived. What did not is counted as dropped and logged in one line. Threads still waiting for a
        silent server are left behind as daemons. A second call does nothing and says what the first said.
        """
        with self._ending:
            if self._all_arrived is None:
                self._all_arrived = self._end(budget_seconds)
            return self._all_arrived

    def _end(self, budget_seconds: float) -> bool:
        atexit.unregister(self.shutdown)
        start = monotonic()
        arrived = self._end_lanes(start, budget_seconds)
        self._end_providers(start + budget_seconds - monotonic())
        return arrived

    def _end_lanes(self, start: float, seconds: float) -> bool:
        for lane in self._lanes.values():
            lane.stop()
        late = [lane for lane in self._lanes.values() if not lane.join(start + seconds * _IN_PEACE - monotonic())]
        for lane in self._lanes.values():
            lane.break_off()
        for lane in late:
            lane.join(start + seconds * _ENDED - monotonic())
        return self._tell_lost([told for lane in self._lanes.values() if (told := lane.give_up())])

    def _tell_lost(self, lost: list[str]) -> bool:
        if lost:
            _logger.warning("Ended without exporting %s.", ", ".join(lost))
        return not lost

    def _end_providers(self, seconds: float) -> None:
        """Shut down the providers and what was handed in with them, without letting that use up more than is left."""
        ending = Thread(target=self._shut_down_providers, name="end telemetry", daemon=True)
        ending.start()
        ending.join(max(0.0, seconds))

    def _shut_down_providers(self) -> None:
        """The API knows no end, only the SDK's providers do; the no-op ones need none."""
        for provider in (self.tracer_provider, self.logger_provider, self.meter_provider):
            if isinstance(provider, SdkTracerProvider | SdkLoggerProvider | SdkMeterProvider):
                _shut_down(provider)


def _shut_down(provider: SdkTracerProvider | SdkLoggerProvider | SdkMeterProvider) -> None:
    try:
        provider.shutdown()
    except Exception:
        _logger.exception("The %s could not be shut down.", type(provider).__name__)
