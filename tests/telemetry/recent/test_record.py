"""What the record says of a call."""

from typing import Any

import pytest

from telemetry.calls.events import LimitHit, Phase, TokenUsage
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.recent.record import CallDetails, CallOutcome, DurationBasis, Trouble
from telemetry.semconv.attributes import CapacityScope, EndReason, RejectionReason, SetupOutcome, Speaker, TurnEnd
from telemetry.testing import TelemetryKit
from tests.support import calls


def about(seconds: float) -> Any:  # noqa: ANN401 -- pytest's own is not the type it compares with
    return pytest.approx(seconds)


def record(kit: TelemetryKit, call_id: str = "rtc_1") -> CallDetails:
    found = kit.recent.call(call_id)
    assert found is not None
    return found


def test_a_rejected_call_says_which_limit_at_what_value(kit: TelemetryKit) -> None:
    """The decision has the reason, the limit that was reached and its value, and how long it took."""
    calls.rejected(kit)
    found = record(kit)
    assert found.decision is not None
    assert (found.decision.outcome, found.decision.reason) == (SetupOutcome.REJECTED, RejectionReason.CAPACITY)
    assert found.decision.limit == LimitHit(CapacityScope.TENANT, 10, 10)
    assert found.decision.setup_seconds == about(0.012)
    assert (found.summary.state, found.summary.outcome) == (CallState.REJECTED, CallOutcome.REJECTED)
    assert (found.summary.duration_basis, found.summary.duration) == (DurationBasis.RECEIVED, about(0.012))


def test_telling_the_carrier_belongs_to_a_rejected_call(kit: TelemetryKit) -> None:
    """The phase in which the carrier is told outlasts the rejection, and is shown with its whole length."""
    calls.rejected(kit)
    rejecting = next(row for row in record(kit).phases if row.phase is Phase.REJECT)
    assert rejecting.end is not None
    assert rejecting.end - rejecting.start == about(0.09)


def test_while_the_carrier_is_told_the_phase_is_open(kit: TelemetryKit) -> None:
    """A call that is rejected while the carrier is still being told shows that, not a failure."""
    call = calls.announced(kit)
    with call.phase(Phase.REJECT):
        call.rejected(RejectionReason.CAPACITY)
        rejecting = record(kit).phases[-1]
    assert (rejecting.phase, rejecting.end, rejecting.error_type) == (Phase.REJECT, None, None)


def test_phases_come_with_their_times_from_the_announcement_on(kit: TelemetryKit) -> None:
    """What was done before the tenant was known is the first phase, and offsets count from the announcement."""
    calls.at_once(kit)
    phases = [(row.phase, round(row.start, 3), round(row.end or 0, 3)) for row in record(kit).phases]
    assert phases == [
        (Phase.TENANT_LOOKUP, 0.0, 0.012),
        (Phase.INSTRUCTIONS, 0.012, 0.02),
        (Phase.ACCEPT, 0.02, 0.25),
        (Phase.CONNECT, 0.25, 0.37),
    ]


def test_transitions_are_listed_in_order(kit: TelemetryKit) -> None:
    """Every change of state has its moment, the hand-off among them."""
    calls.ordinary(kit)
    assert [step.transition for step in record(kit).steps] == [
        Transition.RECEIVED,
        Transition.ACCEPTED,
        Transition.STARTED,
        Transition.REFERRED,
        Transition.ENDED,
    ]


def test_an_ended_call_lasted_from_its_start(kit: TelemetryKit) -> None:
    """The duration of a call that ran counts from its start, and stands still once it is over."""
    calls.at_once(kit)
    kit.clock.advance(1000)
    summary = record(kit).summary
    assert (summary.duration, summary.duration_basis) == (about(0.63), DurationBasis.STARTED)
    assert (summary.started, summary.ended) == (about(0.37), about(1.0))


def test_a_running_call_grows(kit: TelemetryKit) -> None:
    """The duration of a running call is the time so far."""
    calls.started(kit)
    kit.clock.advance(5)
    assert record(kit).summary.duration == about(5)
    kit.clock.advance(5)
    assert record(kit).summary.duration == about(10)


