"""Measures of a conversation without its content, by hand-worked examples and against a count second by second."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.calls.call import Call
from telemetry.calls.events import AgentInterrupted, DeadAir, TalkedOver, TalkMeasured
from telemetry.recent.record import CallDetails
from telemetry.semconv.attributes import EndReason, Stage
from telemetry.testing import TelemetryKit, labels


@pytest.fixture
def call(kit: TelemetryKit) -> Call:
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    return call


def details(kit: TelemetryKit) -> CallDetails:
    found = kit.recent.call("rtc_1")
    assert found is not None
    return found


def say(kit: TelemetryKit, start: Callable[[], None], stop: Callable[[], None], seconds: float) -> None:
    start()
    kit.clock.advance(seconds)
    stop()


def test_silence_counts_from_the_first_word_and_from_three_seconds(kit: TelemetryKit, call: Call) -> None:
    """The wait for the first word is none of it, a shorter pause neither; the silence before the end is."""
    kit.clock.advance(20)
    say(kit, call.agent_started_speaking, call.agent_stopped_speaking, 2)
    kit.clock.advance(2.875)
    say(kit, call.caller_started_speaking, call.caller_stopped_speaking, 1)
    kit.clock.advance(3)
    say(kit, call.agent_started_speaking, call.agent_stopped_speaking, 1)
    kit.clock.advance(7)
    call.ended(EndReason.HANGUP)
    assert [event.seconds for event in kit.events if isinstance(event, DeadAir)] == [3.0, 7.0]
    assert kit.metrics()["voice.conversation.dead_air"] == {labels({"tenant.id": "acme"}): (2, 10.0)}
    found = details(kit)
    assert [(row.start, row.end) for row in found.dead_airs] == [
        (25.875, 28.875),
        (29.875, 36.875),
    ]
    assert found.talk is not None
    assert (found.talk.dead_airs, found.talk.dead_air_seconds) == (2, 10.0)
    assert found.summary.longest_silence == 20.0


def test_talk_over_and_interruptions_say_whose(kit: TelemetryKit, call: Call) -> None:
    """Who begins into the other's speech interrupts; both at once is talk-over, however it began."""
    call.agent_started_speaking()
    kit.clock.advance(2)
    call.caller_started_speaking()
    kit.clock.advance(0.5)
    call.agent_stopped_speaking(interrupted=True)
    kit.clock.advance(1)
    call.agent_started_speaking()
    kit.clock.advance(0.25)
    call.caller_stopped_speaking()
    kit.clock.advance(1)
    call.agent_stopped_speaking()
    call.ended(EndReason.COMPLETED)
    assert [event.seconds for event in kit.events if isinstance(event, TalkedOver)] == [0.5, 0.25]
    assert sum(isinstance(event, AgentInterrupted) for event in kit.events) == 1
    assert kit.metrics()["voice.turn.interruptions"] == {
        labels({"tenant.id": "acme", "voice.speaker": speaker}): 1 for speaker in ("caller", "agent")
    }
    found = details(kit)
    assert (found.summary.interruptions, found.summary.talked_over) == (1, 1)
    assert found.talk is not None
    assert found.talk.talk_over_seconds == 0.75
    shares = kit.metrics()["voice.call.talk.share"]
    assert shares[labels({"tenant.id": "acme", "voice.speaker": "caller"})] == (1, 1.75 / 4.75)
    assert shares[labels({"tenant.id": "acme", "voice.speaker": "agent"})] == (1, 3.75 / 4.75)


def test_of_a_call_without_reported_speech_nothing_is_measured(kit: TelemetryKit, call: Call) -> None:
    """Unknown is not zero: no sums, no shares, no silence."""
    kit.clock.advance(60)
    call.ended(EndReason.HANGUP)
    assert not any(isinstance(event, TalkMeasured | DeadAir) for event in kit.events)
    assert details(kit).talk is None
    assert details(kit).summary.longest_silence == 60.0


def test_a_stale_call_is_not_silent_after_its_last_activity(kit: TelemetryKit, call: Call) -> None:
    """Nothing is known of the time in which nothing was reported: it is no dead air."""
    say(kit, call.caller_started_speaking, call.caller_stopped_speaking, 1)
    kit.clock.advance(300)
    assert kit.tracker.sweep(120) == ["rtc_1"]
    assert not any(isinstance(event, DeadAir) for event in kit.events)


def test_stages_count_where_a_source_tells_them(kit: TelemetryKit, call: Call) -> None:
    """Each stage is a series of its own, among the few that there are."""
    for stage in Stage:
        call.stage_waited(stage, 0.25)
    assert kit.metrics()["voice.turn.stage.duration"] == {
        labels({"tenant.id": "acme", "voice.turn.stage": stage.value}): (1, 0.25) for stage in Stage
    }


REPORTS = st.lists(st.tuples(st.sampled_from(["c+", "c-", "a+", "a-"]), st.integers(0, 6)), max_size=40)


@settings(max_examples=200)
@given(REPORTS)
def test_the_sums_are_those_of_a_count_second_by_second(script: list[tuple[str, int]]) -> None:
    """Who speaks in each second, counted one after the other, adds up to what was measured."""
    seconds: list[tuple[bool, bool]] = []
    speaking = {"c": False, "a": False}
    with TelemetryKit() as kit:
        call = kit.tracker.received("rtc_1", "acme")
        call.accepted()
        call.started()
        reports: dict[str, Callable[[], None]] = {
            "c+": call.caller_started_speaking,
            "c-": call.caller_stopped_speaking,
            "a+": call.agent_started_speaking,
            "a-": call.agent_stopped_speaking,
        }
        heard, words = False, list[int]()
        for what, pause in script:
            reports[what]()
            # A word ends a silence even where it lasts for no time at all.
            if what[1] == "+" and not any(speaking.values()):
                words.append(len(seconds))
            speaking[what[0]] = what[1] == "+"
            heard = heard or what[1] == "+"
            kit.clock.advance(pause)
            seconds += [(speaking["c"], speaking["a"])] * (pause if heard else 0)
        call.ended(EndReason.HANGUP)
        measured = [event for event in kit.events if isinstance(event, TalkMeasured)]
        assert bool(measured) == heard
        if heard:
            (sums,) = measured
            assert sums.seconds == len(seconds)
            assert sums.caller_seconds == sum(caller for caller, _ in seconds)
            assert sums.agent_seconds == sum(agent for _, agent in seconds)
            assert sums.talk_over_seconds == sum(caller and agent for caller, agent in seconds)
            marks = ["x" if any(second) else "." for second in seconds]
            for word in reversed(words):
                marks.insert(word, "x")
            silences = "".join(marks).split("x")
            long = [len(silence) for silence in silences if len(silence) >= 3]
            assert (sums.dead_air_seconds, sums.dead_airs) == (sum(long), len(long))
