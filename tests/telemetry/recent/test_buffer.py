"""Lists that keep their beginning and their end."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.recent.retained import HeadTailBuffer


@dataclass(frozen=True)
class Number:
    value: int
    weight: int = 1


def filled(head: int, tail: int, count: int) -> HeadTailBuffer[Number]:
    buffer: HeadTailBuffer[Number] = HeadTailBuffer(head, tail)
    for value in range(count):
        buffer.add(Number(value))
    return buffer


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 40))
def test_the_first_and_the_last_stay_and_the_rest_is_counted(head: int, tail: int, count: int) -> None:
    """However many rows come, the first and last ones are kept in order and every other one is counted."""
    buffer = filled(head, tail, count)
    kept = [row.value for row in buffer]
    values = list(range(count))
    assert kept == (values if count <= head + tail else values[:head] + values[-tail:])
    assert len(kept) + buffer.dropped == count


@given(st.lists(st.integers(1, 1000), max_size=30))
def test_growth_adds_up_to_what_is_kept(weights: list[int]) -> None:
    """The sum of all answers is the weight of the rows that are there."""
    buffer: HeadTailBuffer[Number] = HeadTailBuffer(3, 4)
    grown = sum(buffer.add(Number(value, weight)) for value, weight in enumerate(weights))
    assert grown == sum(row.weight for row in buffer)


def test_the_gap_lies_between_head_and_tail() -> None:
    """What was left out lies between the last of the first rows and the first of the last ones."""
    assert filled(2, 2, 4).gap is None
    before, after = filled(2, 2, 9).gap or (None, None)
    assert (before, after) == (Number(1), Number(7))


def test_refused_rows_are_a_gap_that_reaches_to_now() -> None:
    """A row that is refused is counted and leaves a gap with nothing behind it."""
    buffer = filled(2, 2, 1)
    buffer.refuse()
    assert (buffer.dropped, buffer.gap) == (1, (Number(0), None))


@pytest.mark.parametrize(("head", "tail"), [(0, 1), (1, 0), (-1, 5)])
def test_a_buffer_of_nothing_is_refused(head: int, tail: int) -> None:
    """A buffer without a head or without a tail is refused with its numbers."""
    with pytest.raises(ValueError, match="head and tail must be at least 1"):
        HeadTailBuffer(head, tail)
