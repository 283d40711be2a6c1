"""The sink that keeps the open records, and which of them wait to be written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from threading import Lock
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span

from service.records.models import MAX_CALL_ID
from service.records.record import BEAT_COLUMNS, CallRecord, DurationSource, Row
from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallEvent,
    CallHeartbeat,
    CallReceived,
    CallReferred,
    CallRejected,
    CallStarted,
    Event,
    FirstAudio,
    TokensUsed,
)
from telemetry.calls.lifecycle import CallState
from telemetry.calls.sinks import Contexts, NoContexts
from telemetry.clock import Instant
from telemetry.privacy import Privacy, mask_number
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason

STALE = "stale"
"""The ``error_type`` of a call that was still being decided upon when its process died."""


def milliseconds(at: Instant) -> int:
    """The moment as a record has it."""
    return at.unix_ms


class HeldCall:
    """One record that this process writes. Not safe for threads by itself: the ledger's lock guards it."""

    __slots__ = ("_anchor_ms", "_anchor_seconds", "_full", "_shaped", "kept", "record", "resumed", "seconds", "stored")

    def __init__(self, record: CallRecord, *, stored: bool = False) -> None:
        self.record = record
        self.resumed = False
        """Taken over from another process, and reported on again by this one."""
        self.seconds = record.billed_ms / 1000
        """Call time so far, unrounded."""
        self.stored = record.version if stored else -1
        """The newest version the database has."""
        self.kept = self.stored
        """The newest version that outlives this process: in the database or in the spill."""
        self._full = self.stored
        self._shaped = record.version
        self._anchor_ms = record.usage_from_ms if record.started_ms is None else record.last_seen_ms
        self._anchor_seconds = self.seconds

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self.record.ended_ms is not None

    def changed(self, *, shape: bool) -> None:
        """A new version; ``shape`` if more changed than a call's just going on."""
        self.record.version += 1
        if shape:
            self._shaped = self.record.version

    def claimed(self, record: CallRecord) -> None:
        """The database has this record of the same call under a newer claim of this process's own."""
        self.record.claim = record.claim
        self.record.version = max(self.record.version, record.version)
        self.changed(shape=True)

    def anchor(self, at_ms: int) -> None:
        """From this moment on, signs of life follow from the time billed."""
        self._anchor_ms, self._anchor_seconds = at_ms, self.seconds
        self.record.last_seen_ms = max(self.record.last_seen_ms, at_ms)

    def bill(self, seconds: float) -> None:
        """Add call time, which is also a sign of life at its end."""
        self.seconds += seconds
        self.record.billed_ms = round(self.seconds * 1000)
        self.record.last_seen_ms = self._anchor_ms + round((self.seconds - self._anchor_seconds) * 1000)

    def end_as_stale(self) -> None:
        """The process that held the call died, and the call with it or not long after: the last sign of life counts."""
        record = self.record
        last = record.last_seen_ms
        if record.state is CallState.PENDING:
            reason = RejectionReason.CARRIER_ERROR
            record.close(CallState.REJECTED, CallOutcome.REJECTED, reason, STALE, last)
        elif record.state is CallState.ACCEPTED:
            record.close(CallState.ABANDONED, CallOutcome.ABANDONED, EndReason.STALE, None, last)
        else:
            record.close(CallState.ENDED, CallOutcome.STALE, EndReason.STALE, None, last)
            record.duration_ms = record.billed_ms
        record.duration_source = DurationSource.LAST_SIGN_OF_LIFE
        self.changed(shape=True)

    def change(self) -> "Change":
        """What is to be written now."""
        return Change(self, self.record.version, self.record.row(), beat=self._full >= self._shaped)

    def written(self, change: "Change") -> None:
        """The database has this version."""
        self.stored = max(self.stored, change.version)
        self.kept = max(self.kept, change.version)
        if not change.beat:
            self._full = max(self._full, change.version)

    def spilled(self, change: "Change") -> None:
        """The spill has this version. The database does not, so that what it gets next must be whole."""
        self.kept = max(self.kept, change.version)
        self._full = -1


