"""The registry of calls: what it knows, how much it holds, and what it makes of strangers."""

import pytest

from telemetry.calls.events import CallReceived, LifecycleViolated, Phase, WebhookReceived
from telemetry.calls.lifecycle import CallState
from telemetry.calls.slots import Usage
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.semconv.attributes import EndReason, RejectionReason, TenantId, Violation, WebhookOutcome
from telemetry.testing import ORIGIN, TelemetryKit, labels


def test_a_call_received_twice_is_one_call(kit: TelemetryKit) -> None:
    """A second announcement answers a handle of the same call and is counted as a duplicate, also when it is over."""
    call = kit.tracker.received("rtc_1", "acme")
    assert kit.tracker.received("rtc_1", "someone-else") is call
    call.finish(EndReason.ERROR)
    again = kit.tracker.received("rtc_1", "acme")
    assert (again.ref, again.state) == (call.ref, call.state)
    assert kit.numbers()["received_calls"] == 1
    assert kit.numbers("acme")["lifecycle_violations"] == 2
    assert kit.store.tenants() == ["acme"]


def test_a_known_call_is_found_until_it_is_forgotten() -> None:
    """Open calls and the last ones that are over are known; those before them are strangers again."""
    with TelemetryKit(max_remembered=2) as kit:
        for number in range(4):
            kit.tracker.received(f"rtc_{number}", "acme").finish(EndReason.ERROR)
        open_call = kit.tracker.received("rtc_open", "acme")
        assert [kit.tracker.knows(f"rtc_{number}") for number in range(4)] == [False, False, True, True]
        assert kit.tracker.knows("rtc_open")
        assert kit.tracker.call("rtc_open") is open_call
        assert kit.tracker.call("rtc_3").state is CallState.REJECTED


def test_a_call_that_came_back_is_remembered_from_its_last_end() -> None:
    """A call left to another process and taken up again is no older than it ended: others are forgotten first."""
    with TelemetryKit(max_remembered=2) as kit:
        kit.tracker.received("rtc_back", "acme").handed_over()
        for call_id in ("rtc_before", "rtc_back", "rtc_after"):
            kit.tracker.received(call_id, "acme").finish(EndReason.ERROR)
        assert [kit.tracker.knows(call_id) for call_id in ("rtc_before", "rtc_back", "rtc_after")] == [
            False,
            True,
            True,
        ]


