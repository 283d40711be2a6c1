"""Long work in a thread, done in small parts so that the event loop never waits long for the interpreter."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

WORK_SECONDS: Final = 0.0005
"""Seconds a thread works before it yields."""

PAUSE_SECONDS: Final = 0.001
"""Seconds it yields for: long enough for a live read to be made and answered. Any wait hands the interpreter to
whoever wants it; without one, others get it only every five milliseconds, and a live read needs it several times."""

_T = TypeVar("_T")


def yielding(
    parts: Iterable[_T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[_T]:
    """Yield the parts, and pause after each :data:`WORK_SECONDS`. A part should be less work than that."""
    rested = monotonic()
    for part in parts:
        if monotonic() - rested >= WORK_SECONDS:
            sleep(PAUSE_SECONDS)
            rested = monotonic()
        yield part