@dataclass(frozen=True, slots=True)
class Change:
    """One version of a held record, to be written."""

    held: HeldCall
    version: int
    row: Row
    beat: bool
    """The database has the rest: only what a heartbeat changes need be written."""

    def beat_row(self) -> Row:
        """The columns a heartbeat changes."""
        return {name: self.row[name] for name in BEAT_COLUMNS}


MAX_ERROR_TYPE = 128
"""Characters of an error's type that fit its column."""


class Effect(Enum):
    """How much of the row an event changes."""

    SHAPE = auto()
    BEAT = auto()
    """Only what changes while a call just goes on."""


def _accepted(held: HeldCall, event: CallAccepted) -> None:
    if held.record.state is CallState.PENDING:
        held.record.state = CallState.ACCEPTED
        held.record.decided_ms = held.record.last_seen_ms = milliseconds(event.at)


def _rejected(held: HeldCall, event: CallRejected) -> None:
    at_ms = milliseconds(event.at)
    held.record.decided_ms = held.record.last_seen_ms = at_ms
    held.record.close(CallState.REJECTED, CallOutcome.REJECTED, event.reason, _short(event.error_type), at_ms)


def _started(held: HeldCall, event: CallStarted) -> None:
    at_ms = milliseconds(event.at)
    if held.record.started_ms is None:
        held.record.state = CallState.STARTED
        held.record.started_ms = held.record.usage_from_ms = at_ms
        held.record.duration_basis = DurationBasis.STARTED
    held.anchor(at_ms)


def _abandoned(held: HeldCall, event: CallAbandoned) -> None:
    at_ms = milliseconds(event.at)
    held.record.close(CallState.ABANDONED, CallOutcome.ABANDONED, event.reason, _short(event.error_type), at_ms)


def _referred(held: HeldCall, event: CallReferred) -> None:
    held.record.referred_ms = milliseconds(event.at)


def _heartbeat(held: HeldCall, event: CallHeartbeat) -> None:
    held.bill(event.seconds)


def _ended(held: HeldCall, event: CallEnded) -> None:
    held.bill(event.unbilled_seconds)
    record = held.record
    stale = event.reason is EndReason.STALE
    at_ms = record.last_seen_ms if stale else milliseconds(event.at)
    record.close(CallState.ENDED, _outcome(event), event.reason, _short(event.error_type), at_ms)
    record.duration_ms = record.billed_ms
    record.duration_source = DurationSource.LAST_SIGN_OF_LIFE if stale else _source(held)


def _outcome(event: CallEnded) -> CallOutcome:
    failed = event.error_type is not None or event.reason is EndReason.ERROR
    return CallOutcome.FAILED if failed else CallOutcome(event.reason.value)


def _source(held: HeldCall) -> DurationSource:
    return DurationSource.RESUMED if held.resumed else DurationSource.MEASURED


def _first_audio(held: HeldCall, event: FirstAudio) -> None:
    if held.record.first_audio_ms is None:
        held.record.first_audio_ms = milliseconds(event.at)


def _tokens(held: HeldCall, event: TokensUsed) -> None:
    held.record.add_tokens(event.usage)


def _short(error_type: str | None) -> str | None:
    # No text column takes halves of surrogate pairs, and PostgreSQL's take no NUL.
    return (
        None
        if error_type is None
        else error_type.encode(errors="replace").decode().replace("\x00", "?")[:MAX_ERROR_TYPE]
    )


FOLDS: Final[Mapping[type[Event], tuple[Effect, Callable[[HeldCall, Any], None]]]] = {
    CallAccepted: (Effect.SHAPE, _accepted),
    CallRejected: (Effect.SHAPE, _rejected),
    CallStarted: (Effect.SHAPE, _started),
    CallAbandoned: (Effect.SHAPE, _abandoned),
    CallReferred: (Effect.SHAPE, _referred),
    CallHeartbeat: (Effect.BEAT, _heartbeat),
    CallEnded: (Effect.SHAPE, _ended),
    FirstAudio: (Effect.SHAPE, _first_audio),
    TokensUsed: (Effect.BEAT, _tokens),
}
"""Every event that changes a record, how much of it, and how. A first announcement makes the record instead."""
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
