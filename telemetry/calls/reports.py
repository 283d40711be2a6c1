"""Reports of calls from elsewhere, with a clock and an order of their own, in whatever order they arrive.

A report that comes before its predecessors waits, bounded in time and number. A predecessor that never comes is
inferred from what did, and marked. Durations are differences of the source's own times, anchored once a call to this
process's clock; whether a call lives is judged by the arrival of its reports.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock, RLock
from typing import Final

from telemetry.calls.call import Call
from telemetry.calls.events import LimitHit
from telemetry.calls.lifecycle import Transition
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    UnansweredReason,
)

MAX_AHEAD_SECONDS: Final = 300.0
"""The furthest a report's time may lie ahead of this machine's clock."""
_GAPS: Final = 64
# Stretches of lost numbers remembered of one call.


class ReportKind(StrEnum):
    """The kinds of report; the first eight are transitions."""

    RECEIVED = "received"
    REJECTED = "rejected"
    UNANSWERED = "unanswered"
    ACCEPTED = "accepted"
    STARTED = "started"
    ABANDONED = "abandoned"
    REFERRED = "referred"
    ENDED = "ended"
    HEARTBEAT = "heartbeat"
    CALLER_STARTED_SPEAKING = "caller_started_speaking"
    CALLER_STOPPED_SPEAKING = "caller_stopped_speaking"
    AGENT_STARTED_SPEAKING = "agent_started_speaking"
    AGENT_STOPPED_SPEAKING = "agent_stopped_speaking"

    @property
    def transition(self) -> Transition | None:
        """The transition that is reported; None for reports that leave the state as it is."""
        return _TRANSITIONS.get(self)


_TRANSITIONS: Final = {
    kind: Transition(kind.value) for kind in ReportKind if kind.value in {transition.value for transition in Transition}
}
_NEEDED: Final[dict[ReportKind, tuple[Transition, ...]]] = {
    ReportKind.RECEIVED: (),
    **dict.fromkeys((ReportKind.REJECTED, ReportKind.UNANSWERED, ReportKind.ACCEPTED), (Transition.RECEIVED,)),
    **dict.fromkeys((ReportKind.STARTED, ReportKind.ABANDONED), (Transition.RECEIVED, Transition.ACCEPTED)),
}
_RUNNING: Final = (Transition.RECEIVED, Transition.ACCEPTED, Transition.STARTED)
# What a call has been through before a report can be true of it; everything not listed takes a running call.
_REASONS: Final = {
    ReportKind.REJECTED: RejectionReason,
    ReportKind.UNANSWERED: UnansweredReason,
    ReportKind.ABANDONED: EndReason,
    ReportKind.ENDED: EndReason,
}


class ReportAnswer(StrEnum):
    """The outcomes of a report."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    """Reported before, by this source or another; nothing changed."""
    WAITING = "waiting"
    """Its predecessors have not come; it is applied after them, or after the longest wait."""
    LATE = "late"
    """Its place was given up, or the call is over; nothing changed."""


class ReportRefusedError(ValueError):
    """A report that cannot be used; the message names the field and the problem."""

    def __init__(self, field_name: str, problem: str) -> None:
        super().__init__(f"{field_name}: {problem}")
        self.field = field_name
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Report:
    """One report about one call."""

    call_id: str
    tenant_id: str
    kind: ReportKind
    at_ms: int
    """The source's time of what is reported, in milliseconds since 1970 UTC."""
    sequence: int | None = None
    """The report's number within its call, without gaps; None for a source that does not count."""
    source: str = DIRECT_SOURCE
    direction: CallDirection = CallDirection.INBOUND
    reason: RejectionReason | UnansweredReason | EndReason | None = None
    """One of the kind's own vocabulary; rejected, unanswered, abandoned and ended need one."""
    error_type: str | None = None
    fault: Fault | None = None
    limit: LimitHit | None = None
    target: str | None = None
    """The configured name of the destination of a transfer."""
    interrupted: bool = False
    caller: str | None = field(default=None, repr=False)
    dialled: str | None = field(default=None, repr=False)

    def check(self) -> None:
        """Raise :class:`ReportRefusedError` for a field that contradicts the kind."""
        vocabulary = _REASONS.get(self.kind)
        if vocabulary is not None and not isinstance(self.reason, vocabulary):
            raise ReportRefusedError("reason", f"{self.kind} needs one of {', '.join(vocabulary)}")
        if self.sequence is not None and self.sequence < 0:
            raise ReportRefusedError("sequence", f"must not be negative: {self.sequence}")


