"""Sharing the interpreter in thinner slices while an export thread works.

A thread that has something to do waits until the one that computes lets go of the interpreter, which it has to after
the switch interval: five milliseconds by default. Collecting and encoding is computing from end to end, so an event
loop beside it would wait that long for each of its steps, and a live read takes several.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import isclose
from threading import Lock

THIN = 0.0005
"""Seconds a thread may compute while others want to. A switch costs some hundredths of that."""


class Slices:
    """Keeps the switch interval thin while anybody wants it so, then restores what was."""

    def __init__(self, seconds: float = THIN) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self._holders = 0
        self._before = seconds

    @contextmanager
    def held(self) -> Iterator[None]:
        """Thin slices for as long as the context lasts; an application that has chosen thinner ones keeps them."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _begin(self) -> None:
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, self._seconds))

    def _end(self) -> None:
        """Who has changed the interval meanwhile is not overruled."""
        with self._lock:
            self._holders -= 1
            if self._holders == 0 and isclose(sys.getswitchinterval(), self._seconds):
                sys.setswitchinterval(self._before)


EXPORTS = Slices()
"""The one for all export threads of this process, as the interval is the process's too."""
