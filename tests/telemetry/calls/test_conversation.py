"""Turns, latencies and interruptions, derived from who starts and stops speaking."""

from collections.abc import Callable, Iterable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from telemetry.calls.conversation import Conversation
from telemetry.calls.events import (
    CallRef,
    Event,
    FirstAudio,
    SpeechEnded,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.clock import Instant
from telemetry.semconv.attributes import CallId, Speaker, TenantId, TurnEnd

REF = CallRef(CallId("rtc_1"), TenantId("acme"))


def at(seconds: float) -> Instant:
    return Instant(seconds, round(seconds * 1e9))


class Script:
    """A conversation as a line of text: `C3 c5 A7 a9` is caller 3 to 5 s, agent 7 to 9 s; `!` cuts the agent short."""

    def __init__(self, text: str, end: float | None = None) -> None:
        self.events: list[Event] = []
        self.conversation = Conversation(REF, at(0))
        for word in text.split():
            self.events += self._say(word[0], at(float(word[1:])))
        if end is not None:
            self.events += self.conversation.ended(at(end))

    def _say(self, who: str, moment: Instant) -> Iterable[Event]:
        says: dict[str, Callable[[Instant], list[Event]]] = {
            "C": self.conversation.caller_started,
            "c": self.conversation.caller_stopped,
            "A": self.conversation.agent_started,
            "a": self.conversation.agent_stopped,
            "!": partial(self.conversation.agent_stopped, interrupted=True),
        }
        return says[who](moment)

    @property
    def answers(self) -> list[tuple[int, float]]:
        return [(event.number, event.seconds) for event in self.events if isinstance(event, TurnAnswered)]

    @property
    def interruptions(self) -> list[int]:
        return [event.number for event in self.events if isinstance(event, TurnInterrupted)]

    @property
    def turns(self) -> list[tuple[int, float, float, TurnEnd]]:
        return [
            (event.number, event.started.monotonic, event.at.monotonic, event.reason)
            for event in self.events
            if isinstance(event, TurnEnded)
        ]

    @property
    def speech(self) -> list[tuple[Speaker, float, float]]:
        return [
            (event.speaker, event.started.monotonic, event.at.monotonic)
            for event in self.events
            if isinstance(event, SpeechEnded)
        ]

    @property
    def first_audio(self) -> list[float]:
        return [event.seconds for event in self.events if isinstance(event, FirstAudio)]


def test_a_turns_latency_runs_from_the_callers_last_word_to_the_answers_first() -> None:
    """Each answer is timed from the end of the caller's speech, and belongs to that turn."""
    script = Script("A2 a4 C5 c8 A9.5 a12 C13 c14 A14.25 a20", end=21)
    assert script.answers == [(1, 1.5), (2, 0.25)]
    assert script.turns == [(1, 5, 13, TurnEnd.COMPLETED), (2, 13, 21, TurnEnd.CALL_ENDED)]
    assert script.conversation.turns == 2


def test_the_caller_hears_the_agent_for_the_first_time_once() -> None:
    """The wait for first audio runs from the call's announcement and is told once, whoever speaks first."""
    assert Script("A2 a4 C5 c6 A7 a8").first_audio == [2]
    assert Script("C1 c2 A3.5 a4 A5 a6").first_audio == [3.5]
    assert Script("C1 c2").first_audio == []


def test_an_answer_of_several_responses_is_one_answer() -> None:
    """Where the agent speaks again after a tool's result, only the first audio after the caller's speech is timed."""
    script = Script("C1 c2 A3 a4 A9 a12 C13 c14 A15 a16")
    assert script.answers == [(1, 1.0), (2, 1.0)]
    assert [number for number, *_ in script.turns] == [1]


def test_an_answer_that_needs_a_silent_tool_first_waits_for_its_audio() -> None:
    """A response without audio leaves the caller waiting: the latency spans the tool and the next response."""
    assert Script("C1 c2 A8 a9").answers == [(1, 6.0)]


def test_an_interrupted_answer_belongs_to_the_turn_it_cut_short() -> None:
    """Spoken into, a turn stays open until its answer stops, and ends as interrupted; the next is timed as ever."""
    script = Script("C1 c2 A3 C5 !5.5 c6 A7 a8", end=9)
    assert script.interruptions == [1]
    assert script.turns == [(1, 1, 5.5, TurnEnd.INTERRUPTED), (2, 5, 9, TurnEnd.CALL_ENDED)]
    assert script.answers == [(1, 1.0), (2, 1.0)]


def test_the_greeting_is_interrupted_as_turn_zero() -> None:
    """Nobody began the greeting: cut short it counts as turn 0, and no turn ends with it."""
    script = Script("A1 C2 !2.5 c3 A4 a5", end=6)
    assert script.interruptions == [0]
    assert script.turns == [(1, 2, 6, TurnEnd.CALL_ENDED)]


def test_speech_into_an_answer_that_goes_on_interrupts_nothing() -> None:
    """An aside of the caller's during an answer that plays to its end leaves that turn completed."""
    script = Script("C1 c2 A3 C4 c4.5 a8 A9 a10", end=11)
    assert script.interruptions == []
    assert script.turns == [(1, 1, 8, TurnEnd.COMPLETED), (2, 4, 11, TurnEnd.CALL_ENDED)]
    assert script.answers == [(1, 1.0), (2, 1.0)], "nobody waits while the agent speaks"


def test_speaking_twice_into_one_answer_cuts_the_turn_it_belongs_to() -> None:
    """However often the caller speaks into an answer, its interruption belongs to the turn that is answered."""
    script = Script("C1 c2 A3 C4 c4.5 C5 !6 c7", end=8)
    assert script.interruptions == [1]
    assert script.turns == [
        (2, 4, 5, TurnEnd.COMPLETED),
        (1, 1, 6, TurnEnd.INTERRUPTED),
        (3, 5, 8, TurnEnd.CALL_ENDED),
    ]


def test_a_cut_reported_before_the_callers_speech_still_ends_the_turn_as_interrupted() -> None:
    """Where the carrier says first that the answer was cut, the turn counts as interrupted all the same."""
    script = Script("C1 c2 A3 !5 C5 c6", end=7)
    assert script.interruptions == [1]
    assert script.turns == [(1, 1, 5, TurnEnd.INTERRUPTED), (2, 5, 7, TurnEnd.CALL_ENDED)]


def test_a_pause_of_the_callers_begins_a_new_turn_without_answer() -> None:
    """A turn the caller takes up again before any answer has no latency; the last one has."""
    script = Script("C1 c2 C3 c4 A5 a6")
    assert script.answers == [(2, 1.0)]
    assert script.turns == [(1, 1, 3, TurnEnd.COMPLETED)]


def test_the_end_of_the_call_ends_speech_and_turns() -> None:
    """A call that ends while both speak ends both speeches and both turns, and says that it was the call that ended."""
    script = Script("C1 c2 A3 C4", end=5)
    assert script.speech == [(Speaker.CALLER, 1, 2), (Speaker.CALLER, 4, 5), (Speaker.AGENT, 3, 5)]
    assert script.turns == [(1, 1, 5, TurnEnd.CALL_ENDED), (2, 4, 5, TurnEnd.CALL_ENDED)]
    assert script.conversation.ended(at(6)) == []


def test_stops_without_starts_and_doubled_starts_say_nothing() -> None:
    """Late, missing and repeated reports neither invent speech nor end it."""
    assert Script("c1 a2 !3").events == []
    script = Script("C1 C2 c3 c4 A5 A6 a7 a8")
    assert script.speech == [(Speaker.CALLER, 1, 3), (Speaker.AGENT, 5, 7)]
    assert script.answers == [(1, 2.0)]


@given(st.lists(st.sampled_from("CcAa!"), max_size=40), st.booleans())
def test_any_order_of_reports_makes_a_conversation_that_adds_up(words: list[str], ends: bool) -> None:
    """Turns begin in order and end at most once, each answered at most once; at the end of the call all have ended."""
    text = " ".join(f"{word}{second}" for second, word in enumerate(words))
    script = Script(text, end=len(words) if ends else None)
    begun = [event.number for event in script.events if isinstance(event, TurnStarted)]
    over = [number for number, *_ in script.turns]
    assert begun == list(range(1, len(begun) + 1))
    assert len(set(over)) == len(over)
    assert set(over) <= set(begun)
    assert len(begun) - len(over) <= (0 if ends else 2)
    assert len({number for number, _ in script.answers}) == len(script.answers)
    assert all(seconds >= 0 for _, seconds in script.answers)
    assert all(start <= stop for _, start, stop in script.speech)
    cut = {number for number, _, _, reason in script.turns if reason is TurnEnd.INTERRUPTED}
    assert cut == set(script.interruptions) & set(over)


def test_out_of_sight_speech_and_the_turn_it_was_spoken_into_end() -> None:
    """When the session is out of sight, both parties' speech ends there, and the turn whose answer was playing."""
    conversation = Conversation(REF, at(0))
    conversation.caller_started(at(1))
    conversation.caller_stopped(at(2))
    conversation.agent_started(at(3))
    conversation.caller_started(at(4))
    events = conversation.unobserved(at(5))
    assert [event.speaker for event in events if isinstance(event, SpeechEnded)] == [Speaker.CALLER, Speaker.AGENT]
    assert [(event.number, event.reason) for event in events if isinstance(event, TurnEnded)] == [
        (1, TurnEnd.COMPLETED)
    ]
