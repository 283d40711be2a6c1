"""The history of calls: a sink of the events that make the spans, so it is complete whatever the sampling."""

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from telemetry.calls.events import CallAnnounced, CallEvent, CallLost, CallReceived, CallRef, Event, LifecycleViolated
from telemetry.calls.lifecycle import CallState
from telemetry.calls.sinks import Contexts, NoContexts
from telemetry.clock import Clock, SystemClock
from telemetry.privacy import Privacy
from telemetry.recent.limits import RecentLimits
from telemetry.recent.record import CallDetails, CallSummary, LogRow
from telemetry.recent.reducers import CONVERSATION_REDUCERS, LIFECYCLE_REDUCERS, lose
from telemetry.recent.retained import AnyRow, RetainedCall, Rows
from telemetry.recent.search import CallPage, CallQuery, Reception
from telemetry.recent.spans import SpanRegister, span_row
from telemetry.recent.views import details_of, summary_of
from telemetry.semconv.attributes import CallId


@dataclass(frozen=True, slots=True)
class RecentSize:
    """The fill of the history now, and its losses since the start."""

    announced: int
    """Calls announced and not received."""
    open_calls: int
    calls_over: int
    estimated_bytes: int
    evicted: int
    """Calls that were over and were dropped for room."""
    left_out: int
    """Rows dropped because a bound was reached."""


_REDUCERS: Final = LIFECYCLE_REDUCERS | CONVERSATION_REDUCERS


