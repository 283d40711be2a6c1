"""The sink that keeps the open records, and which of them wait to be written."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span

from service.records.models import MAX_CALL_ID, MAX_SOURCE
from service.records.record import StoredCall
from service.records.tracked import Change, Claim, TrackedRecord, changes_record, claim_at, reduce, storable
from telemetry.calls.events import CallEvent, CallReceived, Event
from telemetry.calls.sinks import Contexts, NoContexts
from telemetry.clock import Instant
from telemetry.privacy import Privacy, mask_number
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId, TenantId

MAX_OPEN: Final = 100_000
"""Open calls a process records; as many as it tracks."""
MAX_CLOSED: Final = 100_000
"""Calls that are over and not yet kept anywhere. A call waits at most once, with its latest state."""


MAX_LOST: Final = 10_000
"""Calls let go of that are remembered as such."""


@dataclass(frozen=True, slots=True)
class LedgerSize:
    """The records the ledger holds."""

    open: int
    waiting: int
    refused: int
    """Records lost since the start because there was no room for them."""
    lost: int
    """Calls let go of since the start because another process owns them."""


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call that was announced to this process."""

    call_id: CallId
    tenant_id: TenantId
    received: Instant
    caller: str | None = field(default=None, repr=False)
    dialled: str | None = field(default=None, repr=False)


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
        """The source of trace ids."""
        self.on_lost: Callable[[CallId], None] = _ignore
        """Takes the id of each call that is let go of because another process owns it."""
        self._max_open = max_open
        self._max_closed = max_closed
        self._lock = Lock()
        self._open: dict[CallId, TrackedRecord] = {}
        self._closed: dict[CallId, TrackedRecord] = {}
        # Over, and not yet kept anywhere.
        self._waiting: dict[TrackedRecord, None] = {}
        # A set that remembers who came first. By record and not by call: one taken in hand again is another record.
        self._lost_calls: OrderedDict[CallId, None] = OrderedDict()
        self._refused = 0
        self._lost = 0

    # Taking calls in hand ---------------------------------------------------------------------------------------------

    def begin(self, call: NewCall) -> TrackedRecord | None:
        """Return the record of a call that is to be claimed; ``None`` if there is no room for it."""
        record = self._record(call)
        with self._lock:
            if call.call_id in self._open:
                return None
            tracked = self._entered(record, Claim.UNCONFIRMED)
            if tracked is not None:
                tracked.announced = True
                if call.tenant_id == UNKNOWN_TENANT:
                    # Another process could not decide about it: only the announcement has the whole number.
                    tracked.required = record.version + 1
            return tracked

    def drop(self, tracked: TrackedRecord) -> None:
        """Forget a record whose claim was not granted."""
        with self._lock:
            self._remove(tracked)

    def confirm(self, change: Change) -> None:
        """Note that the database has the record's key and this version of it, under the claim it was begun with."""
        with self._lock:
            change.tracked.written(change)

    def assume(self, tracked: TrackedRecord) -> None:
        """Take the call as this process's own, though the database could not be asked."""
        with self._lock:
            if tracked.claim is Claim.UNCONFIRMED:
                tracked.claim = Claim.ASSUMED
            if self._open.get(tracked.record.call_id) is tracked:
                self._waiting[tracked] = None

    def lose(self, call_id: CallId, claim: int) -> bool:
        """Let go of a call that another process owns; false if it is not held under that claim any more."""
        with self._lock:
            tracked = self._open.get(call_id) or self._closed.get(call_id)
            if tracked is None or tracked.record.claim != claim:
                return False
            self._remove(tracked)
            self._lost += 1
            self._lost_calls[call_id] = None
            if len(self._lost_calls) > MAX_LOST:
                self._lost_calls.popitem(last=False)
        self.on_lost(call_id)
        return True

    def is_lost(self, call_id: CallId) -> bool:
        """Return true if the call was let go of, and has not come back since."""
        with self._lock:
            return call_id in self._lost_calls

    # The sink ---------------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Bring the call's record up to date."""
        if isinstance(event, CallReceived):
            self._received(event)
        elif isinstance(event, CallEvent) and changes_record(event):
            with self._lock:
                tracked = self._open.get(event.call.call_id)
                if tracked is not None and reduce(tracked, event):
                    self._changed(tracked)

    def _received(self, event: CallReceived) -> None:
        call = event.call
        span = self._span(event)
        with self._lock:
            tracked = self._open.get(call.call_id)
            if tracked is None:
                record = self._record(NewCall(call.call_id, call.tenant_id, event.at, event.caller, event.dialled))
                tracked = self._entered(record, Claim.ASSUMED)
                if tracked is None:
                    return
            elif not tracked.announced:
                # Taken over from a process that died or handed it on: its history goes on.
                tracked.resumed = True
                if tracked.record.tenant_id == call.tenant_id:
                    return
            tracked.announced = False
            self._identify(tracked, event, span)
            self._changed(tracked)

    def _identify(self, tracked: TrackedRecord, event: CallReceived, span: SpanContext) -> None:
        """Complete the record by what is known of a call once its tenant was looked up."""
        record, tenant_id = tracked.record, event.call.tenant_id
        self._name_numbers(record, event.caller, event.dialled)
        known = record.tenant_id == tenant_id != UNKNOWN_TENANT
        required = tracked.required if known else record.version + 1
        record.tenant_id = tenant_id
        record.direction, record.source = event.call.direction, storable(event.call.source, MAX_SOURCE)
        if span.is_valid:
            record.trace_id, record.span_id = format(span.trace_id, "032x"), format(span.span_id, "016x")
        tracked.changed(shape=True)
        tracked.required = required

    def _record(self, call: NewCall) -> StoredCall:
        at_ms = call.received.unix_ms
        record = StoredCall(
            call.call_id,
            call.tenant_id,
            received_ms=at_ms,
            last_seen_ms=at_ms,
            usage_from_ms=at_ms,
            instance_id=self._instance_id,
            claim=claim_at(call.received),
            version=1,
            turns=0,
            interruptions=0,
        )
        self._name_numbers(record, call.caller, call.dialled)
        return record

    def _name_numbers(self, record: StoredCall, caller: str | None, dialled: str | None) -> None:
        """Put the numbers on record, masked and hashed; one that is not told stays as it is."""
        if caller:
            record.caller_masked = mask_number(caller)
            record.caller_hash = self._privacy.hash_number(caller)
        if dialled:
            record.dialled_masked = mask_number(dialled)
            record.dialled_hash = self._privacy.hash_number(dialled)

    def _entered(self, record: StoredCall, claim: Claim) -> TrackedRecord | None:
        if len(self._open) >= self._max_open or len(record.call_id) > MAX_CALL_ID:
            self._refused += 1
            return None
        tracked = self._open[record.call_id] = TrackedRecord(record, claim=claim)
        return tracked

    def _span(self, event: CallReceived) -> SpanContext:
        context = self.contexts.context(event.call)
        return get_current_span(context if context is not None else Context()).get_span_context()

    def _changed(self, tracked: TrackedRecord) -> None:
        self._waiting[tracked] = None
        if tracked.over:
            self._close(tracked)

    def _close(self, tracked: TrackedRecord) -> None:
        del self._open[tracked.record.call_id]
        if len(self._closed) < self._max_closed:
            self._closed[tracked.record.call_id] = tracked
        else:
            del self._waiting[tracked]
            self._refused += 1

    def _forget(self, tracked: TrackedRecord) -> None:
        if self._closed.get(tracked.record.call_id) is tracked:
            del self._closed[tracked.record.call_id]

    def _remove(self, tracked: TrackedRecord) -> None:
        tracked.claim = Claim.LOST
        if self._open.get(tracked.record.call_id) is tracked:
            del self._open[tracked.record.call_id]
        self._forget(tracked)
        self._waiting.pop(tracked, None)

    # For the writer ---------------------------------------------------------------------------------------------------

    def waiting(self) -> list[tuple[TrackedRecord, int]]:
        """Return the records that wait to be written, each with its newest version."""
        with self._lock:
            return [(tracked, tracked.record.version) for tracked in self._waiting]

    def take(self, most: int) -> list[Change]:
        """Return up to ``most`` changes, the longest waiting first. Each is to be settled, given back or refused."""
        with self._lock:
            taken = list(islice(self._waiting, most))
            for tracked in taken:
                del self._waiting[tracked]
            return [tracked.change() for tracked in taken]

    def change(self, tracked: TrackedRecord) -> Change:
        """Return what is to be written of this record now, while it goes on to wait."""
        with self._lock:
            return tracked.change()

    def stored(self, changes: Iterable[Change]) -> None:
        """Note that the database has these."""
        with self._lock:
            for change in changes:
                change.tracked.written(change)
                self._forget(change.tracked)

    def spilled(self, changes: Iterable[Change]) -> None:
        """Note that the spill has these."""
        with self._lock:
            for change in changes:
                change.tracked.spilled(change)
                self._forget(change.tracked)

    def give_back(self, changes: Iterable[Change]) -> None:
        """Let these wait again: neither the database nor the disk took them."""
        with self._lock:
            for change in changes:
                # One that was dropped or lost while it was being written is nobody's to write any more.
                if change.tracked.claim is not Claim.LOST:
                    self._waiting[change.tracked] = None

    def refuse(self, changes: Iterable[Change]) -> None:
        """Count these as lost."""
        with self._lock:
            for change in changes:
                self._refused += 1
                self._forget(change.tracked)

    # For recovery and the end -----------------------------------------------------------------------------------------

    def tracked(self, call_id: CallId) -> TrackedRecord | None:
        """Return the call's record, while it is open or not yet kept anywhere."""
        with self._lock:
            return self._open.get(call_id) or self._closed.get(call_id)

    def open_calls(self) -> list[tuple[CallId, int]]:
        """Return the open calls that the database has been asked about, each with its claim."""
        with self._lock:
            return [(call_id, t.record.claim) for call_id, t in self._open.items() if t.claim is not Claim.UNCONFIRMED]

    def adopt(self, records: Sequence[StoredCall]) -> list[StoredCall]:
        """Take over records that the database has under this process's claim; return those not tracked already.

        A call can be tracked already where its announcement was repeated to this process: its record goes on under the
        claim that the database knows now, and would be refused under the one it began with.
        """
        with self._lock:
            return [record for record in records if self._adopted(record)]

    def _adopted(self, record: StoredCall) -> bool:
        tracked = self._open.get(record.call_id) or self._closed.get(record.call_id)
        self._lost_calls.pop(record.call_id, None)
        if tracked is None:
            self._open[record.call_id] = TrackedRecord(record, stored=True)
            return True
        tracked.reclaimed(record)
        self._waiting[tracked] = None
        return False

    def end_as_stale(self, call_id: CallId) -> bool:
        """End an adopted call at its last activity; return false if it is not open here any more."""
        with self._lock:
            tracked = self._open.get(call_id)
            if tracked is None or tracked.resumed:
                return False
            tracked.end_as_stale()
            self._changed(tracked)
            return True

    def hand_over(self, at: Instant) -> int:
        """Let go of every open call for the next process, and return how many; later events change none of them."""
        with self._lock:
            calls = list(self._open.values())
            self._open.clear()
            for tracked in calls:
                tracked.record.handed_over_ms = at.unix_ms
                tracked.changed(shape=True)
                self._waiting[tracked] = None
            return len(calls)

    def size(self) -> LedgerSize:
        """Return how full the ledger is."""
        with self._lock:
            return LedgerSize(len(self._open), len(self._waiting), self._refused, self._lost)


def _ignore(_call_id: CallId) -> None:
    """Let the call go without telling anybody."""
