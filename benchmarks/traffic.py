"""Calls going through in the background, at a steady pace."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def traffic(calls_per_second: float, record: Callable[[int], object]) -> Iterator[Callable[[], float]]:
    """Within it, a thread records calls at this pace; what it gives tells how many a second it has managed."""
    over = Event()
    recorded = 0
    began = time.perf_counter()

    def run() -> None:
        nonlocal recorded
        while not over.wait(max(0.0, began + recorded / calls_per_second - time.perf_counter())):
            record(recorded)
            recorded += 1

    thread = Thread(target=run, name="traffic")
    thread.start()
    try:
        yield lambda: recorded / (time.perf_counter() - began)
    finally:
        over.set()
        thread.join()
