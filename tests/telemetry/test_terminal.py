"""What a terminal is sent of text from outside."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.terminal import printable

HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "abc\u202egnp.exe",
    "\u2066isolated\u2069",
    "one\u2028two\u2029three",
    "over\rwritten",
    "back\x08\x08",
    "nul\x00",
    "half\ud800",
    "\U000e0041tag",
    "\ufeffmark",
    "a\nb",
    "a\tb",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    """Each such character is spelled out, and what is left can be encoded."""
    shown = printable(text)
    assert shown.isprintable()
    assert shown != text
    shown.encode()


def test_what_can_be_read_is_left_alone() -> None:
    """Letters of any script, accents, emoji and spaces are no danger."""
    for text in ("", "Acme & Söhne", "日本語 テスト", "مرحبا", "📞 call", "a b"):
        assert printable(text) == text


def test_lines_are_kept_where_lines_are_meant() -> None:
    """Line feeds stay, and nothing else does."""
    assert printable("a\nb\x1bc\rd", lines=True) == "a\nb\\u001bc\\u000dd"


@given(st.text())
def test_json_stays_json(text: str) -> None:
    """A JSON text means the same after it."""
    assert json.loads(printable(json.dumps({"name": text}, ensure_ascii=False))) == {"name": text}
