"""The reader behind the live endpoints: each read costs what has changed since the last, not what exists."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, Thread, get_ident
from typing import Any, Final

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
    _Gauge,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, MetricReader, MetricsData, Sum
from opentelemetry.sdk.metrics.view import Aggregation, ExplicitBucketHistogramAggregation
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.clock import Clock, Instant, SystemClock
from telemetry.metrics.barrier import CollectionBarrier, NoBarrier
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.metrics.series import Descriptor, Observed
from telemetry.semconv.catalogue import METER_NAME, scope_version
from telemetry.semconv.instrument import Instrument, Kind

READ_BUDGET_SECONDS = 0.5
"""Seconds a read waits for its fold before it answers from the last one. A fold takes well under a millisecond, so
this is for a process that is short of processor time: the right answer is worth the wait."""

STALL_SECONDS = 0.1
"""A wait that took so much longer than it was to take: the whole process stood still, as in a full garbage collection,
the folding thread too. It gets its chance afterwards."""

OTHERS_BUDGET_SECONDS = 0.015
"""The same while a reader of the application's own may be collecting, which holds the SDK's lock for long at many
tenants."""

FEW_EVENTS = 32
"""So many events are folded in less than a millisecond, which a read spends itself rather than wait for a thread."""

BRIEF_SECONDS = 0.005
"""A fold that takes longer than this has something slow in it, such as an observable's callback: the next one, too, is
left to the thread, and so is the first one, of which nothing is known."""

FOLD_INTERVAL_SECONDS = 0.5
"""Without reads, changes are folded this often: an answer given while another reader collects is not much older."""

_logger = logging.getLogger(__name__)

_DELTA: Final = (Counter, UpDownCounter, Histogram)
_TOTALS: Final[tuple[Any, ...]] = (_Gauge, ObservableCounter, ObservableUpDownCounter, ObservableGauge)

_OUT_OF_REACH: Final = 2**31
# The SDK's limits hold for one collection only: past them, a call's +1 and its later -1 would land in different series.
# The table of series has limits of its own, which stay.

__all__ = ["FOLD_INTERVAL_SECONDS", "READ_BUDGET_SECONDS", "LiveMetricsReader", "LiveMetricsStore"]


class LiveMetricsReader(MetricReader):
    """The only reader of ours: folds what it collects into the table of series, which everybody else reads.

    A collection takes the SDK's lock, which a reader of the application's own may hold for long (at 10,000 tenants half
    a second). So a read folds by itself only what is sure to be brief: a few events, no other collection in the way and
    the last fold no slow one. Everything else is folded by a thread, and the read waits for it no longer than its
    budget; past that it answers from the last fold and says how old that is.
    """

    def __init__(
        self,
        store: LiveMetricsStore,
        *,
        barrier: CollectionBarrier | None = None,
        histograms: Aggregation | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            preferred_temporality=dict.fromkeys(_DELTA, AggregationTemporality.DELTA),
            preferred_aggregation={Histogram: histograms or ExplicitBucketHistogramAggregation()},
            cardinality_limits=dict.fromkeys((*_DELTA, *_TOTALS), _OUT_OF_REACH),
        )
        self._store = store
        self._barrier = barrier or NoBarrier()
        self._clock = clock or SystemClock()
        self._collection_lock = Lock()
        self._received = False
        self._collecting: int | None = None
        self._flush: Callable[[float], bool] = _nothing_to_flush
        self._requests: SimpleQueue[Future[bool] | None] = SimpleQueue()
        self._lifecycle = Lock()
        self._thread = Thread(target=self._run, name="callscope-live-fold", daemon=True)
        self._started = False
        self._stopped = False
        self._folding_since: Instant | None = None
        self._folded_at = self._clock.now()
        self._others_then = 0
        self._last_took = inf
        self._folds = 0
        self._failures = 0
        self._cpu_seconds = 0.0

    @property
    def store(self) -> LiveMetricsStore:
        """The table that the folds go to."""
        return self._store

    @property
    def collecting(self) -> bool:
        """True if this thread's collection is this reader's, for callbacks of observables that it reads by itself."""
        return self._collecting == get_ident()

    @property
    def folds(self) -> int:
        """Collections folded so far."""
        return self._folds

    @property
    def failures(self) -> int:
        """Collections that failed, the first of them logged; the next one brings what they would have."""
        return self._failures

    @property
    def cpu_seconds(self) -> float:
        """Processor time spent folding."""
        return self._cpu_seconds

    def start(self) -> None:
        """Begin to fold; called once the reader is registered with a provider. The first read does it too."""
        with self._lifecycle:
            if not self._started and not self._stopped:
                self._started = True
                self._thread.start()

    def refresh(self, budget_seconds: float | None = None) -> float:
        """Bring the store up to date; answers its age in seconds: 0 if it shows all recorded before the call."""
        at_once = self._at_once()
        if at_once is not None:
            return at_once
        budget = self._budget(budget_seconds)
        request = self._request(budget)
        if request is None:
            return self.age()
        began = time.monotonic()
        try:
            folded = request.result(budget)
        except TimeoutError:
            folded = _stalled(began, budget) and _soon(request, budget)
        return 0.0 if folded else self.age()

    async def refreshed(self, budget_seconds: float | None = None) -> float:
        """Do the same for an event loop, which goes on while a fold is made that is more than a matter of moments."""
        at_once = self._at_once()
        if at_once is not None:
            return at_once
        budget = self._budget(budget_seconds)
        request = self._request(budget)
        if request is None:
            return self.age()
        began = time.monotonic()
        try:
            folded = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(request)), budget)
        except TimeoutError:
            folded = _stalled(began, budget) and await asyncio.to_thread(_soon, request, budget)
        return 0.0 if folded else self.age()

    def age(self) -> float:
        """Return the seconds since the store last showed everything; 0 while nothing has been recorded since."""
        return 0.0 if self._barrier.settled else self._clock.now().since(self._folded_at)

    def fold(self, timeout_seconds: float = 10.0) -> None:
        """Fold now, in this thread, whatever has been recorded or is observed.

        Args:
            timeout_seconds: what the callbacks of observables may take together.

        Raises:
            MetricsTimeoutError: they took longer; nothing of what was recorded is lost.

        """
        with self._folding():
            self._collect_once(timeout_seconds)

    def flush_by(self, flush: Callable[[float], bool]) -> None:
        """Let a flush and the end of this reader export too; ``flush`` takes seconds and tells if all arrived."""
        self._flush = flush

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Observation]]) -> None:
        """Read an observable of the catalogue whenever somebody exports, and not at each fold."""
        descriptor = Descriptor(
            scope=InstrumentationScope(METER_NAME, scope_version()),
            schema_url="",
            name=instrument.name,
            unit=instrument.unit,
            description=instrument.description,
            data=Gauge if instrument.kind is Kind.OBSERVABLE_GAUGE else Sum,
            monotonic=instrument.kind is Kind.OBSERVABLE_COUNTER,
            observable=True,
        )
        self._store.series.register(Observed(descriptor, lambda: ((one.attributes or {}, one.value) for one in read())))

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Fold what there is and export it; false if that took too long or did not arrive."""
        deadline = time.monotonic() + timeout_millis / 1e3
        folded = self.refresh(timeout_millis / 1e3) == 0
        return self._flush(max(0.0, deadline - time.monotonic())) and folded

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ANN401, ARG002 -- the SDK's signature
        """Fold once more, export and stop. Reads go on to answer from the store."""
        deadline = time.monotonic() + timeout_millis / 1e3
        self.start()
        with self._lifecycle:
            if self._stopped:
                return
            self._stopped = True
        self._requests.put(None)
        self._thread.join(timeout_millis / 1e3)
        self._flush(max(0.0, deadline - time.monotonic()))

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 -- the SDK's signature
        **kwargs: Any,  # noqa: ANN401, ARG002 -- the same
    ) -> None:
        self._barrier.open()
        self._received = True
        self._store.fold(metrics_data)

    def _budget(self, chosen: float | None) -> float:
        """Return the seconds to wait: fewer when another reader may be collecting and hold the SDK's lock."""
        if chosen is not None:
            return chosen
        return OTHERS_BUDGET_SECONDS if self._barrier.others != self._others_then else READ_BUDGET_SECONDS

    def _request(self, budget_seconds: float) -> Future[bool] | None:
        """Return a fold to wait for; ``None`` if waiting is pointless: nobody folds any more, or the fold is stuck."""
        self.start()
        since = self._folding_since
        stuck = since is not None and self._clock.now().since(since) > budget_seconds
        if self._stopped or stuck:
            return None
        request: Future[bool] = Future()
        self._requests.put(request)
        return request

    def _at_once(self) -> float | None:
        """Return the age of an answer that needs no wait, after a fold in this thread if that is sure to be brief."""
        if self._barrier.settled:
            return 0.0
        if self._stopped or self._last_took > BRIEF_SECONDS or self._barrier.unseen > FEW_EVENTS:
            return None
        if not self._collection_lock.acquire(blocking=False):
            return None
        try:
            if self._barrier.others != self._others_then:
                # Another reader has begun since the last fold, and may hold the SDK's lock still.
                return None
            return 0.0 if self._fold() else self.age()
        finally:
            self._collection_lock.release()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            requests = self._gather()
            stopping = None in requests
            if requests or not self._barrier.settled:
                folded = self._fold_locked()
                for request in requests:
                    _resolve(request, folded=folded)

    def _gather(self) -> list[Future[bool] | None]:
        """Return all requests made so far, none if none comes in an interval: the next fold serves all."""
        requests: list[Future[bool] | None] = []
        try:
            requests.append(self._requests.get(timeout=FOLD_INTERVAL_SECONDS))
            while True:
                requests.append(self._requests.get_nowait())
        except Empty:
            return requests

    def _fold_locked(self) -> bool:
        with self._folding():
            return self._fold()

    @contextmanager
    def _folding(self) -> Iterator[None]:
        since = self._clock.now()
        self._folding_since = self._folding_since or since
        try:
            with self._collection_lock:
                yield
        finally:
            self._folding_since = None

    def _fold(self) -> bool:
        try:
            self._collect_once()
        except Exception:  # noqa: BLE001 -- what fails once must not end live numbers for good
            return False
        return True

    def _collect_once(self, timeout_seconds: float = 10.0) -> None:
        """Collect and fold. What fails is counted and logged, once, and raised."""
        began, others = self._clock.now(), self._barrier.others
        unix_nanos = time.time_ns()
        wall, cpu = time.monotonic(), time.thread_time()
        self._received, self._collecting = False, get_ident()
        try:
            with self._barrier.collecting():
                self.collect(timeout_millis=timeout_seconds * 1e3)
                if not self._received:
                    self._store.series.advance(unix_nanos)
        except Exception as error:
            self._note(error)
            raise
        else:
            self._folds += 1
            self._folded_at = began
            self._others_then = others
        finally:
            self._collecting = None
            self._last_took = time.monotonic() - wall
            self._cpu_seconds += time.thread_time() - cpu

    def _note(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            _logger.error("live collection failed, further failures are only counted: %s", type(error).__name__)


def _nothing_to_flush(_seconds: float) -> bool:
    return True


def _stalled(began: float, budget_seconds: float) -> bool:
    return time.monotonic() - began > budget_seconds + STALL_SECONDS


def _soon(request: Future[bool], budget_seconds: float) -> bool:
    try:
        return request.result(budget_seconds)
    except TimeoutError:
        return False


def _resolve(request: Future[bool] | None, *, folded: bool) -> None:
    if request is None:
        return
    try:
        request.set_result(folded)
    except InvalidStateError:
        # Its reader has given up waiting.
        return
