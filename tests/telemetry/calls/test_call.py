"""The handle that call code holds: which reports are taken, and what they become."""

from collections.abc import Callable

import pytest

from telemetry.calls.call import Call
from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallReceived,
    CallReferred,
    CallRejected,
    CallStarted,
    CallUnanswered,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    LifecycleViolated,
    LimitHit,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    TokensUsed,
    TokenUsage,
    ToolEnded,
    ToolStarted,
)
from telemetry.calls.lifecycle import CallState
from telemetry.calls.timing import TypedError
from telemetry.clock import Instant
from telemetry.semconv.attributes import CapacityScope, EndReason, RejectionReason, UnansweredReason, Violation
from telemetry.testing import TelemetryKit


@pytest.fixture
def call(kit: TelemetryKit) -> Call:
    return kit.tracker.received("rtc_1", "acme")


def last(kit: TelemetryKit) -> object:
    return kit.events[-1]


def test_a_call_goes_its_way_once(kit: TelemetryKit, call: Call) -> None:
    """From received to ended each report is taken once, and its event says when and after how long."""
    kit.clock.advance(0.5)
    assert call.accepted()
    kit.clock.advance(0.5)
    assert call.started()
    kit.clock.advance(10)
    assert call.referred("front desk")
    assert call.ended(EndReason.REFERRED)
    now = kit.clock.now()
    received = Instant(0, now.unix_nanos - 11 * 10**9)
    assert kit.events == [
        CallReceived(received, call.ref),
        CallAccepted(Instant(0.5, received.unix_nanos + 5 * 10**8), call.ref, 0.5),
        CallStarted(Instant(1, received.unix_nanos + 10**9), call.ref),
        CallReferred(now, call.ref, "front desk"),
        CallEnded(now, call.ref, EndReason.REFERRED, 10.0, 10.0),
    ]
    assert call.state is CallState.ENDED
    assert (call.call_id, call.tenant_id) == ("rtc_1", "acme")


def test_a_rejection_says_why_and_which_limit(kit: TelemetryKit, call: Call) -> None:
    """A rejected call's event has the reason, the wait, the limit that was reached, and the failure if any."""
    limit = LimitHit(CapacityScope.TENANT, 10, 10)
    kit.clock.advance(0.25)
    assert call.rejected(RejectionReason.CAPACITY, limit=limit, error_type="CarrierTimeout")
    assert last(kit) == CallRejected(kit.clock.now(), call.ref, RejectionReason.CAPACITY, 0.25, limit, "CarrierTimeout")
    assert call.state is CallState.REJECTED


def test_an_accepted_call_that_never_starts_is_abandoned(kit: TelemetryKit, call: Call) -> None:
    """An abandoned call says why it never started."""
    call.accepted()
    assert call.abandoned(EndReason.ERROR, error_type="ConnectError")
    assert last(kit) == CallAbandoned(kit.clock.now(), call.ref, EndReason.ERROR, "ConnectError")
    assert call.state is CallState.ABANDONED


ILLEGAL: list[tuple[list[str], str, Violation]] = [
    (["accepted"], "accepted", Violation.DUPLICATE),
    (["accepted", "started", "ended"], "ended", Violation.DUPLICATE),
    (["accepted", "started", "referred"], "referred", Violation.DUPLICATE),
    ([], "started", Violation.OUT_OF_ORDER),
    ([], "ended", Violation.OUT_OF_ORDER),
    ([], "referred", Violation.OUT_OF_ORDER),
    ([], "abandoned", Violation.OUT_OF_ORDER),
    (["accepted"], "rejected", Violation.OUT_OF_ORDER),
    (["accepted", "started"], "abandoned", Violation.OUT_OF_ORDER),
    (["rejected"], "accepted", Violation.AFTER_END),
    (["accepted", "started", "ended"], "referred", Violation.AFTER_END),
    (["accepted", "abandoned"], "started", Violation.AFTER_END),
]

REPORTS: dict[str, Callable[[Call], bool]] = {
    "accepted": Call.accepted,
    "started": Call.started,
    "referred": Call.referred,
    "rejected": lambda call: call.rejected(RejectionReason.CAPACITY),
    "abandoned": lambda call: call.abandoned(EndReason.HANGUP),
    "ended": lambda call: call.ended(EndReason.HANGUP),
}


DATED: dict[str, tuple[list[str], Callable[[Call, Instant], object]]] = {
    "accepted": ([], Call.accepted),
    "rejected": ([], lambda call, then: call.rejected(RejectionReason.CAPACITY, at=then)),
    "unanswered": ([], lambda call, then: call.unanswered(UnansweredReason.CANCELED, at=then)),
    "started": (["accepted"], Call.started),
    "abandoned": (["accepted"], lambda call, then: call.abandoned(EndReason.ERROR, at=then)),
    "referred": (["accepted", "started"], lambda call, then: call.referred(at=then)),
    "ended": (["accepted", "started"], lambda call, then: call.ended(EndReason.HANGUP, at=then)),
    "handed over": (["accepted", "started"], Call.handed_over),
    "heartbeat": (["accepted", "started"], Call.heartbeat),
    "caller speaks": (["accepted", "started"], Call.caller_started_speaking),
    "agent speaks": (["accepted", "started"], Call.agent_started_speaking),
}


