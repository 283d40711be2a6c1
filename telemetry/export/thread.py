"""The thread that exports one signal: one round an interval, one on demand and one at the end, and it cannot die.

Whoever waits for it waits with a limit. The SDK's own threads end for good at the first unexpected exception, and
flushing them takes as long as the network likes.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import floor
from threading import Condition, Lock, Thread
from time import monotonic

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY as _SDK_KEY
from opentelemetry.context import attach, detach, get_value, set_value

_SUPPRESSED = "suppress_instrumentation"
# The key that every instrumentation looks at. The contrib package that names it loads the propagators when it is
# imported, and fails at one that OTEL_PROPAGATORS names and nobody has installed.

_EXPORTERS = "opentelemetry.exporter.otlp"
_SILENT = logging.CRITICAL + 1


@contextmanager
def suppress_instrumentation() -> Iterator[None]:
    """Have nothing that is done in the context traced or logged by instrumentations."""
    token = attach(set_value(_SUPPRESSED, True))
    try:
        yield
    finally:
        detach(token)


def is_instrumentation_enabled() -> bool:
    """Return False inside an export, the SDK's own ones included."""
    return not (get_value(_SUPPRESSED) or get_value(_SDK_KEY))


class LogSuppression:
    """Keeps a family of loggers silent while anybody holds it. Safe for threads.

    The exporters log each failed attempt, which the health of an export tells once. A level that the application has
    set on the family's logger stays.
    """

    def __init__(self, logger: str = _EXPORTERS) -> None:
        self._logger = logging.getLogger(logger)
        self._lock = Lock()
        self._reference_count = 0
        self._ours = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the loggers silent for as long as the context lasts."""
        with self._lock:
            self._reference_count += 1
            if self._reference_count == 1 and self._logger.level == logging.NOTSET:
                self._ours = True
                self._logger.setLevel(_SILENT)
        try:
            yield
        finally:
            with self._lock:
                self._reference_count -= 1
                if self._reference_count == 0 and self._ours:
                    self._ours = False
                    self._logger.setLevel(logging.NOTSET)


EXPORTER_LOGS = LogSuppression()
"""The one for all export threads, as loggers belong to the process."""
Round = Callable[[], bool]
"""One round of exporting: true if everything there was to export has arrived."""


class ExportThread:
    """Calls ``export`` every ``interval`` seconds, first after ``first`` seconds, never twice at a time.

    An exception that a round lets out goes to ``broken``; the next round comes as usual.
    """

    def __init__(
        self, name: str, export: Round, broken: Callable[[Exception], None], *, interval: float, first: float
    ) -> None:
        self._export = export
        self._broken = broken
        self._interval = interval
        self._due = monotonic() + first
        self._changed = Condition()
        self._wanted = 0
        """Number of the latest round that somebody waits for."""
        self._finished = 0
        """Number up to which those who wait have been served."""
        self._arrived = True
        """True if the latest round delivered everything."""
        self._woken = False
        self._stopping = False
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin exporting."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """True while rounds are made."""
        return self._thread.is_alive()

    @property
    def ending(self) -> bool:
        """True once the last round has been asked for."""
        return self._stopping

    def wake(self) -> None:
        """Export now; after a failed round, only when the next is due, so that failing does not become a loop."""
        with self._changed:
            self._woken = self._arrived
            self._changed.notify_all()

    def ask(self) -> int:
        """Export now; return the number to :meth:`wait` for."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted

    def wait(self, number: int, seconds: float) -> bool:
        """Wait for the end of the round asked for; true only if it ended in time and everything arrived."""
        with self._changed:
            if not self.alive:
                return False
            return self._changed.wait_for(lambda: self._finished >= number, max(0.0, seconds)) and self._arrived

    def flush(self, seconds: float) -> bool:
        """Export now and wait for the end, as :meth:`wait` does."""
        return self.wait(self.ask(), seconds)

    def stop(self) -> None:
        """Export once more and end; does not wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended; false if it has not in time."""
        if self.alive:
            self._thread.join(max(0.0, seconds))
        return not self.alive

    def _run(self) -> None:
        with EXPORTER_LOGS.held(), suppress_instrumentation():
            last = False
            while not last:
                number, last = self._await_round()
                arrived = self._make_round()
                self._end_round(number, arrived=arrived)

    def _await_round(self) -> tuple[int, bool]:
        """Wait for the next reason to export; return the number of those served by it, and whether it is the last."""
        with self._changed:
            self._changed.wait_for(self._has_reason, max(0.0, self._due - monotonic()))
            self._woken = False
            self._schedule()
            return self._wanted, self._stopping

    def _has_reason(self) -> bool:
        return self._stopping or self._woken or self._wanted > self._finished

    def _schedule(self) -> None:
        """Put the due time into the future, leaving out what was missed, so that the phase stays."""
        if (late := monotonic() - self._due) >= 0:
            self._due += (floor(late / self._interval) + 1) * self._interval

    def _make_round(self) -> bool:
        try:
            return self._export()
        except Exception as error:  # noqa: BLE001 - the one boundary that keeps the thread alive
            self._broken(error)
            return False

    def _end_round(self, number: int, *, arrived: bool) -> None:
        with self._changed:
            self._finished = number
            self._arrived = arrived
            self._changed.notify_all()
