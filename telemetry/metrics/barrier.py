"""Makes the measurements of one event visible to the live reader together or not at all."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import inf
from threading import Lock, local
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Observation

RECORDING_TIMEOUT_SECONDS = 0.05
"""Seconds that recording waits for a live collection. One takes under a millisecond; past this, something is stuck
in it, and a call does not wait: the measurements are made and one live answer may show half an event. What is recorded
after that, while the same collection is still stuck, does not wait at all."""


class CollectionBarrier(Protocol):
    """Keeps a collection from seeing half an event."""

    @property
    def settled(self) -> bool:
        """True if the last live collection saw everything that has been recorded."""
        ...

    @property
    def unseen(self) -> float:
        """Events recorded that the last live collection has not seen."""
        ...

    @property
    def others(self) -> int:
        """Collections that other readers have begun."""
        ...

    def collecting(self) -> AbstractContextManager[None]:
        """Return the context that the live reader collects in."""
        ...

    def open(self) -> None:
        """Let recording go on, now that the sums have been read."""
        ...


class NoBarrier:
    """For measurements made by others, who know no barrier: every read has to collect, and may show half an event."""

    __slots__ = ()

    @property
    def settled(self) -> bool:
        """Always false, for nothing tells."""
        return False

    @property
    def unseen(self) -> float:
        """Infinity, for it may be any number."""
        return inf

    @property
    def others(self) -> int:
        """Always 0: nobody counts."""
        return 0

    def collecting(self) -> AbstractContextManager[None]:
        """Hold nothing."""
        return nullcontext()

    def open(self) -> None:
        """Do nothing, as nothing was held."""


class _ThisThread(local):
    """State of the collection that a thread is in."""

    collecting = False
    holds = False


class RecordingBarrier:
    """A call that starts is `started +1`, `active +1` and `pending -1`: three instruments, one event.

    Whoever records holds the barrier while the measurements of an event are made. The live reader must hold it too
    while it collects, but only once the SDK's own collection lock is won, since an export may hold that for long and
    recording must not wait for it. An observable instrument's callback runs at just that point, between the SDK's lock
    and the reading of the sums: so the barrier closes in :meth:`close`, registered as such a callback, and opens when
    the sums have been read.
    """

    def __init__(self, timeout_seconds: float = RECORDING_TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._lock = Lock()
        self._torn_lock = Lock()
        self._this_thread = _ThisThread()
        self._collections = 0
        self._others = 0
        self._closed_by = 0
        self._stuck = 0
        self._recorded = 0
        self._torn = 0
        self._seen = (0, 0)
        self._collected = (0, 0)

    @property
    def settled(self) -> bool:
        """True if the last live collection saw everything that has been recorded."""
        return self._collected == (self._recorded, self._torn)

    @property
    def unseen(self) -> int:
        """Events recorded that the last live collection has not seen."""
        return self._recorded + self._torn - sum(self._collected)

    @property
    def others(self) -> int:
        """Collections that other readers have begun, such as an export's."""
        return self._others

    @property
    def torn(self) -> int:
        """Events recorded without the barrier because a collection held it too long."""
        return self._torn

    def enter(self) -> bool:
        """Begin an event's measurements; answers whether the barrier is held, for :meth:`leave`."""
        if not self._lock.acquire(blocking=False) and not self._wait():
            return False
        self._recorded += 1
        return True

    def leave(self, held: bool) -> None:
        """End an event's measurements; ``held`` is what :meth:`enter` answered."""
        if held:
            self._lock.release()
            return
        # Counted only when all is measured: a collection that saw half of the event does not pass for the latest.
        with self._torn_lock:
            self._torn += 1

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Return the context that the live reader collects in. A collection that fails has seen nothing."""
        self._this_thread.collecting = True
        try:
            yield
            self._collected = self._seen
        finally:
            self._this_thread.collecting = False
            self.open()

    def close(self, _options: CallbackOptions) -> Iterable[Observation]:
        """Close the barrier for the live reader, as an observable's callback that observes nothing."""
        mine = self._this_thread
        if not mine.collecting:
            self._others += 1
        elif not mine.holds:
            self._lock.acquire()
            mine.holds = True
            self._seen = (self._recorded, self._torn)
            self._collections += 1
            self._closed_by = self._collections
        return ()

    def open(self) -> None:
        """Let recording go on, now that the sums have been read."""
        if self._this_thread.holds:
            self._this_thread.holds = False
            self._closed_by = 0
            self._lock.release()

    def _wait(self) -> bool:
        closed_by = self._closed_by
        if closed_by and closed_by == self._stuck:
            return False
        held = self._lock.acquire(timeout=self._timeout_seconds)
        if not held:
            self._stuck = closed_by
        return held