@dataclass(slots=True)
class _Waiting:
    arrived: Instant
    report: Report

    @property
    def place(self) -> tuple[int, int, int]:
        """The report's place among those of its call: its number, or its time and then its kind."""
        report = self.report
        if report.sequence is not None:
            return report.sequence, 0, 0
        return 0, report.at_ms, _ORDER[report.kind]


_ORDER: Final = {kind: position for position, kind in enumerate((*list(ReportKind)[:7], *list(ReportKind)[8:]))} | {
    ReportKind.ENDED: len(ReportKind)
}
# Of reports of one moment the end comes last.


class _Ordered:
    """The reports of one call that wait, and what is known of their order."""

    __slots__ = ("anchor", "anchor_ms", "gaps", "inferred", "lock", "next", "seen", "waiting")

    def __init__(self) -> None:
        self.lock = RLock()
        self.anchor: Instant | None = None
        self.anchor_ms = 0
        self.next: int | None = None
        """The number expected next; None before the first numbered report was applied."""
        self.gaps: deque[range] = deque(maxlen=_GAPS)
        """Numbers that were given up, to tell late reports from repeated ones."""
        self.waiting: list[_Waiting] = []
        self.inferred: list[Transition] = []
        self.seen: OrderedDict[tuple[ReportKind, int], None] = OrderedDict()
        """Kind and time of the last reports without a number, to tell repeated ones."""