@pytest.mark.parametrize("what", DATED)
def test_reports_may_say_when_it_was(kit: TelemetryKit, call: Call, what: str) -> None:
    """A report of an earlier moment is dated then, whatever it reports."""
    before, report = DATED[what]
    for transition in before:
        REPORTS[transition](call)
    then = kit.clock.advance(1)
    kit.clock.advance(4)
    count = len(kit.events)
    report(call, then)
    assert [event.at for event in kit.events[count:]] == [then] * len(kit.events[count:])
    assert len(kit.events) > count


@pytest.mark.parametrize(("path", "report", "violation"), ILLEGAL)
def test_what_the_lifecycle_does_not_allow_changes_nothing_and_is_counted(
    kit: TelemetryKit, call: Call, path: list[str], report: str, violation: Violation
) -> None:
    """A duplicate or impossible report is answered with no, counted by kind, and moves no other number."""
    for step in path:
        assert REPORTS[step](call)
    before, state = kit.numbers("acme"), call.state
    assert not REPORTS[report](call)
    assert last(kit) == LifecycleViolated(kit.clock.now(), call.ref, violation, report)
    assert call.state is state
    assert kit.numbers("acme") == before | {"lifecycle_violations": 1}


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ([], CallState.REJECTED),
        (["accepted"], CallState.ABANDONED),
        (["accepted", "started"], CallState.ENDED),
        (["rejected"], CallState.REJECTED),
    ],
)
def test_finish_leads_every_call_to_its_end(kit: TelemetryKit, call: Call, path: list[str], state: CallState) -> None:
    """From any state `finish` reaches the terminal one that follows, and a second time it does nothing."""
    for step in path:
        REPORTS[step](call)
    assert call.finish(EndReason.SHUTDOWN) == (state.value not in path)
    assert not call.finish(EndReason.SHUTDOWN)
    assert call.state is state
    assert kit.numbers()["lifecycle_violations"] == 0


def test_a_pending_call_finished_early_names_its_failure(kit: TelemetryKit, call: Call) -> None:
    """Finished before it was decided upon, a call is rejected as the carrier's error, of the kind the reason gives."""
    call.finish(EndReason.SHUTDOWN)
    rejected = last(kit)
    assert isinstance(rejected, CallRejected)
    assert (rejected.reason, rejected.error_type) == (RejectionReason.CARRIER_ERROR, "shutdown")


@pytest.mark.parametrize(
    ("reason", "error_type", "failed"),
    [
        (EndReason.ERROR, "TimeoutError", "TimeoutError"),
        (EndReason.ERROR, None, "_other"),
        (EndReason.HANGUP, "TransferFailed", "TransferFailed"),
        (EndReason.HANGUP, None, None),
    ],
)
def test_a_call_failed_if_it_ended_with_an_error(
    kit: TelemetryKit, call: Call, reason: EndReason, error_type: str | None, failed: str | None
) -> None:
    """Ended with an error, named or not, a call counts as failed; without one it does not."""
    call.accepted()
    call.started()
    call.ended(reason, error_type=error_type)
    ended = last(kit)
    assert isinstance(ended, CallEnded)
    assert ended.error_type == failed
    assert kit.live("acme")["failed_calls"] == (failed is not None)


def test_a_snapshot_tells_the_call_at_one_moment(kit: TelemetryKit, call: Call) -> None:
    """State, times and whether its end is under way are told together."""
    call.accepted()
    kit.clock.advance(2)
    call.started()
    kit.clock.advance(3)
    call.seen()
    snapshot = call.snapshot()
    assert (snapshot.call_id, snapshot.tenant_id, snapshot.state) == ("rtc_1", "acme", CallState.STARTED)
    assert snapshot.started is not None
    assert (snapshot.received.monotonic, snapshot.started.monotonic, snapshot.last_seen.monotonic) == (0, 2, 5)
    assert not snapshot.ending
    call.ending()
    assert call.snapshot().ending


def test_a_call_handed_off_is_ending(call: Call) -> None:
    """Once referred, a call's end is under way."""
    call.accepted()
    call.started()
    call.referred()
    assert call.snapshot().ending


def test_a_phase_is_timed_and_joins_the_calls_trace(kit: TelemetryKit, call: Call) -> None:
    """What runs within a phase is timed under its name, and spans begun there hang below it."""
    with call.phase(Phase.INSTRUCTIONS):
        kit.clock.advance(2)
        with kit.tracer_provider.get_tracer("someone.else").start_as_current_span("SELECT"):
            pass
    ended = last(kit)
    assert isinstance(ended, PhaseEnded)
    assert (ended.phase, ended.started, ended.error_type) == (Phase.INSTRUCTIONS, Instant(0, _nanos(kit, -2)), None)
    call.finish(EndReason.ERROR)
    (root,) = kit.spans()
    assert [span.name for span in root.one("instructions").children] == ["SELECT"]


