"""The barrier makes an event's measurements visible together, and never holds up a call for long."""

from contextlib import suppress
from threading import Event, Thread
from typing import Self

from opentelemetry.metrics import CallbackOptions

from telemetry.metrics.barrier import NoBarrier, RecordingBarrier
from tests.telemetry.threads import together

TIMEOUT = 0.01
LONG = 30.0


class Collection:
    """A live collection in a thread of its own, which holds the barrier until it is let go."""

    def __init__(self, barrier: RecordingBarrier) -> None:
        self._barrier = barrier
        self.holds = Event()
        self.let_go = Event()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        with self._barrier.collecting():
            self._barrier.close(CallbackOptions())
            self.holds.set()
            assert self.let_go.wait(LONG)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.holds.wait(LONG)
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


def record(barrier: RecordingBarrier) -> bool:
    held = barrier.enter()
    barrier.leave(held)
    return held


def collect(barrier: RecordingBarrier) -> None:
    with barrier.collecting():
        assert not list(barrier.close(CallbackOptions()))


def test_what_is_recorded_unsettles_and_a_collection_settles() -> None:
    """A barrier is settled exactly when a collection has come after everything that was recorded."""
    barrier = RecordingBarrier()
    assert barrier.settled
    assert record(barrier)
    assert not barrier.settled
    collect(barrier)
    assert barrier.settled


def test_recording_waits_for_a_collection_to_end() -> None:
    """While a collection reads, nothing is recorded; once it is over, recording goes on and nothing was torn."""
    barrier = RecordingBarrier(LONG)
    recorded = Event()

    def wait_and_record() -> None:
        assert record(barrier)
        recorded.set()

    with Collection(barrier) as collection:
        recorder = Thread(target=wait_and_record)
        recorder.start()
        assert not recorded.wait(0.05)
        collection.let_go.set()
        recorder.join(LONG)
    assert recorded.is_set()
    assert barrier.torn == 0


def test_a_collection_waits_for_an_event_to_be_measured() -> None:
    """A collection begun in the middle of an event reads only when the event is whole."""
    barrier = RecordingBarrier(LONG)
    held = barrier.enter()
    collection = Collection(barrier)
    thread = Thread(target=collection.__enter__)
    thread.start()
    assert not collection.holds.wait(0.05)
    barrier.leave(held)
    assert collection.holds.wait(LONG)
    thread.join(LONG)
    collection.__exit__()
    assert barrier.settled


def test_a_stuck_collection_stops_no_recording() -> None:
    """Past its time-out, recording goes on without the barrier, is counted as torn, and leaves the view unsettled."""
    barrier = RecordingBarrier(TIMEOUT)
    with Collection(barrier):
        assert not record(barrier)
        assert barrier.torn == 1
    assert not barrier.settled
    collect(barrier)
    assert barrier.settled


def test_patience_is_lost_once_a_collection() -> None:
    """Only the first event recorded into a stuck collection waits; those after it do not, until another collection."""
    barrier = RecordingBarrier(TIMEOUT)
    with Collection(barrier):
        assert not record(barrier)
        barrier._timeout_seconds = 10 * LONG
        impatient = Thread(target=lambda: [record(barrier) for _ in range(100)])
        impatient.start()
        impatient.join(LONG)
        assert not impatient.is_alive()
    assert barrier.torn == 101
    assert record(barrier)


def test_recorders_wait_for_each_other_after_a_stuck_collection() -> None:
    """Recorders that only meet each other wait their turn, whatever collection was stuck before."""
    barrier = RecordingBarrier(TIMEOUT)
    with Collection(barrier):
        assert not record(barrier)
    barrier._timeout_seconds = LONG
    together(*[lambda: [record(barrier) for _ in range(500)]] * 4)
    assert barrier.torn == 1
    collect(barrier)
    assert barrier.settled


def test_an_event_torn_during_a_collection_is_not_taken_for_seen() -> None:
    """An event measured while a collection reads leaves the view unsettled even if it began before the collection."""
    barrier = RecordingBarrier(TIMEOUT)
    with Collection(barrier):
        held = barrier.enter()
        assert not held
    assert barrier.settled
    barrier.leave(held)
    assert not barrier.settled


def test_a_failed_collection_has_seen_nothing() -> None:
    """What was recorded before a collection that fails is still to be shown."""
    barrier = RecordingBarrier()
    record(barrier)
    with suppress(ZeroDivisionError), barrier.collecting():
        barrier.close(CallbackOptions())
        _ = 1 / 0
    assert not barrier.settled
    assert record(barrier)


def test_other_collections_pass_the_barrier_by() -> None:
    """The callback holds nothing in a collection that is not the live reader's, and holds once in one that is."""
    barrier = RecordingBarrier()
    assert not list(barrier.close(CallbackOptions()))
    assert record(barrier)
    with barrier.collecting():
        barrier.close(CallbackOptions())
        barrier.close(CallbackOptions())
    assert record(barrier)


def test_recording_goes_on_as_soon_as_the_sums_are_read() -> None:
    """Once opened, the barrier is free although the collection is not over; what comes then is left for the next."""
    barrier = RecordingBarrier(LONG)
    with barrier.collecting():
        barrier.close(CallbackOptions())
        barrier.open()
        barrier.open()
        assert record(barrier)
    assert not barrier.settled


def test_without_a_barrier_every_read_has_to_collect() -> None:
    """The barrier that is none is never settled and holds nothing."""
    barrier = NoBarrier()
    with barrier.collecting():
        barrier.open()
    assert not barrier.settled
