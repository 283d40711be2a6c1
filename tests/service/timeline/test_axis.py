"""Marks on an axis of time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.timeline.svg import tick_label, ticks


@given(st.floats(0.001, 500_000))
def test_marks_are_few_even_and_inside(end: float) -> None:
    """Whatever the length, there are two to eight marks from 0 on, equally far apart and not past the end."""
    marks = ticks(end)
    assert 2 <= len(marks) <= 8
    assert marks[0] == 0
    assert marks[-1] <= end * 1.0000001
    gaps = [later - earlier for earlier, later in pairwise(marks)]
    assert max(gaps) == pytest.approx(min(gaps))


@given(st.floats(0.001, 500_000))
def test_no_two_marks_have_the_same_name(end: float) -> None:
    """The marks of one axis can be told apart."""
    names = [tick_label(mark, end) for mark in ticks(end)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("seconds", "end", "name"),
    [
        (0.0005, 0.004, "0.5 ms"),
        (0.02, 0.1, "20 ms"),
        (2.5, 10, "2.5 s"),
        (30, 50, "30 s"),
        (21.61071, 50, "21.61 s"),
        (90, 600, "1:30"),
        (3725, 7200, "1:02:05"),
    ],
)
def test_marks_are_named_as_the_axis_needs(seconds: float, end: float, name: str) -> None:
    """Short axes count milliseconds or seconds, long ones minutes or hours."""
    assert tick_label(seconds, end) == name