def test_of_a_call_that_is_over_the_late_is_told_from_the_repeated(kit: TelemetryKit) -> None:
    """What the call had reported is a duplicate, the hand-off too; what it had not comes after its end."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    call.referred("desk")
    call.ended(EndReason.REFERRED)
    late = kit.tracker.call("rtc_1")
    assert not any((late.accepted(), late.started(), late.referred("desk"), late.ended(EndReason.HANGUP)))
    assert not any((late.rejected(RejectionReason.CAPACITY), late.abandoned(EndReason.ERROR)))
    kit.tracker.received("rtc_2", "acme").finish(EndReason.ERROR)
    assert not kit.tracker.call("rtc_2").accepted()
    violations = [event.violation for event in kit.events if isinstance(event, LifecycleViolated)]
    assert violations == [Violation.DUPLICATE] * 4 + [Violation.AFTER_END] * 3


def test_a_stranger_takes_no_transition(kit: TelemetryKit) -> None:
    """Every report to an unknown call is answered with no and counted under the unknown tenant; nothing else moves."""
    stranger = kit.tracker.call("rtc_never_seen")
    reports = [
        stranger.accepted(),
        stranger.rejected(RejectionReason.CAPACITY),
        stranger.started(),
        stranger.abandoned(EndReason.ERROR),
        stranger.referred(),
        stranger.ended(EndReason.HANGUP),
    ]
    assert reports == [False] * 6
    stranger.heartbeat()
    stranger.seen()
    stranger.caller_started_speaking()
    stranger.session_error("ignored")
    assert {event.violation for event in kit.events if isinstance(event, LifecycleViolated)} == {Violation.UNKNOWN_CALL}
    with stranger.phase(Phase.CONNECT):
        pass
    reported = [event.transition for event in kit.events if isinstance(event, LifecycleViolated)][len(reports) :]
    assert reported == ["heartbeat", "seen", "speech", "session_error", "phase_started", "phase_ended"]
    assert kit.numbers() == dict.fromkeys(kit.numbers(), 0) | {"lifecycle_violations": 12}
    assert kit.store.tenants() == ["_unknown"]
    assert kit.traces.open_calls == 0
    assert not kit.tracker.knows("rtc_never_seen")


def test_past_its_room_the_tracker_turns_calls_into_strangers() -> None:
    """More calls at once than there is room for are counted as overflow, one violation a report, and take no slot."""
    with TelemetryKit(max_open=1) as kit:
        assert kit.tracker.has_room
        first = kit.tracker.received("rtc_1", "acme")
        assert not kit.tracker.has_room
        second = kit.tracker.received("rtc_2", "acme")
        assert not second.accepted()
        assert [event.violation for event in kit.events if isinstance(event, LifecycleViolated)] == [
            Violation.OVERFLOW
        ] * 2
        assert kit.numbers()["received_calls"] == 1
        assert kit.tracker.usage().in_use == 1
        first.finish(EndReason.ERROR)
        assert kit.tracker.received("rtc_2", "acme").accepted()


def test_an_announced_call_is_one_trace_from_its_announcement_on(kit: TelemetryKit) -> None:
    """What is done to find the tenant belongs to the call's trace; nothing is counted before the call is received."""
    announced = kit.tracker.announced("rtc_1", at=kit.clock.now())
    with kit.tracker.phase(announced, Phase.TENANT_LOOKUP):
        kit.clock.advance(1)
    assert kit.metrics() == {}
    call = kit.tracker.received("rtc_1", "acme", at=kit.clock.now())
    call.finish(EndReason.ERROR)
    (root,) = kit.spans()
    assert root.attributes["tenant.id"] == "acme"
    assert [child.name for child in root.children] == ["tenant_lookup"]
    assert root.seconds == 1


def test_what_was_over_before_an_announcement_is_in_its_trace(kit: TelemetryKit) -> None:
    """The delivery of an announcement is a phase like any other, told of when it is over."""
    began = kit.clock.now()
    announced = kit.tracker.announced("rtc_1", at=began)
    kit.clock.advance(2)
    kit.tracker.passed(announced, Phase.WEBHOOK, began)
    kit.tracker.received("rtc_1", "acme", at=began).finish(EndReason.ERROR)
    (delivery,) = kit.spans()[0].children
    assert (delivery.name, delivery.seconds) == ("webhook", 2)
    record = kit.recent.call("rtc_1")
    assert record is not None
    assert [(row.phase, row.start, row.end) for row in record.phases] == [(Phase.WEBHOOK, 0, 2)]


def test_announcing_a_known_call_opens_no_second_trace(kit: TelemetryKit) -> None:
    """A late delivery of a call that is over, or under way, leaves no trace open for ever."""
    for finished in (False, True):
        call = kit.tracker.received("rtc_1", "acme")
        if finished:
            call.finish(EndReason.ERROR)
        kit.tracker.announced("rtc_1", at=kit.clock.now())
        kit.tracker.received("rtc_1", "acme")
    assert kit.traces.open_calls == 0
    assert len(kit.spans()) == 1


def test_an_announced_call_the_tracker_has_no_room_for_ends_its_trace() -> None:
    """The trace of a call that is announced and then refused for want of room ends there, and says so."""
    with TelemetryKit(max_open=1) as kit:
        kit.tracker.received("rtc_1", "acme")
        kit.tracker.announced("rtc_2", at=kit.clock.now())
        kit.tracker.received("rtc_2", "acme")
        assert kit.traces.open_calls == 1
        (refused,) = kit.spans()
        assert refused.failed
        assert refused.attributes["error.type"] == "overflow"


