"""Sharing the interpreter in thinner slices while an export thread works.

A thread that has something to do waits until the one that computes lets go of the interpreter, which it has to after
the switch interval: five milliseconds by default. Collecting and encoding is computing from end to end, so an event
loop beside it would wait that long for each of its steps, and a live read takes several.
"""

import sys
from math import isclose

from telemetry.export.hold import Hold

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
