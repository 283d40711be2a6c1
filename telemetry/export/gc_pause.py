"""A pause of the automatic search for reference cycles, for applications that ask for it.

The interpreter searches with all threads stopped; with the series of 10,000 tenants that takes the better part of a
second. The pause changes the process, so nothing here begins one by itself.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

LONGEST = 20.0
"""Seconds that the search is put off at most, for others make cycles meanwhile."""


@contextmanager
def gc_pause(longest: float = LONGEST) -> Iterator[Callable[[], None]]:
    """Put automatic garbage collection off, unless it is off already; call what is yielded from time to time.

    That call ends the pause early once it has lasted ``longest`` seconds.
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


@contextmanager
def no_gc_pause() -> Iterator[Callable[[], None]]:
    """Leave garbage collection as it is."""
    yield lambda: None


def _promote_survivors() -> None:
    """Count what has come into being as old, without searching it: freezing and thawing does that in an instant.

    What the SDK keeps of a collection would otherwise be searched at once, with all threads stopped. An application
    that has frozen objects of its own would find them thawed, so then nothing is done.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
