"""The reader behind the live endpoints: each read costs what has changed since the last, not what exists."""

import asyncio
import logging
import time
from concurrent.futures import Future, InvalidStateError
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader, MetricsData

from telemetry.clock import Clock, Instant, SystemClock
from telemetry.metrics.barrier import CollectionBarrier, NoBarrier
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.semconv.catalogue import cardinality_limit

READ_BUDGET_SECONDS = 0.5
"""Seconds a read waits for its fold before it answers from the last one. A fold takes well under a millisecond, so
this is for a process that is short of processor time: the right answer is worth the wait."""

STALL_SECONDS = 0.1
"""A wait that took so much longer than it was to take: the whole process stood still, as in a full garbage collection,
the folding thread too. It gets its chance afterwards."""

EXPORT_BUDGET_SECONDS = 0.015
"""The same while another reader may be collecting, which holds the SDK's lock for long at many tenants."""

FEW_EVENTS = 32
"""So many events are folded in less than a millisecond, which a read spends itself rather than wait for a thread."""

BRIEF_SECONDS = 0.005
"""A fold that takes longer than this has something slow in it, such as an observable's callback: the next one, too, is
left to the thread, and so is the first one, of which nothing is known."""

FOLD_INTERVAL_SECONDS = 0.5
"""Without reads, changes are folded this often: an answer given while an export is collecting is not much older."""

_logger = logging.getLogger(__name__)

_INSTRUMENTS = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge)

__all__ = ["FOLD_INTERVAL_SECONDS", "READ_BUDGET_SECONDS", "LiveMetricsReader", "LiveMetricsStore"]


class LiveMetricsReader(MetricReader):
    """Folds delta collections into a :class:`LiveMetricsStore`.

    A collection takes the SDK's lock, which another reader's may hold for long (an export at 10,000 tenants: half a
    second). So a read folds by itself only what is sure to be brief: a few events, with no other collection in the way
    and the last fold no slow one. Everything else is folded by a thread, and the read waits for it no longer than its
    budget; past that it answers from the last fold and says how old that is.
    """

    def __init__(
        self,
        store: LiveMetricsStore,
        *,
        barrier: CollectionBarrier | None = None,
        max_tenants: int = 20_000,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            preferred_temporality=dict.fromkeys(_INSTRUMENTS, AggregationTemporality.DELTA),
            cardinality_limits=dict.fromkeys(_INSTRUMENTS, cardinality_limit(max_tenants)),
        )
        self._store = store
        self._barrier = barrier or NoBarrier()
        self._clock = clock or SystemClock()
        self.collection_lock = Lock()
        """Held by whoever collects. Other readers that hold it too when they do are never waited for by an event loop;
        those that do not are noticed when they have begun."""
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

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Fold what there is, in the folding thread as ever; false if that took too long."""
        return self.refresh(timeout_millis / 1e3) == 0

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ANN401, ARG002 -- the SDK's signature
        """Fold once more and stop. Reads go on to answer from the store."""
        self.start()
        with self._lifecycle:
            if self._stopped:
                return
            self._stopped = True
        self._requests.put(None)
        self._thread.join(timeout_millis / 1e3)

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 -- the SDK's signature
        **kwargs: Any,  # noqa: ANN401, ARG002 -- the same
    ) -> None:
        self._barrier.open()
        self._store.fold(metrics_data)

    def _budget(self, chosen: float | None) -> float:
        """Return the seconds to wait: fewer when another reader may be collecting and hold the SDK's lock."""
        if chosen is not None:
            return chosen
        return EXPORT_BUDGET_SECONDS if self._barrier.others != self._others_then else READ_BUDGET_SECONDS

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
        if not self.collection_lock.acquire(blocking=False):
            return None
        try:
            if self._barrier.others != self._others_then:
                # Another reader has begun since the last fold, and may hold the SDK's lock still.
                return None
            return 0.0 if self._fold() else self.age()
        finally:
            self.collection_lock.release()

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
        self._folding_since = self._clock.now()
        try:
            with self.collection_lock:
                return self._fold()
        finally:
            self._folding_since = None

    def _fold(self) -> bool:
        began, others = self._clock.now(), self._barrier.others
        wall, cpu = time.monotonic(), time.thread_time()
        try:
            with self._barrier.collecting():
                self.collect()
        except Exception as error:  # noqa: BLE001 -- what fails once must not end live numbers for good
            self._note(error)
            return False
        else:
            self._folds += 1
            self._folded_at = began
            self._others_then = others
            return True
        finally:
            self._last_took = time.monotonic() - wall
            self._cpu_seconds += time.thread_time() - cpu

    def _note(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            _logger.error("live collection failed, further failures are only counted: %s", type(error).__name__)


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
