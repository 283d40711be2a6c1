"""The live reader: always fresh or honest about its age, never waiting long for anybody."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread, get_ident
from threading import enumerate as threads

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.calls.call import Call
from telemetry.calls.sinks import FanOut
from telemetry.calls.tracker import CallTracker
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.reader import FEW_EVENTS, LiveMetricsReader, LiveMetricsStore
from telemetry.metrics.sink import MetricsSink
from telemetry.semconv import catalogue
from telemetry.testing import FakeClock, TelemetryKit
from tests.telemetry.threads import together, until

LONG = 30.0


class FaultyStore(LiveMetricsStore):
    """A table whose next folds fail, and that remembers which thread folded last."""

    faults = 0
    folded_by = 0

    def fold(self, data: MetricsData) -> None:
        self.folded_by = get_ident()
        if self.faults:
            self.faults -= 1
            raise OverflowError("made to fail")
        super().fold(data)


class Pipeline:
    """A live reader beside another reader, whose collections can be held up inside the SDK's lock."""

    def __init__(self, series: int = 1_000_000) -> None:
        self.clock = FakeClock()
        self.store = FaultyStore(100_000, series=series)
        recording = RecordingBarrier(LONG)
        self.reader = LiveMetricsReader(self.store, barrier=recording, clock=self.clock)
        self.other = InMemoryMetricReader()
        self.provider = MeterProvider([self.other, self.reader], resource=Resource({}), shutdown_on_exit=False)
        meter = self.provider.get_meter(catalogue.METER_NAME)
        metrics = MetricsSink(meter, labels=TenantLabels(100_000), barrier=recording)
        self.tracker = CallTracker(FanOut([metrics], strict=True), clock=self.clock)
        self._held, self._let_go = Event(), Event()
        self._hold = False
        meter.create_observable_gauge("slow", [self._slow])

    def _slow(self, _options: CallbackOptions) -> Iterable[Observation]:
        if self._hold:
            self._hold = False
            self._held.set()
            assert self._let_go.wait(LONG)
        return ()

    @contextmanager
    def slow_collection(self) -> Iterator[None]:
        """Within it, the other reader collects, and its collection is stuck in a callback."""
        self._hold = True
        collection = Thread(target=self.other.collect, kwargs={"timeout_millis": LONG * 10_000})
        collection.start()
        assert self._held.wait(LONG)
        try:
            yield
        finally:
            assert collection.is_alive(), "the collection was to be held the whole time"
            self._let_go.set()
            collection.join(LONG)

    def received(self, number: int) -> Call:
        return self.tracker.received(f"call-{number}", "acme")

    def shown(self) -> int | float:
        numbers = self.store.numbers()
        assert numbers is not None
        return numbers["received_calls"]


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    made = Pipeline()
    yield made
    made.provider.shutdown()


def test_a_read_after_an_event_shows_it(pipeline: Pipeline) -> None:
    """Each read brings the table up to the last event, and says that its age is zero."""
    for number in range(1, 20):
        pipeline.received(number)
        assert pipeline.reader.refresh(LONG) == 0
        assert pipeline.shown() == number


def test_reading_twice_collects_once(pipeline: Pipeline) -> None:
    """Where nothing has been recorded since, a read collects nothing."""
    pipeline.received(1)
    pipeline.reader.refresh(LONG)
    folds = pipeline.reader.folds
    for _ in range(5):
        assert pipeline.reader.refresh(LONG) == 0
        pipeline.clock.advance(60)
    assert pipeline.reader.folds == folds
    assert pipeline.reader.age() == 0


def test_a_read_does_not_wait_for_another_readers_collection(pipeline: Pipeline) -> None:
    """While another reader holds the SDK's lock, a read returns the last fold and its age; later it catches up."""
    pipeline.received(1)
    assert pipeline.reader.refresh(LONG) == 0
    with pipeline.slow_collection():
        pipeline.received(2)
        pipeline.clock.advance(0.75)
        assert pipeline.reader.refresh(0.01) == 0.75
        assert pipeline.shown() == 1
        assert pipeline.reader.age() == 0.75
    assert pipeline.reader.refresh(LONG) == 0
    assert pipeline.shown() == 2