@pytest.mark.parametrize(
    ("reason", "error_type", "outcome"),
    [
        (EndReason.COMPLETED, None, CallOutcome.COMPLETED),
        (EndReason.HANGUP, None, CallOutcome.HANGUP),
        (EndReason.REFERRED, None, CallOutcome.REFERRED),
        (EndReason.STALE, None, CallOutcome.STALE),
        (EndReason.SHUTDOWN, None, CallOutcome.SHUTDOWN),
        (EndReason.ERROR, None, CallOutcome.FAILED),
        (EndReason.HANGUP, "SessionLost", CallOutcome.FAILED),
    ],
)
def test_the_outcome_follows_from_the_end(
    kit: TelemetryKit, reason: EndReason, error_type: str | None, outcome: CallOutcome
) -> None:
    """A call turned out as its end reason says, unless an error makes it a failure."""
    calls.started(kit).ended(reason, error_type=error_type)
    assert record(kit).summary.outcome is outcome


def test_an_abandoned_call_says_why(kit: TelemetryKit) -> None:
    """Accepted and never started, a call has both its decision and its end."""
    call = calls.announced(kit)
    call.accepted()
    call.abandoned(EndReason.ERROR, error_type="CarrierTimeout")
    found = record(kit)
    assert found.ending is not None
    assert (found.decision is not None, found.ending.reason, found.ending.error_type) == (
        True,
        EndReason.ERROR,
        "CarrierTimeout",
    )
    assert (found.summary.outcome, found.summary.error_type) == (CallOutcome.ABANDONED, "CarrierTimeout")


def test_turns_have_their_waits_and_interruptions(kit: TelemetryKit) -> None:
    """Each turn has the wait for its answer, whether it was cut short, and why it ended."""
    call = calls.started(kit)
    calls.turn(kit, call, wait=0.7)
    calls.interrupted_turn(kit, call)
    calls_over = call.ended(EndReason.HANGUP)
    assert calls_over
    turns = record(kit).turns
    assert [(t.number, t.interrupted, t.reason) for t in turns] == [
        (1, False, TurnEnd.COMPLETED),
        (2, True, TurnEnd.INTERRUPTED),
        (3, False, TurnEnd.CALL_ENDED),
    ]
    assert [t.time_to_first_audio for t in turns] == [about(0.7), about(0.6), None]
    assert record(kit).summary.interruptions == 1


def test_speech_is_listed_by_speaker(kit: TelemetryKit) -> None:
    """Every stretch of speech has its speaker and its time; one that was cut short says so."""
    call = calls.started(kit)
    calls.interrupted_turn(kit, call)
    spoken = [(s.speaker, s.end is None, s.interrupted) for s in record(kit).speech]
    assert spoken == [(Speaker.CALLER, False, False), (Speaker.AGENT, False, True), (Speaker.CALLER, True, False)]


def test_who_speaks_now_is_shown(kit: TelemetryKit) -> None:
    """Speech that goes on has no end yet, of caller and of agent alike."""
    call = calls.started(kit)
    call.caller_started_speaking()
    assert record(kit).speech[-1].speaker is Speaker.CALLER
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    call.agent_started_speaking()
    now = record(kit).speech[-1]
    assert (now.speaker, now.end) == (Speaker.AGENT, None)
    call.ended(EndReason.COMPLETED)
    assert all(speech.end is not None for speech in record(kit).speech)


def test_the_longest_wait_includes_those_in_vain(kit: TelemetryKit) -> None:
    """A caller who waits for an answer that never comes has waited until the turn was over."""
    call = calls.started(kit)
    calls.greeting(kit, call)
    call.caller_started_speaking()
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    kit.clock.advance(20)
    assert record(kit).summary.longest_wait == about(20)
    call.ended(EndReason.HANGUP)
    kit.clock.advance(100)
    assert record(kit).summary.longest_wait == about(20)
    assert record(kit).turns[0].waited(0) == about(20)


def test_silence_from_the_start_is_a_wait(kit: TelemetryKit) -> None:
    """A call in which the agent was never heard has been waited in from its reception, also once it is over."""
    call = calls.started(kit)
    kit.clock.advance(9.63)
    assert record(kit).summary.longest_wait == about(10)
    call.ended(EndReason.HANGUP)
    assert record(kit).summary.longest_wait == about(10)


def test_waiting_for_a_decision_counts(kit: TelemetryKit) -> None:
    """A call that hangs in the decision is slow while it does."""
    calls.announced(kit)
    kit.clock.advance(3)
    assert record(kit).summary.longest_wait == about(3.012)


def test_tools_have_durations_and_errors(kit: TelemetryKit) -> None:
    """A tool that failed has its error's type; one that is under way has no end."""
    call = calls.started(kit)
    calls.failed_tool(kit, call, seconds=2)
    with call.tool("lookup", "call_2"):
        kit.clock.advance(1)
        failed, running = record(kit).tools
    assert (failed.tool, failed.error_type) == ("book_table", "TimeoutError")
    assert (failed.end or 0) - failed.start == about(2)
    assert (running.tool, running.end, running.error_type) == ("lookup", None, None)


