"""The fence makes an event's measurements visible together, and never holds up a call for long."""

from contextlib import suppress
from threading import Event, Thread
from typing import Self

from opentelemetry.metrics import CallbackOptions

from telemetry.metrics.barrier import RecordingFence, Unfenced
from tests.telemetry.crowd import together

PATIENCE = 0.01
LONG = 30.0


class Collection:
    """A live collection in a thread of its own, which holds the fence until it is let go."""

    def __init__(self, fence: RecordingFence) -> None:
        self._fence = fence
        self.holds = Event()
        self.let_go = Event()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        with self._fence.collecting():
            self._fence.close(CallbackOptions())
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


def record(fence: RecordingFence) -> bool:
    held = fence.enter()
    fence.leave(held)
    return held


def collect(fence: RecordingFence) -> None:
    with fence.collecting():
        assert not list(fence.close(CallbackOptions()))


def test_what_is_recorded_unsettles_and_a_collection_settles() -> None:
    """A fence is settled exactly when a collection has come after everything that was recorded."""
    fence = RecordingFence()
    assert fence.settled
    assert record(fence)
    assert not fence.settled
    collect(fence)
    assert fence.settled


def test_recording_waits_for_a_collection_to_end() -> None:
    """While a collection reads, nothing is recorded; once it is over, recording goes on and nothing was torn."""
    fence = RecordingFence(LONG)
    recorded = Event()

    def wait_and_record() -> None:
        assert record(fence)
        recorded.set()

    with Collection(fence) as collection:
        recorder = Thread(target=wait_and_record)
        recorder.start()
        assert not recorded.wait(0.05)
        collection.let_go.set()
        recorder.join(LONG)
    assert recorded.is_set()
    assert fence.torn == 0


def test_a_collection_waits_for_an_event_to_be_measured() -> None:
    """A collection begun in the middle of an event reads only when the event is whole."""
    fence = RecordingFence(LONG)
    held = fence.enter()
    collection = Collection(fence)
    thread = Thread(target=collection.__enter__)
    thread.start()
    assert not collection.holds.wait(0.05)
    fence.leave(held)
    assert collection.holds.wait(LONG)
    thread.join(LONG)
    collection.__exit__()
    assert fence.settled


def test_a_stuck_collection_stops_no_recording() -> None:
    """Past its patience, recording goes on without the fence, is counted as torn, and leaves the view unsettled."""
    fence = RecordingFence(PATIENCE)
    with Collection(fence):
        assert not record(fence)
        assert fence.torn == 1
    assert not fence.settled
    collect(fence)
    assert fence.settled


def test_patience_is_lost_once_a_collection() -> None:
    """Only the first event recorded into a stuck collection waits; those after it do not, until another collection."""
    fence = RecordingFence(PATIENCE)
    with Collection(fence):
        assert not record(fence)
        fence._patience = 10 * LONG
        impatient = Thread(target=lambda: [record(fence) for _ in range(100)])
        impatient.start()
        impatient.join(LONG)
        assert not impatient.is_alive()
    assert fence.torn == 101
    assert record(fence)


def test_recorders_wait_for_each_other_after_a_stuck_collection() -> None:
    """Recorders that only meet each other wait their turn, whatever collection was stuck before."""
    fence = RecordingFence(PATIENCE)
    with Collection(fence):
        assert not record(fence)
    fence._patience = LONG
    together(*[lambda: [record(fence) for _ in range(500)]] * 4)
    assert fence.torn == 1
    collect(fence)
    assert fence.settled


def test_an_event_torn_during_a_collection_is_not_taken_for_seen() -> None:
    """An event measured while a collection reads leaves the view unsettled even if it began before the collection."""
    fence = RecordingFence(PATIENCE)
    with Collection(fence):
        held = fence.enter()
        assert not held
    assert fence.settled
    fence.leave(held)
    assert not fence.settled


def test_a_failed_collection_has_seen_nothing() -> None:
    """What was recorded before a collection that fails is still to be shown."""
    fence = RecordingFence()
    record(fence)
    with suppress(ZeroDivisionError), fence.collecting():
        fence.close(CallbackOptions())
        _ = 1 / 0
    assert not fence.settled
    assert record(fence)


def test_other_collections_pass_the_fence_by() -> None:
    """The callback holds nothing in a collection that is not the live reader's, and holds once in one that is."""
    fence = RecordingFence()
    assert not list(fence.close(CallbackOptions()))
    assert record(fence)
    with fence.collecting():
        assert fence.collecting_live
        fence.close(CallbackOptions())
        fence.close(CallbackOptions())
    assert not fence.collecting_live
    assert record(fence)


def test_recording_goes_on_as_soon_as_the_sums_are_read() -> None:
    """Once opened, the fence is free although the collection is not over; what comes then is left for the next."""
    fence = RecordingFence(LONG)
    with fence.collecting():
        fence.close(CallbackOptions())
        fence.open()
        fence.open()
        assert record(fence)
    assert not fence.settled


def test_without_a_fence_every_read_has_to_collect() -> None:
    """The fence that is none is never settled and holds nothing."""
    fence = Unfenced()
    with fence.collecting():
        fence.open()
    assert not fence.settled