def test_once_stuck_is_known_nobody_waits(pipeline: Pipeline) -> None:
    """A fold that has been stuck for longer than a read's budget is not waited for at all."""
    pipeline.received(1)
    with pipeline.slow_collection():
        pipeline.received(2)
        pipeline.reader.refresh(0.01)
        until(lambda: pipeline.reader._folding_since is not None)
        pipeline.clock.advance(10 * LONG + 1)
        readers = [Thread(target=pipeline.reader.refresh, args=(10 * LONG,)) for _ in range(50)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(LONG)
        assert not any(reader.is_alive() for reader in readers)


def test_recording_does_not_wait_for_another_readers_collection(pipeline: Pipeline) -> None:
    """While another reader holds the SDK's lock and a live read waits for it, events are still recorded."""
    with pipeline.slow_collection():
        pipeline.received(1)
        pipeline.reader.refresh(0.01)
        recorder = Thread(target=lambda: [pipeline.received(number) for number in range(2, 50)])
        recorder.start()
        recorder.join(LONG)
        assert not recorder.is_alive()
    assert pipeline.reader.refresh(LONG) == 0
    assert pipeline.shown() == 49


async def test_few_events_are_folded_by_whoever_reads(pipeline: Pipeline) -> None:
    """A read of a few events, in an event loop or not, is fresh without the thread; one of many takes the thread."""
    numbers = count(1)

    def recorded(events: int) -> None:
        for _ in range(events):
            pipeline.received(next(numbers))

    async def read_by_itself() -> bool:
        recorded(1)
        assert await pipeline.reader.refreshed(LONG) == 0
        asynchronous = pipeline.store.folded_by
        recorded(1)
        assert pipeline.reader.refresh(LONG) == 0
        return asynchronous == pipeline.store.folded_by == get_ident()

    recorded(1)
    assert pipeline.reader.refresh(LONG) == 0
    assert pipeline.store.folded_by != get_ident()
    # A fold that the machine made slow sends the next read to the thread: not every read can be held to this.
    while not await read_by_itself():
        pass
    recorded(FEW_EVENTS + 1)
    assert await pipeline.reader.refreshed(LONG) == 0
    assert pipeline.store.folded_by != get_ident()


async def test_an_event_loop_waits_for_no_fold_under_way(pipeline: Pipeline) -> None:
    """While another thread folds, even before the SDK's lock is won, a read does not fold by itself."""
    pipeline.received(1)
    assert await pipeline.reader.refreshed(LONG) == 0
    with pipeline.reader._collection_lock:
        pipeline.received(2)
        pipeline.clock.advance(0.25)
        assert await pipeline.reader.refreshed(0.01) == 0.25
        assert pipeline.shown() == 1
    assert await pipeline.reader.refreshed(LONG) == 0
    assert pipeline.shown() == 2


def test_threads_that_read_and_record_at_once_lose_nothing(pipeline: Pipeline) -> None:
    """Whoever folds, readers or the folding thread, every event is shown once, and to the reader that recorded it."""

    def busy(thread: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(100):
                pipeline.received(1000 * thread + number)
                assert pipeline.reader.refresh(LONG) == 0
                assert pipeline.shown() > number

        return run

    together(*[busy(thread) for thread in range(4)])
    assert pipeline.shown() == 400


async def test_an_event_loop_goes_on_while_a_fold_is_made(pipeline: Pipeline) -> None:
    """The asynchronous read is fresh, costs nothing when nothing is new, and never blocks the loop."""
    assert await pipeline.reader.refreshed(LONG) == 0
    pipeline.received(1)
    assert await pipeline.reader.refreshed(LONG) == 0
    assert pipeline.shown() == 1
    with pipeline.slow_collection():
        pipeline.received(2)
        pipeline.clock.advance(0.5)
        waiting = asyncio.create_task(pipeline.reader.refreshed(LONG))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert await pipeline.reader.refreshed(0.01) == 0.5
        assert pipeline.shown() == 1
    assert await waiting == 0
    assert pipeline.shown() == 2


async def test_a_fold_known_to_be_stuck_holds_up_no_loop(pipeline: Pipeline) -> None:
    """The asynchronous read too answers at once, with the age, when the fold under way is stuck."""
    with pipeline.slow_collection():
        pipeline.received(1)
        assert await pipeline.reader.refreshed(0.01) == pipeline.reader.age()
        await asyncio.to_thread(until, lambda: pipeline.reader._folding_since is not None)
        pipeline.clock.advance(100)
        assert await asyncio.wait_for(pipeline.reader.refreshed(50), LONG) >= 100


def test_a_loop_that_is_gone_when_its_fold_comes_hurts_nobody(pipeline: Pipeline) -> None:
    """A read given up by a loop that has closed since does not disturb the folding."""
    with pipeline.slow_collection():
        pipeline.received(1)
        asyncio.run(pipeline.reader.refreshed(0.01))
    assert pipeline.reader.refresh(LONG) == 0
    assert pipeline.shown() == 1
    assert pipeline.reader.failures == 0


def test_what_nobody_reads_is_folded_all_the_same(pipeline: Pipeline) -> None:
    """Without reads, the folding thread brings the table up to date by itself."""
    pipeline.reader.start()
    pipeline.received(1)
    until(lambda: pipeline.shown() == 1)
    until(lambda: pipeline.reader.age() == 0)
    assert pipeline.reader.cpu_seconds > 0


def test_one_thread_folds(pipeline: Pipeline) -> None:
    """However often it is started, there is one folding thread, and none after shutdown, whatever is called then."""
    before = set(threads())
    for _ in range(3):
        pipeline.reader.start()
    assert [thread.name for thread in set(threads()) - before] == ["callscope-live-fold"]
    pipeline.provider.shutdown()
    pipeline.reader.start()
    pipeline.reader.refresh(0.01)
    assert set(threads()) <= before


@pytest.mark.parametrize("started", [True, False])
def test_shutdown_folds_what_is_left(pipeline: Pipeline, started: bool) -> None:
    """What was recorded before shutdown is shown after it, whether the reader was ever read or not; twice is once."""
    if started:
        pipeline.reader.start()
    pipeline.received(1)
    pipeline.reader.shutdown()
    pipeline.reader.shutdown()
    assert pipeline.shown() == 1
    assert pipeline.reader.refresh() == 0


async def test_after_shutdown_reads_answer_from_the_table(pipeline: Pipeline) -> None:
    """What is recorded after shutdown is not shown, and reads say how old their answer is."""
    pipeline.received(1)
    pipeline.reader.shutdown()
    pipeline.received(2)
    pipeline.clock.advance(7)
    assert pipeline.reader.refresh(LONG) == 7
    assert await pipeline.reader.refreshed(LONG) == 7
    assert pipeline.shown() == 1


def test_a_flush_of_the_provider_folds_too(pipeline: Pipeline) -> None:
    """A provider's flush brings the live table up to date, without showing half an event."""
    pipeline.received(1)
    assert pipeline.provider.force_flush()
    assert pipeline.shown() == 1
    assert pipeline.reader.age() == 0


@pytest.mark.parametrize(("faults", "arrived"), [(0, False), (1, True), (1, False)])
def test_a_flush_tells_of_a_fold_that_fails_and_of_what_did_not_arrive(
    pipeline: Pipeline, faults: int, arrived: bool
) -> None:
    """Both have to go well: a flush that folds and exports nothing, or exports what was not folded, is none."""
    pipeline.reader.flush_by(lambda _seconds: arrived)
    pipeline.store.faults = faults
    pipeline.clock.advance(1)
    pipeline.received(1)
    assert not pipeline.reader.force_flush()


def test_a_fold_that_fails_is_counted_and_not_the_last(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    """A failing fold is logged once and counted, its read answers an age, and later reads work again."""
    pipeline.store.faults = 2
    with caplog.at_level(logging.ERROR, "telemetry.metrics.reader"):
        for number in (1, 2):
            pipeline.clock.advance(1)
            pipeline.received(number)
            assert pipeline.reader.refresh(LONG) > 0
    assert pipeline.reader.failures == 2
    assert [record.getMessage() for record in caplog.records] == [
        "live collection failed, further failures are only counted: OverflowError"
    ]
    pipeline.received(3)
    assert pipeline.reader.refresh(LONG) == 0


def test_a_reader_without_a_barrier_collects_at_every_read() -> None:
    """Where others record, each read collects, and shows what they have recorded."""
    store = LiveMetricsStore()
    reader = LiveMetricsReader(store, clock=FakeClock())
    provider = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    counter = provider.get_meter(catalogue.METER_NAME).create_counter("voice.call.accepted")
    for number in range(1, 4):
        counter.add(1, {"tenant.id": "acme"})
        assert reader.refresh(LONG) == 0
        assert store.live("acme") == dict.fromkeys(catalogue.LIVE_FIELDS, 0) | {"accepted_calls": number}
    provider.shutdown()


def test_a_reader_that_belongs_to_no_provider_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Read before it is registered, the reader has nothing to show and fails nobody."""
    reader = LiveMetricsReader(LiveMetricsStore())
    assert reader.refresh(LONG) == 0
    assert reader.store.tenants() == []
    reader.shutdown()
    assert "until it is registered" in caplog.text


def test_totals_are_exact_past_the_cardinality_limit() -> None:
    """More tenants in one collection than the table has room for: the total is right, the overflow is told."""
    limit = 200
    made = Pipeline(series=limit)
    calls = [made.tracker.received(f"call-{number}", f"tenant-{number}") for number in range(limit + 50)]
    for call in calls:
        call.accepted()
    assert made.reader.refresh(LONG) == 0
    assert made.shown() == limit + 50
    numbers = made.store.numbers("_other")
    assert numbers is not None
    assert numbers["received_calls"] >= 50
    assert made.store.size().overflowed > 0
    made.provider.shutdown()


def test_the_budget_of_tenants_bounds_table_and_series() -> None:
    """A thousand tenants against a budget of three: four rows, `_other` among them, and exact totals."""
    with TelemetryKit(max_tenants=3) as kit:
        for number in range(1000):
            kit.tracker.received(f"call-{number}", f"tenant-{number}")
        assert kit.numbers()["received_calls"] == 1000
        assert sorted(kit.store.tenants()) == ["_other", "tenant-0", "tenant-1", "tenant-2"]
        assert kit.numbers("_other")["received_calls"] == 997
        assert kit.tenant_labels.refused >= 997
        assert len(kit.metrics()["voice.call.received"]) == 4
        assert kit.store.size().overflowed == 0