def test_trouble_that_does_not_end_the_call_is_listed(kit: TelemetryKit) -> None:
    """Errors of the session, of the instructions and of late reports stand in one list, each with its kind."""
    call = calls.announced(kit)
    call.instructions_failed("OperationalError")
    call.fallback_used()
    call.accepted()
    call.started()
    call.session_error("rate_limit_exceeded")
    call.accepted()
    found = record(kit)
    assert [(row.trouble, row.detail) for row in found.errors] == [
        (Trouble.INSTRUCTIONS, "OperationalError"),
        (Trouble.SESSION, "rate_limit_exceeded"),
        (Trouble.LIFECYCLE, "accepted"),
    ]
    assert found.fallback_instructions


def test_tokens_are_the_calls_sums(kit: TelemetryKit) -> None:
    """Tokens are summed by kind over the responses."""
    call = calls.started(kit)
    call.tokens_used(TokenUsage(input=100, output=20), "gpt-realtime-2.1")
    call.tokens_used(TokenUsage(input=50, output=10), "gpt-realtime-2.1")
    tokens = record(kit).tokens
    assert (tokens.usage, tokens.responses) == (TokenUsage(input=150, output=30), 2)


def test_numbers_are_kept_masked_and_hashed_only(kit: TelemetryKit) -> None:
    """Of caller and dialled number the record has the last four digits and a hash, nothing else anywhere."""
    calls.ordinary(kit)
    found = record(kit)
    assert (found.summary.caller, found.summary.dialled, len(found.summary.caller_hash or "")) == ("…5678", "…0100", 16)
    assert calls.CALLER[1:] not in repr(found)
    assert calls.DIALLED[1:] not in repr(found)


def test_ending_is_shown_while_it_goes_on(kit: TelemetryKit) -> None:
    """A call that was handed off, or is being hung up, is ending until it is over."""
    referred, hung_up = calls.started(kit, "rtc_1"), calls.started(kit, "rtc_2")
    referred.referred("sales")
    with hung_up.phase(Phase.HANGUP):
        assert [record(kit, call_id).summary.ending for call_id in ("rtc_1", "rtc_2")] == [True, True]
    referred.ended(EndReason.REFERRED)
    assert not record(kit).summary.ending
    assert record(kit).referred_to == "sales"


def test_a_call_that_is_only_announced_is_not_shown(kit: TelemetryKit) -> None:
    """Until its tenant is known, a call is in no list; afterwards, what was done before belongs to it."""
    at = kit.clock.now()
    ref = kit.tracker.announced("rtc_1", at=at)
    with kit.tracker.phase(ref, Phase.TENANT_LOOKUP):
        assert kit.recent.call("rtc_1") is None
        assert kit.recent.size.announced == 1
    kit.tracker.received("rtc_1", "acme", at=at)
    assert [row.phase for row in record(kit).phases] == [Phase.TENANT_LOOKUP]
    assert kit.recent.size.announced == 0


def test_an_unknown_call_is_none(kit: TelemetryKit) -> None:
    """Asked for a call it never saw, the record answers nothing."""
    assert kit.recent.call("rtc_none") is None
    assert kit.recent.by_trace("0" * 32) is None
    assert kit.recent.by_trace("not hexadecimal") is None
    assert kit.recent.call_of_trace("f" * 32) is None


def test_a_reused_id_is_a_new_call() -> None:
    """When the tracker has forgotten a call, another with its id takes its place in the record."""
    with TelemetryKit(max_remembered=1) as small:
        calls.started(small, "rtc_1", "acme").ended(EndReason.HANGUP)
        calls.started(small, "rtc_2").ended(EndReason.HANGUP)
        calls.started(small, "rtc_1", "globex")
        found = record(small)
        assert (found.summary.tenant_id, found.summary.state) == ("globex", CallState.STARTED)
        assert (small.recent.size.open_calls, small.recent.size.calls_over) == (1, 1)


def test_a_call_taken_over_was_not_waited_for(kit: TelemetryKit) -> None:
    """Of a call another process set up, the record says so, and its silence here is nobody's wait for a first word."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted(resumed=True)
    call.started()
    kit.clock.advance(30)
    assert (record(kit).resumed, record(kit).summary.longest_wait) == (True, 0)
    call.agent_started_speaking()
    call.ended(EndReason.HANGUP)
    assert record(kit).summary.longest_wait == 0
