"""Spans and log records on their way out: gathered in a bounded queue, sent in batches by a thread of their own.

The SDK's batch processors count what they drop only in internal metrics that are off by default, flush for as long as
the network takes and give a batch up after a few seconds of retries. Here a refused item shows in the health of the
export, and what could not be sent for a passing reason waits for the next round as long as there is room.
"""

from collections import deque
from collections.abc import Sequence
from copy import copy
from threading import Lock
from typing import Generic, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from telemetry.export.health import HealthRecord
from telemetry.export.outcome import ExportOutcome, Sender
from telemetry.export.plan import Batching
from telemetry.export.thread import ExportThread, is_instrumentation_enabled

Item = TypeVar("Item")


class WaitingItems(Generic[Item]):
    """A bounded queue. Items taken still count against its bound until they are settled or put back."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._waiting: deque[Item] = deque()
        self._taken = 0
        self._closed = False

    def add(self, item: Item) -> int:
        """Append one item; return the number now waiting, or 0 if the queue is full or closed and refused it."""
        with self._lock:
            if self._closed or len(self._waiting) + self._taken >= self._capacity:
                return 0
            self._waiting.append(item)
            return len(self._waiting)

    def take(self, most: int) -> list[Item]:
        """Take out and return the oldest items, up to ``most``. They remain accounted for until settled or put back."""
        with self._lock:
            items = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._taken += len(items)
            return items

    def settle(self, items: Sequence[Item]) -> None:
        """Forget items taken, which have arrived or are given up."""
        with self._lock:
            self._taken -= len(items)

    def put_back(self, items: Sequence[Item]) -> None:
        """Return items taken to the front of the queue, to be tried again."""
        with self._lock:
            self._waiting.extendleft(reversed(items))
            self._taken -= len(items)

    def close(self) -> None:
        """Refuse whatever is added from here on."""
        with self._lock:
            self._closed = True

    @property
    def closed(self) -> bool:
        """True if everything added is refused."""
        with self._lock:
            return self._closed

    def __len__(self) -> int:
        """Return the number of items waiting, without those taken."""
        with self._lock:
            return len(self._waiting)

    @property
    def unsettled(self) -> int:
        """Number of items waiting and items taken."""
        with self._lock:
            return len(self._waiting) + self._taken


class BatchedItems(Generic[Item]):
    """The queue of one signal, and the rounds in which it is emptied."""

    def __init__(self, name: str, sender: Sender[list[Item]], record: HealthRecord, batching: Batching) -> None:
        self._sender = sender
        self._record = record
        self._batch = batching.batch
        self._queue = WaitingItems[Item](batching.capacity)
        self.thread = ExportThread(
            name, self._export_round, record.broken, interval=batching.delay, first=batching.delay
        )

    def add(self, item: Item) -> None:
        """Take in one item, or count it as dropped; never waits for anything."""
        waiting = self._queue.add(item)
        if not waiting:
            self._refused()
        elif waiting % self._batch == 0:
            self.thread.wake()

    def _refused(self) -> None:
        """Count an item refused: as lost if the end has begun, else as crowded out of a full queue."""
        if self._queue.closed:
            self._record.lost(1)
        else:
            self._record.crowded_out(1)

    def close(self) -> None:
        """Take in nothing more."""
        self._queue.close()

    def unsent(self) -> int:
        """Return the number of items neither acknowledged nor given up."""
        return self._queue.unsettled

    def _export_round(self) -> bool:
        """Send what waits now. What comes meanwhile is left for the next round, for its batch to fill."""
        left = len(self._queue)
        if not left:
            self._record.idle()
            return True
        total = ExportOutcome()
        while left > 0 and not total.worth_keeping:
            batch = self._queue.take(min(left, self._batch))
            left -= len(batch)
            total += self._send(batch)
        self._record.exported(total)
        return total.delivered

    def _send(self, batch: list[Item]) -> ExportOutcome:
        outcome = self._sender.send(batch)
        if outcome.worth_keeping:
            self._queue.put_back(batch)
        else:
            self._queue.settle(batch)
            self._record.lost(0 if outcome.delivered else len(batch))
        return outcome


class SpanQueueing(SpanProcessor):
    """Takes the sampled spans that end."""

    def __init__(self, batches: BatchedItems[ReadableSpan]) -> None:
        self._batches = batches

    def on_end(self, span: ReadableSpan) -> None:
        """Take in one span; called by whoever ends it, on the path of a call."""
        if span.context and span.context.trace_flags.sampled:
            self._batches.add(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what there is; true only if it arrived."""
        return self._batches.thread.flush(timeout_millis / 1000)


class LogQueueing(LogRecordProcessor):
    """Takes the log records that are emitted, except by exporting itself.

    Otherwise a debug line of the HTTP client about sending logs would be sent as a log, and so on for ever.
    """

    def __init__(self, batches: BatchedItems[ReadableLogRecord]) -> None:
        self._batches = batches

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Take in one log record; called by whoever logs."""
        if is_instrumentation_enabled():
            self._batches.add(_settled(log_record))

    def shutdown(self) -> None:
        """Do nothing: the pipelines end the batches."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what there is; true only if it arrived."""
        return self._batches.thread.flush(timeout_millis / 1000)


def _settled(written: ReadWriteLogRecord) -> ReadableLogRecord:
    """Return the record as it stands, without the context it was emitted in, which may hold on to large objects."""
    record = copy(written.log_record)
    record.context = Context()
    return ReadableLogRecord(
        log_record=record,
        resource=written.resource or Resource.get_empty(),
        instrumentation_scope=written.instrumentation_scope,
        limits=written.limits,
    )
