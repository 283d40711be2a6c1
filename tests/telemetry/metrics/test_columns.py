"""Columns of numbers: what they say does not depend on how few bytes they take."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.metrics.columns import NOTHING, at, column, highest, minus, plus, stretch

NUMBERS = st.lists(st.sampled_from([0, 0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**40]), max_size=8)


def padded(values: list[int], length: int) -> list[int]:
    return values + [0] * (length - len(values))


@given(NUMBERS, NUMBERS)
def test_columns_add_subtract_and_compare_as_lists_do(one: list[int], other: list[int]) -> None:
    """Sums, differences and maxima are those of the numbers, however long and wide the columns are."""
    length = max(len(one), len(other))
    left, right = padded(one, length), padded(other, length)
    both = plus(column(one), column(other))
    assert [at(both, place) for place in range(length)] == [a + b for a, b in zip(left, right, strict=True)]
    rest = minus(both, column(other))
    assert [at(rest, place) for place in range(length)] == left
    most = highest(column(one), column(other))
    assert [at(most, place) for place in range(length)] == [max(pair) for pair in zip(left, right, strict=True)]


@given(NUMBERS, st.integers(0, 12), st.integers(0, 12))
def test_a_stretch_is_zeros_beyond_the_end(values: list[int], first: int, count: int) -> None:
    """A column goes on with zeros for ever."""
    assert list(stretch(column(values), first, count)) == padded(values, 30)[first : first + count]


def test_small_numbers_take_little_room_and_zeros_none() -> None:
    """A byte each up to 255, and nothing at all if there is nothing to say."""
    assert column([0, 0, 0]) is NOTHING
    assert [column([0, most]).itemsize for most in (255, 65_535, 2**32 - 1, 2**40)] == [1, 2, 4, 8]
