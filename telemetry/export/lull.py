"""Sparing the event loop full garbage collections that collecting metrics would set off.

A collection of many tenants makes hundreds of thousands of objects that live for as long as they are sent. The
interpreter takes them for long-lived ones and searches the whole heap for cycles, with every thread stopped: for a
second at 10,000 tenants. They hold no cycles, and reference counting frees them, so the search can wait for that.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

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
