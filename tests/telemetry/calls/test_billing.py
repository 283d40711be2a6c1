"""What a call lasted and what was billed of it: never twice, never beyond its last activity, never less."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.calls.call import Call
from telemetry.calls.events import CallEnded, CallHeartbeat
from telemetry.semconv.attributes import EndReason
from telemetry.testing import ORIGIN, TelemetryKit, labels


def running(kit: TelemetryKit, call_id: str = "rtc_1") -> Call:
    call = kit.tracker.received(call_id, "acme")
    assert call.accepted()
    assert call.started()
    return call


def billed(kit: TelemetryKit) -> float:
    return kit.numbers("acme")["minutes_processed"] * 60


def ending(kit: TelemetryKit) -> CallEnded:
    (ended,) = [event for event in kit.events if isinstance(event, CallEnded)]
    return ended


def test_time_grows_while_the_call_runs_and_adds_up_to_its_duration(kit: TelemetryKit) -> None:
    """Each heartbeat bills what has passed since the last; with the end it is exactly the duration."""
    call = running(kit)
    for heartbeat in range(1, 4):
        kit.clock.advance(5)
        call.heartbeat()
        assert billed(kit) == 5 * heartbeat
    kit.clock.advance(2.5)
    call.ended(EndReason.HANGUP)
    assert billed(kit) == 17.5
    assert ending(kit).duration_seconds == 17.5
    assert kit.metrics()["voice.call.duration"] == {
        labels({"tenant.id": "acme", "voice.call.end.reason": "hangup"} | ORIGIN): (1, 17.5)
    }


def test_time_before_the_start_and_after_the_end_is_not_billed(kit: TelemetryKit) -> None:
    """Only a started call is billed, from its start on and no more after its end."""
    call = kit.tracker.received("rtc_1", "acme")
    kit.clock.advance(10)
    call.heartbeat()
    call.accepted()
    call.heartbeat()
    kit.clock.advance(10)
    call.started()
    call.heartbeat()
    kit.clock.advance(3)
    call.ended(EndReason.COMPLETED)
    kit.clock.advance(3)
    call.heartbeat()
    assert billed(kit) == 3


def test_two_heartbeats_at_one_moment_bill_once(kit: TelemetryKit) -> None:
    """A repeated heartbeat bills nothing and makes no event."""
    call = running(kit)
    kit.clock.advance(5)
    call.heartbeat()
    call.heartbeat()
    assert billed(kit) == 5
    assert len([event for event in kit.events if isinstance(event, CallHeartbeat)]) == 1


def test_billing_goes_no_further_than_the_last_sign_of_life(kit: TelemetryKit) -> None:
    """The tracker bills every running call up to when its carrier was last heard, and not beyond."""
    call, silent = running(kit), running(kit, "rtc_2")
    kit.clock.advance(5)
    call.seen()
    kit.clock.advance(5)
    kit.tracker.bill_running()
    assert billed(kit) == 5
    call.seen()
    silent.caller_started_speaking()
    kit.tracker.bill_running()
    assert billed(kit) == 20


def test_many_calls_are_billed_in_parts(kit: TelemetryKit) -> None:
    """Between two parts an event loop may go on: a call that ends meanwhile is billed to its end, once, like any."""
    calls = [running(kit, f"rtc_{number}") for number in range(250)]
    kit.clock.advance(5)
    for call in calls:
        call.seen()
    parts = kit.tracker.billing()
    next(parts)
    assert billed(kit) == pytest.approx(500)
    kit.clock.advance(1)
    assert calls[-1].ended(EndReason.HANGUP)
    assert len(list(parts)) == 2
    assert billed(kit) == pytest.approx(249 * 5 + 6)


def test_a_stale_call_lasted_to_its_last_sign_of_life(kit: TelemetryKit) -> None:
    """The sweeper ends a silent call, and neither its duration nor its bill has the silence in it."""
    call = running(kit)
    kit.clock.advance(10)
    call.seen()
    kit.clock.advance(120)
    assert kit.tracker.sweep(120) == []
    kit.clock.advance(0.5)
    assert kit.tracker.sweep(120) == ["rtc_1"]
    assert ending(kit).reason is EndReason.STALE
    assert ending(kit).duration_seconds == 10
    assert billed(kit) == 10


def test_a_stale_call_that_was_never_heard_lasted_nothing(kit: TelemetryKit) -> None:
    """A call whose start was its last activity is billed nothing."""
    running(kit)
    kit.clock.advance(500)
    kit.tracker.sweep(1)
    assert ending(kit).duration_seconds == 0
    assert billed(kit) == 0


def test_a_late_report_of_an_earlier_moment_takes_no_life_away(kit: TelemetryKit) -> None:
    """Activity that is reported out of order leave the last one standing."""
    call = running(kit)
    early = kit.clock.advance(5)
    late = kit.clock.advance(5)
    call.seen(late)
    call.seen(early)
    call.heartbeat(early)
    assert call.last_seen == late
    kit.clock.advance(500)
    kit.tracker.sweep(60)
    assert billed(kit) == 10


def test_a_clock_gone_backwards_bills_nothing_negative(kit: TelemetryKit) -> None:
    """An end reported for before the start, or before what heartbeats said, never takes time back."""
    call = running(kit)
    kit.clock.advance(30)
    call.heartbeat()
    kit.clock.advance(-25)
    call.heartbeat()
    call.ended(EndReason.HANGUP)
    assert billed(kit) == 30
    assert ending(kit).duration_seconds == 30
    other = running(kit, "rtc_2")
    kit.clock.advance(-100)
    other.ended(EndReason.HANGUP)
    assert billed(kit) == 30


def test_setup_and_first_audio_are_never_negative(kit: TelemetryKit) -> None:
    """A clock gone backwards makes a wait of zero, not less."""
    call = kit.tracker.received("rtc_1", "acme")
    kit.clock.advance(-5)
    call.accepted()
    call.agent_started_speaking()
    metrics = kit.metrics()
    assert list(metrics["voice.call.setup.duration"].values()) == [(1, 0.0)]
    assert list(metrics["voice.call.time_to_first_audio"].values()) == [(1, 0.0)]


moves = st.lists(st.tuples(st.sampled_from(["heartbeat", "seen", "bill", "talk"]), st.integers(-40, 200)), max_size=30)


@settings(max_examples=60)
@given(moves, st.sampled_from([EndReason.HANGUP, EndReason.STALE]))
def test_heartbeats_and_the_end_add_up_to_the_duration(script: list[tuple[str, int]], reason: EndReason) -> None:
    """Whatever the clock does: what was billed on the way and at the end is the duration, and no part is negative."""
    with TelemetryKit() as kit:
        call = running(kit)
        report = {
            "heartbeat": call.heartbeat,
            "seen": call.seen,
            "bill": call.bill,
            "talk": call.caller_started_speaking,
        }
        for what, quarters in script:
            kit.clock.advance(quarters / 4)
            report[what]()
        call.ended(reason)
        heartbeats = [event.seconds for event in kit.events if isinstance(event, CallHeartbeat)]
        end = ending(kit)
        assert all(seconds > 0 for seconds in heartbeats)
        assert end.unbilled_seconds >= 0
        assert sum(heartbeats) + end.unbilled_seconds == end.duration_seconds
        assert billed(kit) == pytest.approx(end.duration_seconds)
        if reason is EndReason.STALE:
            assert end.duration_seconds <= call.last_seen.monotonic
