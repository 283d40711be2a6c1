"""Several threads at once, with the interpreter made to switch between them as often as it can."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def restless() -> Iterator[None]:
    """Within it, threads are switched every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(*tasks: Callable[[], object]) -> None:
    """Run all tasks at once, each in a thread of its own; the first failure is raised."""
    with restless(), ThreadPoolExecutor(len(tasks)) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def until(condition: Callable[[], object], timeout_seconds: float = 120.0) -> None:
    """Wait until the condition holds; ``TimeoutError`` if it does not in all that time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.001)


@contextmanager
def meanwhile(task: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Run the task over and over until the block ends; a failure of it is raised then."""
    failures: list[BaseException] = []
    over = Event()

    def run() -> None:
        try:
            while not over.is_set():
                task()
        except BaseException as error:  # noqa: BLE001 -- raised again below, in the thread of the test
            failures.append(error)

    thread = Thread(target=run, name="meanwhile")
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]