def test_open_calls_are_told_oldest_first(kit: TelemetryKit) -> None:
    """Every call that is not over is listed, in the order they were announced."""
    for name in ("a", "b", "c"):
        kit.clock.advance(1)
        kit.tracker.received(name, "acme")
    kit.tracker.received("first", "acme", at=Instant(0.5, 0))
    kit.tracker.call("b").finish(EndReason.ERROR)
    assert [snapshot.call_id for snapshot in kit.tracker.open_calls()] == ["first", "a", "c"]


def test_usage_follows_every_state(kit: TelemetryKit) -> None:
    """Slots are held from received to the end, as pending and then as active, per tenant and in total."""
    call = kit.tracker.received("rtc_1", "acme")
    kit.tracker.received("rtc_2", "globex")
    assert (kit.tracker.usage().pending, kit.tracker.usage().active) == (2, 0)
    call.accepted()
    call.started()
    assert (kit.tracker.usage().pending, kit.tracker.usage().active) == (1, 1)
    usages = kit.tracker.tenant_usage()
    assert {tenant: (usage.pending, usage.active) for tenant, usage in usages.items()} == {
        "acme": (0, 1),
        "globex": (1, 0),
    }
    call.ended(EndReason.COMPLETED)
    assert kit.tracker.usage().in_use == 1
    assert kit.tracker.usage().peak_in_use >= 1


def test_tenants_without_calls_are_forgotten_by_the_sweeper(kit: TelemetryKit) -> None:
    """A tenant that has held no slot for five minutes costs no memory any more."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.finish(EndReason.ERROR)
    assert list(kit.tracker.tenant_usage()) == ["acme"]
    kit.clock.advance(400)
    kit.tracker.sweep(60)
    assert kit.tracker.tenant_usage() == {}
    assert kit.tracker._tenants == {}


def test_a_transition_is_activity_too(kit: TelemetryKit) -> None:
    """A call that moved on lately is not swept, though nothing else was reported of it."""
    call = kit.tracker.received("rtc_1", "acme")
    kit.clock.advance(50)
    call.accepted()
    kit.clock.advance(50)
    assert kit.tracker.sweep(60) == []
    call.started()
    assert call.last_seen == kit.clock.now()


def test_the_sweeper_ends_calls_in_every_state(kit: TelemetryKit) -> None:
    """Silent for too long, a pending call is rejected, an accepted one abandoned, a running one ended as stale."""
    kit.tracker.received("pending", "acme")
    kit.tracker.received("accepted", "acme").accepted()
    running = kit.tracker.received("running", "acme")
    running.accepted()
    running.started()
    lively = kit.tracker.received("lively", "acme")
    kit.clock.advance(61)
    lively.seen()
    assert kit.tracker.sweep(60) == ["pending", "accepted", "running"]
    assert [kit.tracker.call(name).state for name in ("pending", "accepted", "running", "lively")] == [
        CallState.REJECTED,
        CallState.ABANDONED,
        CallState.ENDED,
        CallState.PENDING,
    ]
    assert kit.metrics()["voice.call.ended"] == {
        labels({"tenant.id": "acme", "voice.call.end.reason": "stale"} | ORIGIN): 1
    }


def test_the_oldest_silence_is_that_of_the_quietest_running_call(kit: TelemetryKit) -> None:
    """Only running calls are listened to; without one the silence is zero."""
    kit.tracker.received("pending", "acme")
    assert kit.tracker.oldest_silence() == 0
    for name in ("a", "b"):
        call = kit.tracker.received(name, "acme")
        call.accepted()
        call.started()
    kit.clock.advance(5)
    call.seen()
    kit.clock.advance(1)
    assert kit.tracker.oldest_silence() == 6


def test_webhook_deliveries_are_told(kit: TelemetryKit) -> None:
    """A delivery is an event without a call."""
    kit.tracker.webhook(WebhookOutcome.DEDUPED)
    assert kit.events == [WebhookReceived(kit.clock.now(), WebhookOutcome.DEDUPED)]


def test_a_tracker_needs_nothing_to_work() -> None:
    """Without sink, clock and scopes it keeps its registry by the machine's clocks and tells nobody."""
    tracker = CallTracker()
    call = tracker.received("rtc_1", "acme")
    with call.phase(Phase.ACCEPT):
        assert call.accepted()
    assert tracker.usage().pending == 1
    assert tracker.clock.now().monotonic > 0


