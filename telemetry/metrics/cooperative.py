"""Long work in a thread, done in small parts so that the event loop never waits long for the interpreter."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

WORK_SECONDS: Final = 0.0005
"""How long a thread works before it steps back."""

PAUSE_SECONDS: Final = 0.001
"""How long it steps back: long enough for a live read to be made and answered. Any wait hands the interpreter to
whoever wants it; without one, others get it only every five milliseconds, and a live read needs it several times."""

_T = TypeVar("_T")


def in_turns(
    parts: Iterable[_T],
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[_T]:
    """The parts, stepping back once in a while. A part should be less work than that."""
    rested = monotonic()
    for part in parts:
        if monotonic() - rested >= WORK_SECONDS:
            sleep(PAUSE_SECONDS)
            rested = monotonic()
        yield part
