"""The record of calls: one more sink on the events that make the spans, so it is complete whatever the sampling."""

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from telemetry.calls.events import CallAnnounced, CallEvent, CallReceived, CallRef, Event, LifecycleViolated
from telemetry.calls.lifecycle import CallState
from telemetry.calls.sinks import Contexts, NoContexts
from telemetry.clock import Clock, SystemClock
from telemetry.privacy import Privacy
from telemetry.recent.call_state import AnyRow, RecentLimits, RetainedCall, Rows
from telemetry.recent.record import CallDetails, CallSummary, LogRow
from telemetry.recent.reducers import PATH_NOTES, TALK_NOTES
from telemetry.recent.search import CallPage, CallQuery, read_cursor, write_cursor
from telemetry.recent.spans import SpanRegister, span_row
from telemetry.recent.views import record_of, summary_of
from telemetry.semconv.attributes import CallId


@dataclass(frozen=True, slots=True)
class RecordSize:
    """Counts since the process started, and the present fill."""

    announced: int
    """Calls whose tenant is still being looked up."""
    open_calls: int
    calls_over: int
    estimated_bytes: int
    evicted: int
    """Calls that were over and had to go."""
    left_out: int
    """Rows of calls that were left out because a bound was reached."""


_NOTES = PATH_NOTES | TALK_NOTES