def _nanos(kit: TelemetryKit, seconds: int) -> int:
    return kit.clock.now().unix_nanos + seconds * 10**9


def test_a_phase_and_a_tool_that_raise_are_marked_failed(kit: TelemetryKit, call: Call) -> None:
    """An exception passes through, and the phase or tool it left is marked with its class."""
    with pytest.raises(KeyError), call.phase(Phase.ACCEPT):
        raise KeyError("secret")
    assert isinstance(last(kit), PhaseEnded)
    with pytest.raises(KeyError), call.tool("lookup", "item_1"):
        raise KeyError("secret")
    assert isinstance(last(kit), ToolEnded)
    call.finish(EndReason.ERROR)
    (root,) = kit.spans()
    for span in (root.one("accept"), root.one("execute_tool lookup")):
        assert span.failed
        assert span.attributes["error.type"] == "KeyError"
    assert "secret" not in repr(root)


def test_a_failure_that_knows_its_type_is_marked_with_it(kit: TelemetryKit, call: Call) -> None:
    """Of an exception that says its own ``error.type`` that one is told, not its class."""

    class RefusedError(TypedError):
        error_type = "429"

    with pytest.raises(RefusedError), call.phase(Phase.ACCEPT):
        raise RefusedError
    ended = next(event for event in kit.events if isinstance(event, PhaseEnded))
    assert ended.error_type == "429"


def test_a_phase_that_is_over_can_be_reported_whole(kit: TelemetryKit, call: Call) -> None:
    """A phase told of afterwards is as long as it was."""
    began = kit.clock.now()
    kit.clock.advance(3)
    call.passed(Phase.WEBHOOK, began)
    call.finish(EndReason.ERROR)
    assert kit.spans()[0].one("webhook").seconds == 3


def test_what_happens_on_the_way_becomes_events(kit: TelemetryKit, call: Call) -> None:
    """Instructions, tokens, errors and tools are told as they come."""
    now, usage = kit.clock.now(), TokenUsage(input=10, output=5)
    call.instructions_failed("OperationalError")
    call.fallback_used()
    call.tokens_used(usage, "gpt-realtime", "resp_1")
    call.session_error("rate_limited")
    with call.tool("lookup", "item_1"):
        pass
    assert kit.events[1:] == [
        InstructionsFailed(now, call.ref, "OperationalError"),
        FallbackUsed(now, call.ref),
        TokensUsed(now, call.ref, usage, "gpt-realtime", "resp_1"),
        SessionError(now, call.ref, "rate_limited"),
        ToolStarted(now, call.ref, "lookup", "item_1"),
        ToolEnded(now, call.ref, "lookup", "item_1", now),
    ]


def test_talk_after_the_end_is_not_heard(kit: TelemetryKit, call: Call) -> None:
    """Speech reported before the start counts, speech reported after the end does not."""
    call.agent_started_speaking()
    assert any(isinstance(event, FirstAudio) for event in kit.events)
    call.agent_stopped_speaking(interrupted=True)
    call.caller_started_speaking()
    call.caller_stopped_speaking()
    call.finish(EndReason.HANGUP)
    told = kit.events
    call.caller_started_speaking()
    call.agent_started_speaking()
    assert kit.events == told
    assert kit.numbers()["interruptions"] == 1


def test_personal_data_does_not_show_in_an_events_representation(kit: TelemetryKit) -> None:
    """Numbers and trace contexts stay out of what a debugger or a failing assertion prints."""
    kit.tracker.received("rtc_1", "acme", caller="+4915112345678", dialled="+18005550100", traceparent="00-ab")
    assert not any(secret in repr(kit.events) for secret in ("+49151", "+1800", "00-ab"))


def test_events_of_a_call_take_place_one_at_a_time(kit: TelemetryKit, call: Call) -> None:
    """Phases begun on the call are told in order, started before ended."""
    with call.phase(Phase.ACCEPT):
        call.accepted()
    assert [type(event) for event in kit.events[1:]] == [PhaseStarted, CallAccepted, PhaseEnded]


def test_an_unanswered_call_is_over_without_a_decision(kit: TelemetryKit, call: Call) -> None:
    """The report makes one event with its reason; a second one, and an acceptance, come too late."""
    assert call.unanswered(UnansweredReason.NO_ANSWER, error_type="408")
    assert not call.unanswered(UnansweredReason.BUSY)
    assert not call.accepted()
    (event,) = [event for event in kit.events if isinstance(event, CallUnanswered)]
    assert (event.reason, event.error_type) == (UnansweredReason.NO_ANSWER, "408")
    assert call.state is CallState.UNANSWERED
