"""Slots held, and the most of the last five minutes."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.calls.slots import PEAK_WINDOW_SECONDS, SlotCounter
from telemetry.clock import Instant


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def test_a_peak_is_remembered_for_five_minutes() -> None:
    """The most slots held at once is told until five minutes have passed since it was so."""
    slots = SlotCounter()
    for _ in range(3):
        slots.count(at(10), pending=1, active=0)
    for _ in range(2):
        slots.count(at(12), pending=-1, active=0)
    assert slots.usage(at(20)).in_use == 1
    assert slots.usage(at(20)).peak_in_use == 3
    assert slots.usage(at(12 + PEAK_WINDOW_SECONDS)).peak_in_use == 3
    assert slots.usage(at(20 + PEAK_WINDOW_SECONDS)).peak_in_use == 1


def test_slots_held_all_along_are_a_peak_too() -> None:
    """Slots taken long ago and held since count in the peak, also just after they were given back."""
    slots = SlotCounter()
    slots.count(at(0), pending=0, active=5)
    assert slots.usage(at(10_000)).peak_in_use == 5
    slots.count(at(10_001), pending=0, active=-4)
    assert slots.usage(at(10_002)).peak_in_use == 5
    assert slots.usage(at(10_002)).active == 1


def test_a_call_that_finds_no_room_is_no_peak() -> None:
    """However many calls wait at once to be turned away, the peak is that of those let in."""
    slots = SlotCounter()
    for _ in range(3):
        slots.count(at(0), pending=1, active=0, undecided=1)
    assert (slots.usage(at(0)).in_use, slots.usage(at(0)).peak_in_use) == (3, 0)
    slots.count(at(1), pending=0, active=0, undecided=-1)
    assert slots.usage(at(1)).peak_in_use == 1
    for _ in range(2):
        slots.count(at(1), pending=-1, active=0, undecided=-1)
    slots.count(at(2), pending=-1, active=0)
    assert (slots.usage(at(2)).in_use, slots.usage(at(2)).peak_in_use) == (0, 1)


@given(st.lists(st.tuples(st.floats(0, 60), st.integers(-3, 3)), max_size=200))
def test_the_peak_covers_the_window_and_little_more(changes: list[tuple[float, int]]) -> None:
    """The peak is at least the most of the last five minutes, and at most that of one step more; memory is bounded."""
    slots, now, held = SlotCounter(), 0.0, 0
    history: list[tuple[float, int]] = [(0.0, 0)]
    for passed, change in changes:
        now += passed
        held = max(0, held + change)
        slots.count(at(now), pending=held - history[-1][1], active=0)
        history.append((now, held))
    peak = slots.usage(at(now)).peak_in_use
    assert most(history, now - PEAK_WINDOW_SECONDS) <= peak <= most(history, now - PEAK_WINDOW_SECONDS - 5)
    assert len(slots._past) <= 62


def most(history: list[tuple[float, int]], since: float) -> int:
    """The most slots held at any moment from then on: what was held when the window began counts."""
    before = [held for moment, held in history if moment < since]
    return max([held for moment, held in history if moment >= since] + before[-1:])