class RecentCalls:
    """Every call that runs, and the last ones that are over. Safe for threads.

    Bounded by :class:`RecentLimits`, in calls and in bytes; calls that are over go first, the oldest end first. Calls
    that run are never let go: when they alone fill the space, their further details are refused and counted.
    """

    def __init__(
        self,
        *,
        contexts: Contexts | None = None,
        privacy: Privacy | None = None,
        limits: RecentLimits | None = None,
        register: SpanRegister | None = None,
        clock: Clock | None = None,
        epoch: str | None = None,
    ) -> None:
        self._contexts = contexts or NoContexts()
        self._privacy = privacy or Privacy()
        self._limits = limits or RecentLimits()
        self._register = register or SpanRegister()
        self._clock = clock or SystemClock()
        self._epoch = epoch or secrets.token_hex(4)
        self._lock = Lock()
        self._announced: OrderedDict[CallId, RetainedCall] = OrderedDict()
        self._journals: dict[CallId, RetainedCall] = {}
        """Of received calls, in the order they were received."""
        self._over: OrderedDict[CallId, None] = OrderedDict()
        """Those of them that are over, in the order they ended."""
        self._by_trace: dict[int, RetainedCall] = {}
        self._sequence = 0
        self._bytes = 0
        self._evicted = 0
        self._left_out = 0

    # Writing ----------------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Write the event down in its call's journal."""
        if isinstance(event, CallAnnounced | CallReceived):
            journal = RetainedCall(event.call, event.at, self._trace_of(event.call), self._limits)
            with self._lock:
                self._begin(event, journal)
        elif isinstance(event, CallEvent):
            with self._lock:
                self._take(event)

    def span_ended(self, trace_id: int, span: ReadableSpan) -> None:
        """Attach a finished span, if its trace is a call's."""
        if trace_id not in self._by_trace:
            return
        row = span_row(span, text=self._limits.text)
        with self._lock:
            self._attach(self._by_trace.get(trace_id), Rows.SPANS, row)

    def log_written(self, call_id: str | None, span: SpanContext, row: LogRow) -> None:
        """Attach a log line to the call it names, or to the one whose trace it was written in."""
        with self._lock:
            journal = self._journals.get(CallId(call_id)) if call_id else self._by_trace.get(span.trace_id)
            self._attach(journal, Rows.LOGS, row)

    # Reading ----------------------------------------------------------------------------------------------------------

    def call(self, call_id: CallId | str) -> CallDetails | None:
        """Everything about a call; ``None`` if it is not, or no longer, here."""
        return self._record(self._journals.get(CallId(call_id)))

    def by_trace(self, trace_id: str) -> CallDetails | None:
        """The call whose trace this is, in 32 hexadecimal digits; ``None`` if no call here has it."""
        journal = self._by_trace.get(_number(trace_id))
        return self._record(journal) if journal is not None and journal.sequence else None

    def call_of_trace(self, trace_id: str) -> CallId | None:
        """The id of that call alone."""
        journal = self._by_trace.get(_number(trace_id))
        return None if journal is None else journal.ref.call_id

    def search(self, query: CallQuery, *, limit: int = 50, cursor: str | None = None) -> CallPage:
        """The calls looked for, the latest received first, at most ``limit``.

        Raises:
            InvalidCursorError: the cursor is not one that this record gave out.
        """
        before = read_cursor(self._epoch, cursor) if cursor else None
        found: list[CallSummary] = []
        last = 0
        for sequence, summary in self._matching(query, before):
            if len(found) == limit:
                return CallPage(tuple(found), write_cursor(self._epoch, last))
            found.append(summary)
            last = sequence
        return CallPage(tuple(found), None)

    def pending(self) -> list[CallId]:
        """The calls no decision has been made about, the first received first."""
        with self._lock:
            return [call_id for call_id, journal in self._journals.items() if journal.state is CallState.PENDING]

    @property
    def size(self) -> RecordSize:
        """How full the record is."""
        with self._lock:
            return RecordSize(
                announced=len(self._announced),
                open_calls=len(self._journals) - len(self._over),
                calls_over=len(self._over),
                estimated_bytes=self._bytes,
                evicted=self._evicted,
                left_out=self._left_out,
            )

    # How it works -----------------------------------------------------------------------------------------------------

    def _trace_of(self, call: CallRef) -> SpanContext | None:
        context = self._contexts.context(call)
        span = trace.get_current_span(context).get_span_context() if context is not None else None
        return span if span is not None and span.is_valid else None

    def _begin(self, event: CallAnnounced | CallReceived, fresh: RetainedCall) -> None:
        call_id = event.call.call_id
        journal = self._announced.get(call_id)
        if journal is None:
            journal = self._announced[call_id] = fresh
            self._bytes += journal.weight
            if journal.trace is not None:
                self._by_trace[journal.trace.trace_id] = journal
        if isinstance(event, CallReceived):
            if call_id in self._journals:
                # The tracker has forgotten a call of this id that was over long ago; a new one has its name now.
                self._forget(self._journals.pop(call_id))
            self._sequence += 1
            journal.receive(event, self._sequence, self._privacy)
            self._journals[call_id] = self._announced.pop(call_id)
        self._make_room()

    def _take(self, event: CallEvent) -> None:
        call_id = event.call.call_id
        journal = self._announced.get(call_id) or self._journals.get(call_id)
        if journal is None:
            return
        if isinstance(event, LifecycleViolated) and not journal.sequence:
            # Announced, but the tracker would not take it: no other end will come.
            self._forget(self._announced.pop(call_id))
            return
        at = journal.offset(event.at)
        journal.last_seen = max(journal.last_seen, at)
        note = _NOTES.get(type(event))
        if note is None:
            return
        weight, left_out = self._before(journal)
        note(journal, event, at)
        if journal.state.terminal:
            self._over.setdefault(call_id)
        self._settle(journal, weight, left_out)

    def _attach(self, journal: RetainedCall | None, kind: Rows, row: AnyRow) -> None:
        if journal is not None:
            weight, left_out = self._before(journal)
            journal.keep(kind, row)
            self._settle(journal, weight, left_out)

    def _before(self, journal: RetainedCall) -> tuple[int, int]:
        # Calls that run fill all the space there is: nobody can go, so no details can come.
        journal.refusing = self._bytes >= self._limits.total_bytes and not self._over
        return journal.weight, journal.left_out

    def _settle(self, journal: RetainedCall, weight: int, left_out: int) -> None:
        self._bytes += journal.weight - weight
        self._left_out += journal.left_out - left_out
        self._make_room()

    def _make_room(self) -> None:
        while self._over and (len(self._over) > self._limits.calls or self._bytes > self._limits.total_bytes):
            self._forget(self._journals.pop(next(iter(self._over))))
            self._evicted += 1
        while len(self._announced) > self._limits.announced:
            self._forget(self._announced.popitem(last=False)[1])

    def _forget(self, journal: RetainedCall) -> None:
        self._over.pop(journal.ref.call_id, None)
        if journal.trace is not None and self._by_trace.get(journal.trace.trace_id) is journal:
            del self._by_trace[journal.trace.trace_id]
        self._bytes -= journal.weight

    def _matching(self, query: CallQuery, before: int | None) -> Iterator[tuple[int, CallSummary]]:
        """The calls looked for that were received before the one with this number. Calls go on meanwhile."""
        with self._lock:
            journals = list(self._journals.values())
        now = self._clock.now()
        for journal in reversed(journals):
            if before is not None and journal.sequence >= before:
                continue
            if not query.may_admit(journal.state, journal.ref.tenant_id, journal.received):
                continue
            with self._lock:
                summary = summary_of(journal, journal.offset(now))
            if query.admits(summary):
                yield journal.sequence, summary

    def _record(self, journal: RetainedCall | None) -> CallDetails | None:
        if journal is None:
            return None
        spans = self._register.of_trace(journal.trace.trace_id) if journal.trace is not None else []
        open_rows = [span_row(span, text=self._limits.text) for span in spans]
        with self._lock:
            return record_of(journal, journal.offset(self._clock.now()), open_rows)


def _number(trace_id: str) -> int:
    try:
        return int(trace_id, 16)
    except ValueError:
        return 0