def test_a_received_call_is_told_of_as_it_was_announced(kit: TelemetryKit) -> None:
    """Numbers, trace context and whether content is allowed reach the sinks."""
    kit.tracker.received("rtc_1", "acme", caller="+491", dialled="+1800", traceparent="00-x", content=True)
    (received,) = kit.events
    assert isinstance(received, CallReceived)
    assert (received.caller, received.dialled, received.traceparent, received.content) == (
        "+491",
        "+1800",
        "00-x",
        True,
    )


@pytest.mark.parametrize("state", list(CallState))
def test_terminal_states_hold_no_slot(state: CallState) -> None:
    """No state is both terminal and pending."""
    assert not (state.terminal and state.pending)


def test_a_call_taken_over_stands_where_the_other_process_left_it(kit: TelemetryKit) -> None:
    """Its handle goes on from there, is billed from the moment given, and a second take-over changes nothing."""
    since = kit.clock.now()
    kit.clock.advance(10)
    call = kit.tracker.taken_over("rtc_1", "acme", CallState.STARTED, since=since)
    assert call.state is CallState.STARTED
    assert kit.tracker.taken_over("rtc_1", "acme", CallState.PENDING).state is CallState.STARTED
    kit.clock.advance(5)
    call.ended(EndReason.HANGUP)
    assert kit.live("acme")["minutes_processed"] * 60 == 15
    numbers = kit.numbers("acme")
    assert (numbers["taken_over_calls"], numbers["received_calls"], numbers["lifecycle_violations"]) == (1, 1, 0)


@pytest.mark.parametrize("state", [state for state in CallState if state.terminal])
def test_a_call_that_is_over_cannot_be_taken_over(kit: TelemetryKit, state: CallState) -> None:
    """A state that nothing leads away from is refused by name, and nothing is counted."""
    with pytest.raises(ValueError, match=state.value):
        kit.tracker.taken_over("rtc_1", "acme", state)
    assert not kit.tracker.knows("rtc_1")


def test_a_call_that_is_only_observed_holds_no_slot(kit: TelemetryKit) -> None:
    """An observed call counts as pending and active like any other, but takes no place of its tenant's capacity."""
    call = kit.tracker.received("rtc_1", "acme", holds_slot=False)
    call.accepted()
    call.started()
    assert kit.tracker.usage(TenantId("acme")).in_use == 0
    assert kit.live("acme")["active_calls"] == 1
    assert [snapshot.holds_slot for snapshot in kit.tracker.open_calls()] == [False]
    call.ended(EndReason.HANGUP)
    assert kit.tracker.usage() == Usage(0, 0, 0)


def test_a_call_handed_over_gives_its_slot_back_and_takes_no_more(kit: TelemetryKit) -> None:
    """After a hand-over the call is over here: its slot is free, a second one is a duplicate, an end comes too late."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    assert call.handed_over()
    assert not call.handed_over()
    assert not kit.tracker.call("rtc_1").ended(EndReason.HANGUP)
    assert kit.tracker.usage(TenantId("acme")).in_use == 0
    violations = {dict(key)["voice.lifecycle.violation"] for key in kit.metrics()["voice.lifecycle.violations"]}
    assert violations == {"duplicate", "after_end"}