class RecentCalls:
    """Every open call, and the last ones that are over. Thread-safe.

    Bounded by :class:`RecentLimits` in calls and in bytes: calls that are over go first, the oldest end first. Open
    calls are never dropped; when they alone fill the space, their further rows are refused and counted.
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
        self._calls: dict[CallId, RetainedCall] = {}
        """Received calls, in the order of reception."""
        self._over: OrderedDict[CallId, None] = OrderedDict()
        """Those of them that are over, in the order of their ends."""
        self._by_trace: dict[int, RetainedCall] = {}
        self._sequence = 0
        self._bytes = 0
        self._evicted = 0
        self._left_out = 0

    # Writing ----------------------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Apply the event to its call."""
        if isinstance(event, CallAnnounced | CallReceived):
            call = RetainedCall(event.call, event.at, self._trace_of(event.call), self._limits)
            with self._lock:
                self._begin(event, call)
        elif isinstance(event, CallLost):
            lost = RetainedCall(event.call, event.before.received, self._trace_of(event.call), self._limits)
            with self._lock:
                self._bury(event, lost)
        elif isinstance(event, CallEvent):
            with self._lock:
                self._take(event)

    def span_ended(self, trace_id: int, span: ReadableSpan) -> None:
        """Keep a finished span, if its trace is a call's."""
        if trace_id not in self._by_trace:
            return
        row = span_row(span, text=self._limits.text)
        with self._lock:
            self._attach(self._by_trace.get(trace_id), Rows.SPANS, row)

    def log_written(self, call_id: str | None, span: SpanContext, row: LogRow) -> None:
        """Keep a log line with the call it names, or with the one whose trace it was written in."""
        with self._lock:
            call = self._calls.get(CallId(call_id)) if call_id else self._by_trace.get(span.trace_id)
            self._attach(call, Rows.LOGS, row)

    # Reading ----------------------------------------------------------------------------------------------------------

    def call(self, call_id: CallId | str) -> CallDetails | None:
        """Return everything known of a call; None if it is unknown, or dropped."""
        return self._record(self._calls.get(CallId(call_id)))

    def by_trace(self, trace_id: str) -> CallDetails | None:
        """Return the call with this trace id (32 hexadecimal digits); None if no received call has it."""
        call = self._by_trace.get(_number(trace_id))
        return self._record(call) if call is not None and call.sequence else None

    def call_of_trace(self, trace_id: str) -> CallId | None:
        """Return the id of the call with this trace id; None if no call has it."""
        call = self._by_trace.get(_number(trace_id))
        return None if call is None else call.ref.call_id

    @property
    def epoch(self) -> str:
        """The process's mark on places in its list: they mean nothing in another process."""
        return self._epoch

    def search(self, query: CallQuery, *, limit: int = 50, before: int | None = None) -> CallPage:
        """Return at most ``limit`` calls that match, the latest received first.

        Args:
            query: Which calls match.
            limit: Calls on a page.
            before: The page's ``next_before``, to go on behind it.
        """
        found: list[CallSummary] = []
        last = 0
        for sequence, summary in self._matching(query, before):
            if len(found) == limit:
                return CallPage(tuple(found), last)
            found.append(summary)
            last = sequence
        return CallPage(tuple(found), None)

    def latest(
        self, query: CallQuery, *, limit: int = 50, before: Reception | None = None
    ) -> Sequence[tuple[Reception, CallSummary]]:
        """Return at most ``limit`` calls that match, each with its place, the latest received first.

        Unlike those of :meth:`search`, places are the same in every process: by the wall clock, then by the call's id.

        Args:
            query: Which calls match.
            limit: The most calls that are returned.
            before: The place behind which to go on.
        """
        with self._lock:
            calls = list(self._calls.values())
        places = [
            (Reception.of(call.ref.call_id, call.received), call)
            for call in calls
            if query.may_admit(call.state, call.ref.tenant_id, call.received)
        ]
        wanted = [found for found in places if before is None or found[0] < before]
        wanted.sort(key=lambda found: found[0], reverse=True)
        return list(islice(self._admitted(query, wanted), limit))

    def _admitted(
        self, query: CallQuery, calls: Iterable[tuple[Reception, RetainedCall]]
    ) -> Iterator[tuple[Reception, CallSummary]]:
        now = self._clock.now()
        for place, call in calls:
            with self._lock:
                summary = summary_of(call, call.offset(now))
            if query.admits(summary):
                yield place, summary

    def pending(self) -> list[CallId]:
        """Return the calls that are not decided, the first received first."""
        with self._lock:
            return [call_id for call_id, call in self._calls.items() if call.state is CallState.PENDING]

    @property
    def size(self) -> RecentSize:
        """The fill of the history."""
        with self._lock:
            return RecentSize(
                announced=len(self._announced),
                open_calls=len(self._calls) - len(self._over),
                calls_over=len(self._over),
                estimated_bytes=self._bytes,
                evicted=self._evicted,
                left_out=self._left_out,
            )

    # Internals --------------------------------------------------------------------------------------------------------

    def _trace_of(self, call: CallRef) -> SpanContext | None:
        context = self._contexts.context(call)
        span = trace.get_current_span(context).get_span_context() if context is not None else None
        return span if span is not None and span.is_valid else None

    def _begin(self, event: CallAnnounced | CallReceived, fresh: RetainedCall) -> None:
        call_id = event.call.call_id
        call = self._announced.get(call_id)
        if call is None:
            call = self._announced[call_id] = fresh
            self._bytes += call.weight
            if call.trace is not None:
                self._by_trace[call.trace.trace_id] = call
        if isinstance(event, CallReceived):
            if call_id in self._calls:
                # The tracker has forgotten an earlier call of this id, which was over long ago.
                self._forget(self._calls.pop(call_id))
            self._sequence += 1
            call.receive(event, self._sequence, self._privacy)
            self._calls[call_id] = self._announced.pop(call_id)
        self._make_room()

    def _bury(self, event: CallLost, call: RetainedCall) -> None:
        """Keep a call that was over when it was found."""
        former = self._calls.pop(event.call.call_id, None)
        if former is not None:
            self._forget(former)
        self._sequence += 1
        call.sequence = self._sequence
        lose(call, event)
        self._calls[event.call.call_id] = call
        self._over[event.call.call_id] = None
        self._bytes += call.weight
        if call.trace is not None:
            self._by_trace[call.trace.trace_id] = call
        self._make_room()

    def _take(self, event: CallEvent) -> None:
        call_id = event.call.call_id
        call = self._announced.get(call_id) or self._calls.get(call_id)
        if call is None:
            return
        if isinstance(event, LifecycleViolated) and not call.sequence:
            # Announced, but the tracker refused it: no other end will come.
            self._forget(self._announced.pop(call_id))
            return
        at = call.offset(event.at)
        call.last_seen = max(call.last_seen, at)
        reduce = _REDUCERS.get(type(event))
        if reduce is None:
            return
        weight, left_out = self._before(call)
        reduce(call, event, at)
        if call.state.terminal:
            self._over.setdefault(call_id)
        self._settle(call, weight, left_out)

    def _attach(self, call: RetainedCall | None, kind: Rows, row: AnyRow) -> None:
        if call is not None:
            weight, left_out = self._before(call)
            call.keep(kind, row)
            self._settle(call, weight, left_out)

    def _before(self, call: RetainedCall) -> tuple[int, int]:
        # Open calls fill all the space: none can be dropped, so no rows are taken.
        call.refusing = self._bytes >= self._limits.total_bytes and not self._over
        return call.weight, call.left_out

    def _settle(self, call: RetainedCall, weight: int, left_out: int) -> None:
        self._bytes += call.weight - weight
        self._left_out += call.left_out - left_out
        self._make_room()

    def _make_room(self) -> None:
        while self._over and (len(self._over) > self._limits.calls or self._bytes > self._limits.total_bytes):
            self._forget(self._calls.pop(next(iter(self._over))))
            self._evicted += 1
        while len(self._announced) > self._limits.announced:
            self._forget(self._announced.popitem(last=False)[1])

    def _forget(self, call: RetainedCall) -> None:
        self._over.pop(call.ref.call_id, None)
        if call.trace is not None and self._by_trace.get(call.trace.trace_id) is call:
            del self._by_trace[call.trace.trace_id]
        self._bytes -= call.weight

    def _matching(self, query: CallQuery, before: int | None) -> Iterator[tuple[int, CallSummary]]:
        """Yield the matching calls received before the one with this number, without holding up calls."""
        with self._lock:
            calls = list(self._calls.values())
        now = self._clock.now()
        for call in reversed(calls):
            if before is not None and call.sequence >= before:
                continue
            if not query.may_admit(call.state, call.ref.tenant_id, call.received):
                continue
            with self._lock:
                summary = summary_of(call, call.offset(now))
            if query.admits(summary):
                yield call.sequence, summary

    def _record(self, call: RetainedCall | None) -> CallDetails | None:
        if call is None:
            return None
        spans = self._register.of_trace(call.trace.trace_id) if call.trace is not None else []
        open_rows = [span_row(span, text=self._limits.text) for span in spans]
        with self._lock:
            return details_of(call, call.offset(self._clock.now()), open_rows)


def _number(trace_id: str) -> int:
    try:
        return int(trace_id, 16)
    except ValueError:
        return 0
