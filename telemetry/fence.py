"""Makes the measurements of one event visible to the live reader together or not at all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, local

from opentelemetry.metrics import CallbackOptions, Observation

PATIENCE_SECONDS = 0.05
"""How long recording waits for a live collection. One takes well under a millisecond; past this, something is stuck in
it, and a call does not wait: the measurements are made and one live answer may show half an event."""


class RecordingFence:
    """A call that starts is `started +1`, `active +1` and `pending -1`: three instruments, one event.

    Recording holds the fence while it makes an event's measurements. The live reader must hold it too while it
    collects, but only once the SDK's own collection lock is won, since an export may hold that for long and recording
    must not wait for it. An observable instrument's callback runs at just that point, between the SDK's lock and the
    reading of the sums: so the fence closes in :meth:`close`, registered as such a callback, and opens when the
    collection is over.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._this_thread = local()
        self._recorded = 0
        self._collected = 0
        self._torn = 0

    @property
    def settled(self) -> bool:
        """Whether the last live collection saw everything that has been recorded."""
        return self._collected == self._recorded

    @property
    def torn(self) -> int:
        """Events recorded without the fence because a collection held it too long."""
        return self._torn

    @property
    def collecting_live(self) -> bool:
        """Whether this thread's collection is the live reader's, for gauges that it has no use for."""
        return getattr(self._this_thread, "collecting", False)

    def enter(self) -> bool:
        """Begin an event's measurements; answers whether the fence is held and :meth:`leave` must give it back."""
        held = self._lock.acquire(timeout=PATIENCE_SECONDS)
        self._recorded += 1
        if not held:
            self._torn += 1
        return held

    def leave(self, held: bool) -> None:
        """End an event's measurements; ``held`` is what :meth:`enter` answered."""
        if held:
            self._lock.release()

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """What the live reader wraps its collection in."""
        self._this_thread.collecting = True
        self._this_thread.seen = None
        try:
            yield
        finally:
            self._this_thread.collecting = False
            if self._this_thread.seen is not None:
                self._collected = self._this_thread.seen
                self._lock.release()

    def close(self, _options: CallbackOptions) -> Iterable[Observation]:
        """The callback that closes the fence for the live reader; observes nothing."""
        if self.collecting_live and self._this_thread.seen is None:
            self._lock.acquire()
            self._this_thread.seen = self._recorded
        return ()
