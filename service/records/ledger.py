"""The sink that keeps the open records, and which of them wait to be written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span

from service.records.folding import FOLDS, Effect
from service.records.held import Change, HeldCall, milliseconds
from service.records.models import MAX_CALL_ID
from service.records.record import CallRecord
from telemetry.attributes import CallId
from telemetry.clock import Instant
from telemetry.events import CallEvent, CallReceived, Event
from telemetry.metrics import Contexts, NoContexts
from telemetry.privacy import Privacy, mask_number

MAX_OPEN = 100_000
"""Open calls a process records; as many as it tracks."""

MAX_CLOSED = 100_000
"""Calls that are over and not yet kept anywhere. A call waits at most once, with its latest state."""


@dataclass(frozen=True, slots=True)
class LedgerSize:
    """How full the ledger is."""

    open: int
    waiting: int
    refused: int
    """Records lost since the start because there was no room for them."""


class CallLedger:
    """Takes events at the cost of a few assignments; :meth:`take` hands changes to whoever writes them.

    Safe for threads. Waiting costs a call nothing: what waits is the record itself, so that any number of changes wait
    as one, the latest.
    """

    def __init__(
        self,
        instance_id: str,
        *,
        privacy: Privacy | None = None,
        contexts: Contexts | None = None,
        max_open: int = MAX_OPEN,
        max_closed: int = MAX_CLOSED,
    ) -> None:
        self._instance_id = instance_id
        self._privacy = privacy or Privacy()
        self.contexts = contexts or NoContexts()
        """Where trace ids come from."""
        self._max_open = max_open
        self._max_closed = max_closed
        self._lock = Lock()
        self._open: dict[CallId, HeldCall] = {}
        self._closed: dict[CallId, HeldCall] = {}
        # Over, and not yet kept anywhere.
        self._waiting: dict[HeldCall, None] = {}
        # A set that remembers who came first. By record and not by call: one taken in hand again is another record.
        self._refused = 0

    # The sink ---------------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Bring the call's record up to date."""
        if isinstance(event, CallReceived):
            self._received(event)
            return
        fold = FOLDS.get(type(event))
        if fold is None or not isinstance(event, CallEvent):
            return
        effect, apply = fold
        with self._lock:
            held = self._open.get(event.call.call_id)
            if held is not None:
                apply(held, event)
                held.changed(shape=effect is Effect.SHAPE)
                self._changed(held)

    def _received(self, event: CallReceived) -> None:
        record = self._record(event)
        with self._lock:
            held = self._open.get(event.call.call_id)
            if held is not None:
                # Taken over from a process that died or handed it on: its history goes on.
                held.resumed = True
            elif len(self._open) >= self._max_open or len(record.call_id) > MAX_CALL_ID:
                self._refused += 1
            else:
                held = self._open[record.call_id] = HeldCall(record)
                held.changed(shape=True)
                self._changed(held)

    def _record(self, event: CallReceived) -> CallRecord:
        at_ms = milliseconds(event.at)
        record = CallRecord(
            event.call.call_id,
            event.call.tenant_id,
            received_ms=at_ms,
            last_seen_ms=at_ms,
            usage_from_ms=at_ms,
            instance_id=self._instance_id,
            claim=claim_at(event.at),
        )
        if event.caller:
            record.caller_masked = mask_number(event.caller)
            record.caller_hash = self._privacy.hash_number(event.caller)
        if event.dialled:
            record.dialled_masked = mask_number(event.dialled)
            record.dialled_hash = self._privacy.hash_number(event.dialled)
        span = self._span(event)
        if span.is_valid:
            record.trace_id, record.span_id = format(span.trace_id, "032x"), format(span.span_id, "016x")
        return record

    def _span(self, event: CallReceived) -> SpanContext:
        context = self.contexts.context(event.call)
        return get_current_span(context if context is not None else Context()).get_span_context()

    def _changed(self, held: HeldCall) -> None:
        self._waiting[held] = None
        if held.over:
            self._close(held)

    def _close(self, held: HeldCall) -> None:
        del self._open[held.record.call_id]
        if len(self._closed) < self._max_closed:
            self._closed[held.record.call_id] = held
        else:
            del self._waiting[held]
            self._refused += 1

    def _forget(self, held: HeldCall) -> None:
        if self._closed.get(held.record.call_id) is held:
            del self._closed[held.record.call_id]

    # For the writer ---------------------------------------------------------------------------------------------------

    def waiting(self) -> list[tuple[HeldCall, int]]:
        """The records that wait to be written, each with its newest version."""
        with self._lock:
            return [(held, held.record.version) for held in self._waiting]

    def take(self, most: int) -> list[Change]:
        """Up to this many changes, the longest waiting first. Each is to be settled, given back or refused."""
        with self._lock:
            taken = list(islice(self._waiting, most))
            for held in taken:
                del self._waiting[held]
            return [held.change() for held in taken]

    def stored(self, changes: Iterable[Change]) -> None:
        """The database has these."""
        with self._lock:
            for change in changes:
                change.held.written(change)
                self._forget(change.held)

    def spilled(self, changes: Iterable[Change]) -> None:
        """The spill has these."""
        with self._lock:
            for change in changes:
                change.held.spilled(change)
                self._forget(change.held)

    def give_back(self, changes: Iterable[Change]) -> None:
        """Nobody could keep these: they wait again."""
        with self._lock:
            for change in changes:
                self._waiting[change.held] = None

    def refuse(self, changes: Iterable[Change]) -> None:
        """These cannot be kept at all."""
        with self._lock:
            for change in changes:
                self._refused += 1
                self._forget(change.held)

    # For recovery and the end -----------------------------------------------------------------------------------------

    def held(self, call_id: CallId) -> HeldCall | None:
        """The call's record, while it is open or not yet kept anywhere."""
        with self._lock:
            return self._open.get(call_id) or self._closed.get(call_id)

    def change(self, held: HeldCall) -> Change:
        """What is to be written of this record now, while it goes on to wait."""
        with self._lock:
            return held.change()

    def adopt(self, records: Sequence[CallRecord]) -> list[CallRecord]:
        """Take records over that the database holds under this instance's claim; answers those not held already.

        A call can be held already where its announcement was repeated to this process: its record goes on under the
        claim that the database knows now, and would be refused under the one it began with.
        """
        with self._lock:
            return [record for record in records if self._adopted(record)]

    def _adopted(self, record: CallRecord) -> bool:
        held = self._open.get(record.call_id) or self._closed.get(record.call_id)
        if held is None:
            self._open[record.call_id] = HeldCall(record, stored=True)
            return True
        held.claimed(record)
        self._waiting[held] = None
        return False

    def end_as_stale(self, call_id: CallId) -> bool:
        """End an adopted call at its last sign of life; false if it is not open here any more."""
        with self._lock:
            held = self._open.get(call_id)
            if held is None or held.resumed:
                return False
            held.end_as_stale()
            self._changed(held)
            return True

    def hand_over(self, at: Instant) -> int:
        """Let go of every open call for the next process; what is reported of them from here on is not ours."""
        with self._lock:
            calls = list(self._open.values())
            self._open.clear()
            for held in calls:
                held.record.handed_over_ms = milliseconds(at)
                held.changed(shape=True)
                self._waiting[held] = None
            return len(calls)

    def size(self) -> LedgerSize:
        """How full the ledger is."""
        with self._lock:
            return LedgerSize(len(self._open), len(self._waiting), self._refused)


def claim_at(at: Instant) -> int:
    """The claim of a call taken in hand at this moment."""
    return at.unix_nanos // 1000
