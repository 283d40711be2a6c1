"""Cursors: one form for every list, and nothing else is taken for one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import FiniteFloat, TypeAdapter

from service.http.parameters import InvalidCursorError, Position, cursor_in_query, read_cursor, write_cursor
from service.http.problems import ProblemError

PLACE = TypeAdapter(tuple[Position, str])
FIGURE = TypeAdapter(tuple[str, FiniteFloat | None])


@given(st.integers(0, 2**53 - 1), st.text())
def test_a_place_survives_the_round_trip(number: int, name: str) -> None:
    """What is written into a cursor is read out of it, and it is fit for a URL as it is."""
    cursor = write_cursor((number, name))
    assert read_cursor(cursor, PLACE) == (number, name)
    assert base64.urlsafe_b64encode(base64.urlsafe_b64decode(cursor + "==")).decode().rstrip("=") == cursor


@given(st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_figure_survives_too(name: str, value: float | None) -> None:
    """Numbers come back as they were, and so does that there is none."""
    assert read_cursor(write_cursor((name, value)), FIGURE) == (name, value)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "%",
        "a",
        "bm8",
        "ключ",
        "\ud800",
        *map(
            encoded,
            [
                "[1,2]",
                "[]",
                '[1.5,"a"]',
                '["1","a"]',
                '[true,"a"]',
                '[-1,"a"]',
                '[9007199254740992,"a"]',
                '[null,"a"]',
                '[1,"a",2]',
                '{"a":1}',
                '[1,"\\ud800"]',
                "[" * 10_000,
                "[1e400,1]",
            ],
        ),
    ],
)
def test_no_other_text_is_a_cursor(cursor: str) -> None:
    """What is no place in the list is refused, not guessed at; the problem names the parameter."""
    with pytest.raises(InvalidCursorError):
        read_cursor(cursor, PLACE)
    with pytest.raises(ProblemError) as refused:
        cursor_in_query(cursor, PLACE)
    assert [problem.field for problem in refused.value.errors] == ["query.cursor"]


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    """Nothing else than a refusal comes of it."""
    try:
        number, name = read_cursor(text, PLACE)
    except InvalidCursorError:
        return
    assert (number >= 0, isinstance(name, str)) == (True, True)
