"""The thread that exports one signal: takes turns at an interval, on demand and once more at the end, and cannot die.

Whoever waits for it waits with a limit. The SDK's own threads end for good at the first unexpected exception, and
flushing them takes as long as the network likes.
"""

import gc
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import floor, isclose
from threading import Condition, Lock, Thread
from time import monotonic

from opentelemetry.instrumentation.utils import suppress_instrumentation


class Hold(ABC):
    """Begins with the first that wants it and ends with the last. Safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """As it is wanted, for as long as the context lasts."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._end()

    @abstractmethod
    def _begin(self) -> None:
        """Bring the state about."""

    @abstractmethod
    def _end(self) -> None:
        """Restore what was."""


_NOISY = "opentelemetry.exporter.otlp"
_SILENT = logging.CRITICAL + 1


class Silence(Hold):
    """Keeps a family of loggers silent."""

    def __init__(self, logger: str = _NOISY) -> None:
        super().__init__()
        self._logger = logging.getLogger(logger)
        self._ours = False

    def _begin(self) -> None:
        if self._logger.level == logging.NOTSET:
            self._ours = True
            self._logger.setLevel(_SILENT)

    def _end(self) -> None:
        if self._ours:
            self._ours = False
            self._logger.setLevel(logging.NOTSET)


EXPORTERS = Silence()
"""The one for all export threads of this process, as loggers are the process's too."""
THIN = 0.0005
"""Seconds a thread may compute while others want to. A switch costs some hundredths of that."""


class Slices(Hold):
    """Keeps the switch interval thin; an application that has chosen thinner slices keeps them."""

    def __init__(self, seconds: float = THIN) -> None:
        super().__init__()
        self._seconds = seconds
        self._before = seconds

    def _begin(self) -> None:
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(min(self._before, self._seconds))

    def _end(self) -> None:
        """Who has changed the interval meanwhile is not overruled."""
        if isclose(sys.getswitchinterval(), self._seconds):
            sys.setswitchinterval(self._before)


EXPORTS = Slices()
"""The one for all export threads of this process, as the interval is the process's too."""
Turn = Callable[[], bool]
"""One round of exporting: true if everything there was to export has arrived."""


class ExportThread:
    """Calls ``turn`` every ``interval`` seconds, first after ``first`` seconds, never twice at a time.

    An exception that a turn lets out goes to ``broken``; the next turn comes as usual.
    """

    def __init__(
        self, name: str, turn: Turn, broken: Callable[[Exception], None], *, interval: float, first: float
    ) -> None:
        self._turn = turn
        self._broken = broken
        self._interval = interval
        self._due = monotonic() + first
        self._changed = Condition()
        self._wanted = 0
        """Number of the latest turn that somebody waits for."""
        self._finished = 0
        """Number up to which those who wait have been served."""
        self._arrived = True
        """Whether the latest turn delivered everything."""
        self._woken = False
        self._stopping = False
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin taking turns."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether turns are being taken."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Take the next turn now; after a failed one, only when it is due, so that failing does not become a loop."""
        with self._changed:
            self._woken = self._arrived
            self._changed.notify_all()

    def ask(self) -> int:
        """Take a turn now; the number to :meth:`wait` for."""
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted

    def wait(self, number: int, seconds: float) -> bool:
        """Wait for the end of the turn asked for: true only if it ended in time and everything arrived."""
        with self._changed:
            if not self.alive:
                return False
            return self._changed.wait_for(lambda: self._finished >= number, max(0.0, seconds)) and self._arrived

    def flush(self, seconds: float) -> bool:
        """Take a turn now and wait for its end, as :meth:`wait` does."""
        return self.wait(self.ask(), seconds)

    def stop(self) -> None:
        """Take one last turn and end; does not wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended; false if it has not in time."""
        if self.alive:
            self._thread.join(max(0.0, seconds))
        return not self.alive

    def _run(self) -> None:
        with EXPORTERS.held(), suppress_instrumentation():
            last = False
            while not last:
                number, last = self._await_turn()
                arrived = self._take_turn()
                self._end_turn(number, arrived=arrived)

    def _await_turn(self) -> tuple[int, bool]:
        """Wait for the next reason to export; the number of those served by it, and whether it is the last."""
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

    def _take_turn(self) -> bool:
        try:
            with EXPORTS.held():
                return self._turn()
        except Exception as error:  # noqa: BLE001 - the one boundary that keeps the thread alive
            self._broken(error)
            return False

    def _end_turn(self, number: int, *, arrived: bool) -> None:
        with self._changed:
            self._finished = number
            self._arrived = arrived
            self._changed.notify_all()


LONGEST = 20.0
"""Seconds that the search for cycles is put off at most, for others make cycles meanwhile."""


@contextmanager
def lull(longest: float = LONGEST) -> Iterator[Callable[[], None]]:
    """Put automatic garbage collection off, unless it is off already; call what is yielded from time to time.

    That call ends the lull early once it has lasted ``longest`` seconds.
    """
    if not gc.isenabled():
        yield lambda: None
        return
    end = monotonic() + longest
    gc.disable()
    try:
        yield lambda: gc.enable() if monotonic() >= end else None
    finally:
        _promote_survivors()
        gc.enable()


def _promote_survivors() -> None:
    """Count what has come into being as old, without searching it: freezing and thawing does that in an instant.

    What the SDK keeps of a collection would otherwise be searched at once, with all threads stopped. An application
    that has frozen objects of its own would find them thawed, so then nothing is done.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