class ReportedCalls:
    """Puts reports into order and makes them on a tracker. Thread-safe.

    Args:
        tracker: the registry the calls are reported to.
        max_wait_seconds: the longest a report waits for its predecessors.
        max_waiting: the most reports of one call that wait; past it the first in order is applied without them.
        max_calls: the most calls whose order is remembered.
        holds_slots: True if the process decides about these calls, False if it only observes them.
    """

    def __init__(
        self,
        tracker: CallTracker,
        *,
        max_wait_seconds: float = 10.0,
        max_waiting: int = 64,
        max_calls: int = 100_000,
        holds_slots: bool = False,
    ) -> None:
        self._tracker = tracker
        self._max_wait = max_wait_seconds
        self._max_waiting = max_waiting
        self._max_calls = max_calls
        self._holds_slots = holds_slots
        self._calls: OrderedDict[CallId, _Ordered] = OrderedDict()
        self._lock = Lock()

    def report(self, report: Report) -> ReportAnswer:
        """Apply the report, or keep it until its predecessors have come; return which.

        Raises:
            ReportRefusedError: a field cannot be used, ``at`` lies too far ahead, or too many calls wait.
        """
        report.check()
        now = self._tracker.clock.now()
        if report.at_ms - now.unix_ms > MAX_AHEAD_SECONDS * 1000:
            raise ReportRefusedError("at", f"more than {MAX_AHEAD_SECONDS:.0f} s ahead of this machine's clock")
        ordered = self._entry(CallId(report.call_id))
        with ordered.lock:
            return self._take(ordered, report, now)

    def release(self) -> int:
        """Apply the reports that have waited for as long as a report may, and return their number.

        Call it every second or so: nothing else gives up on predecessors that never come.
        """
        now = self._tracker.clock.now()
        with self._lock:
            entries = [ordered for ordered in self._calls.values() if ordered.waiting]
        return sum(self._release(ordered, now) for ordered in entries)

    def inferred(self, call_id: CallId | str) -> tuple[Transition, ...]:
        """Return the transitions of the call that were inferred because no report of them came in time."""
        with self._lock:
            ordered = self._calls.get(CallId(call_id))
        return tuple(ordered.inferred) if ordered else ()

    @property
    def waiting(self) -> int:
        """Number of reports that wait."""
        with self._lock:
            return sum(len(ordered.waiting) for ordered in self._calls.values())

    # Internals --------------------------------------------------------------------------------------------------------

    def _entry(self, call_id: CallId) -> _Ordered:
        with self._lock:
            ordered = self._calls.get(call_id)
            if ordered is not None:
                return ordered
            if len(self._calls) >= self._max_calls:
                self._forget_one()
            return self._calls.setdefault(call_id, _Ordered())

    def _forget_one(self) -> None:
        for call_id, ordered in self._calls.items():
            over = not self._tracker.knows(call_id) or self._tracker.call(call_id).state.terminal
            if over and not ordered.waiting:
                del self._calls[call_id]
                return
        raise ReportRefusedError("call_id", f"{self._max_calls} calls are open or wait for reports")

    def _take(self, ordered: _Ordered, report: Report, now: Instant) -> ReportAnswer:
        call = self._tracker.call(report.call_id) if self._tracker.knows(report.call_id) else None
        answer = self._known(ordered, report, call)
        if answer is not None:
            return answer
        ordered.waiting.append(_Waiting(now, report))
        ordered.waiting.sort(key=lambda waiting: waiting.place)
        self._drain(ordered, now)
        while len(ordered.waiting) > self._max_waiting:
            self._apply(ordered, ordered.waiting.pop(0).report, now)
            self._drain(ordered, now)
        return (
            ReportAnswer.WAITING
            if any(waiting.report is report for waiting in ordered.waiting)
            else ReportAnswer.APPLIED
        )

    def _known(self, ordered: _Ordered, report: Report, call: Call | None) -> ReportAnswer | None:
        """Return why the report is not applied at all; None if it is new."""
        transition = report.kind.transition
        if call is not None and transition is not None and call.has_made(transition):
            self._pass_over(ordered, report)
            return ReportAnswer.DUPLICATE
        if report.sequence is not None:
            if any(waiting.report.sequence == report.sequence for waiting in ordered.waiting):
                return ReportAnswer.DUPLICATE
            if ordered.next is not None and report.sequence < ordered.next:
                late = any(report.sequence in gap for gap in ordered.gaps)
                return ReportAnswer.LATE if late else ReportAnswer.DUPLICATE
        elif (report.kind, report.at_ms) in ordered.seen:
            return ReportAnswer.DUPLICATE
        else:
            ordered.seen[report.kind, report.at_ms] = None
            if len(ordered.seen) > self._max_waiting:
                ordered.seen.popitem(last=False)
        return ReportAnswer.LATE if call is not None and call.state.terminal else None

    @staticmethod
    def _pass_over(ordered: _Ordered, report: Report) -> None:
        """Count the number of a repeated transition as come, so that what follows does not wait for it."""
        if report.sequence is not None and report.sequence == ordered.next:
            ordered.next += 1

    def _ready(self, ordered: _Ordered, report: Report) -> bool:
        if report.sequence is not None:
            return report.kind is ReportKind.RECEIVED if ordered.next is None else report.sequence == ordered.next
        if not self._tracker.knows(report.call_id):
            return report.kind is ReportKind.RECEIVED
        call = self._tracker.call(report.call_id)
        return all(call.has_made(transition) for transition in _needed(report))

    def _drain(self, ordered: _Ordered, now: Instant) -> None:
        """Apply every report whose predecessors have come."""
        going = True
        while going:
            going = False
            for waiting in ordered.waiting:
                if self._ready(ordered, waiting.report):
                    ordered.waiting.remove(waiting)
                    self._apply(ordered, waiting.report, now)
                    going = True
                    break

    def _release(self, ordered: _Ordered, now: Instant) -> int:
        with ordered.lock:
            before = len(ordered.waiting)
            while any(now.since(waiting.arrived) >= self._max_wait for waiting in ordered.waiting):
                self._apply(ordered, ordered.waiting.pop(0).report, now)
                self._drain(ordered, now)
            return before - len(ordered.waiting)

    def _apply(self, ordered: _Ordered, report: Report, now: Instant) -> None:
        if ordered.anchor is None:
            ordered.anchor, ordered.anchor_ms = now, report.at_ms
        if report.sequence is not None:
            if ordered.next is not None and report.sequence > ordered.next:
                ordered.gaps.append(range(ordered.next, report.sequence))
            ordered.next = max(report.sequence + 1, ordered.next or 0)
        at = Instant(ordered.anchor.monotonic + (report.at_ms - ordered.anchor_ms) / 1000, report.at_ms * 1_000_000)
        call = self._prepared(ordered, report, at)
        call.arrived(now)
        transition = report.kind.transition
        if not call.state.terminal and not (transition is not None and call.has_made(transition)):
            _make(call, report, at)

    def _prepared(self, ordered: _Ordered, report: Report, at: Instant) -> Call:
        """Return the call in a state in which the report can be true, with the transitions missing to it inferred."""
        if not self._tracker.knows(report.call_id):
            call = self._tracker.received(
                report.call_id,
                report.tenant_id,
                at=at,
                caller=report.caller,
                dialled=report.dialled,
                direction=report.direction,
                source=report.source,
                holds_slot=self._holds_slots,
            )
            if report.kind is not ReportKind.RECEIVED:
                self._infer(ordered, call, Transition.RECEIVED, at)
        call = self._tracker.call(report.call_id)
        if not call.state.terminal:
            for transition in _needed(report):
                if not call.has_made(transition):
                    self._infer(ordered, call, transition, at)
                    _INFER[transition](call, at)
        return call

    @staticmethod
    def _infer(ordered: _Ordered, call: Call, transition: Transition, at: Instant) -> None:
        ordered.inferred.append(transition)
        call.inferred(transition, at)


