"""The export thread takes its turns whatever happens, and nobody waits for it without a limit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, current_thread

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from telemetry.export.thread import ExportThread

NEVER = 3600.0
"""Seconds no test takes."""


@contextmanager
def exporting(
    turn: Callable[[], bool], *, interval: float = NEVER, broken: Callable[[Exception], None] = lambda _: None
) -> Iterator[ExportThread]:
    thread = ExportThread("test", turn, broken, interval=interval, first=interval)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
        thread.join(30)


class Turns:
    """Counts turns; each returns or raises what was last told."""

    def __init__(self, *, arrives: bool = True) -> None:
        self.arrives = arrives
        self.number = 0
        self.fails_with: Exception | None = None

    def __call__(self) -> bool:
        self.number += 1
        if self.fails_with:
            raise self.fails_with
        return self.arrives


def test_turns_come_by_themselves() -> None:
    """With a short interval, one turn follows the other."""
    enough = Event()
    turns = Turns()

    def turn() -> bool:
        if turns() and turns.number >= 3:
            enough.set()
        return True

    with exporting(turn, interval=0.01):
        assert enough.wait(30)


def test_an_exception_ends_a_turn_and_not_the_thread() -> None:
    """Whatever a turn lets out is handed over, the flush says no, and the next one works."""
    turns, handed = Turns(), list[Exception]()
    with exporting(turns, broken=handed.append) as thread:
        turns.fails_with = MemoryError("none left")
        assert not thread.flush(30)
        assert handed == [turns.fails_with]
        turns.fails_with = None
        assert thread.flush(30)
        assert thread.alive


def test_a_flush_is_as_true_as_the_export() -> None:
    """It is true only if everything arrived."""
    turns = Turns(arrives=False)
    with exporting(turns) as thread:
        assert not thread.flush(30)
        turns.arrives = True
        assert thread.flush(30)


def test_a_flush_waits_for_a_turn_that_began_after_it() -> None:
    """A turn already under way when the flush comes does not count for it."""
    entered, go_on = Event(), Event()
    turns = Turns()

    def turn() -> bool:
        turns()
        if turns.number == 1:
            entered.set()
            go_on.wait(30)
        return True

    with exporting(turn) as thread:
        thread.ask()
        assert entered.wait(30)
        number = thread.ask()
        assert not thread.wait(number, 0.05)
        go_on.set()
        assert thread.wait(number, 30)
        assert turns.number == 2


def test_a_flush_gives_up_when_its_time_is_over() -> None:
    """A turn that hangs makes the flush false, not endless."""
    go_on = Event()
    with exporting(lambda: go_on.wait(30)) as thread:
        assert not thread.flush(0.05)
        go_on.set()


def test_turns_never_overlap() -> None:
    """Many flushes at once are served by turns one after the other."""
    busy, overlaps = Lock(), list[bool]()

    def turn() -> bool:
        overlaps.append(not busy.acquire(blocking=False))
        busy.release()
        return True

    with exporting(turn, interval=0.001) as thread:
        for _ in range(50):
            assert thread.flush(30)
    assert not any(overlaps)


def test_waking_takes_a_turn_now() -> None:
    """A full batch need not wait for the interval."""
    taken = Event()

    def turn() -> bool:
        taken.set()
        return True

    with exporting(turn) as thread:
        thread.wake()
        assert taken.wait(30)


def test_waking_after_a_failure_changes_nothing() -> None:
    """While the server fails, full batches do not turn exporting into a loop; the interval rules."""
    turns = Turns(arrives=False)
    with exporting(turns) as thread:
        thread.flush(30)
        for _ in range(100):
            thread.wake()
        turns.arrives = True
        assert thread.flush(30)
        assert turns.number == 2


def test_the_end_brings_one_last_turn() -> None:
    """What was there when the end was asked for is still exported; then the thread is gone and flushes fail."""
    turns = Turns()
    with exporting(turns) as thread:
        thread.stop()
        assert thread.join(30)
        assert turns.number == 1
        assert not thread.alive
        assert not thread.flush(30)


def test_the_thread_is_a_daemon_and_exempt_from_instrumentation() -> None:
    """It cannot keep a process alive, and its own requests are not traced."""
    seen = list[bool]()

    def turn() -> bool:
        seen.extend([current_thread().daemon, is_instrumentation_enabled()])
        return True

    with exporting(turn) as thread:
        assert thread.flush(30)
    assert seen == [True, False, True, False]
