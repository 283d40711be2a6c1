"""Waiting until something is true, instead of for a time that should be long enough."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 180.0
"""Seconds a condition may take on a slow, shared machine before a test gives up on it."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two looks: at first, and once it takes long."""


def until(probe: Callable[[], T | None], what: str, *, timeout: float = TIMEOUT) -> T:
    """Answer the probe's first true answer; fail with `what` was awaited and what it answered last."""
    deadline, pause = time.monotonic() + timeout, SHORTEST_PAUSE
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what}; last seen: {answer!r}")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return answer