_INFER: Final = {
    Transition.ACCEPTED: lambda call, at: call.accepted(at),
    Transition.STARTED: lambda call, at: call.started(at),
    Transition.REFERRED: lambda call, at: call.referred(at=at),
}


def _needed(report: Report) -> tuple[Transition, ...]:
    needed = _NEEDED.get(report.kind, _RUNNING)
    referred = report.kind is ReportKind.ENDED and report.reason is EndReason.REFERRED
    return (*needed, Transition.REFERRED) if referred else needed


def _make(call: Call, report: Report, at: Instant) -> None:  # noqa: C901 -- one line a kind
    """Make the report on the call."""
    reason, error_type = report.reason, report.error_type
    match report.kind:
        case ReportKind.REJECTED if isinstance(reason, RejectionReason):
            call.rejected(reason, limit=report.limit, error_type=error_type, at=at)
        case ReportKind.UNANSWERED if isinstance(reason, UnansweredReason):
            call.unanswered(reason, error_type=error_type, at=at)
        case ReportKind.ACCEPTED:
            call.accepted(at)
        case ReportKind.STARTED:
            call.started(at)
        case ReportKind.ABANDONED if isinstance(reason, EndReason):
            call.abandoned(reason, error_type=error_type, at=at)
        case ReportKind.REFERRED:
            call.referred(report.target, at)
        case ReportKind.ENDED if isinstance(reason, EndReason):
            call.ended(reason, error_type=error_type, fault=report.fault, at=at)
        case ReportKind.HEARTBEAT:
            call.heartbeat(at)
        case ReportKind.CALLER_STARTED_SPEAKING:
            call.caller_started_speaking(at)
        case ReportKind.CALLER_STOPPED_SPEAKING:
            call.caller_stopped_speaking(at)
        case ReportKind.AGENT_STARTED_SPEAKING:
            call.agent_started_speaking(at)
        case ReportKind.AGENT_STOPPED_SPEAKING:
            call.agent_stopped_speaking(interrupted=report.interrupted, at=at)
