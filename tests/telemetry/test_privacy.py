"""Numbers on spans are masked, and hashed with a key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.privacy import Privacy, mask_dictated, mask_number, scrub_attributes
from telemetry.semconv import attributes as attr

KEY = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("number", "shown"),
    [("+4915112345678", "…5678"), ("+1 (800) 555-0100", "…0100"), ("911", "…"), ("+1234", "…"), ("", "…")],
)
def test_only_the_last_four_digits_are_shown(number: str, shown: str) -> None:
    """A number shows its last four digits, a short one none."""
    assert mask_number(number) == shown


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_what_is_described_does_not_contain_the_number(number: str) -> None:
    """Neither the mask nor the hash gives away more than the last four digits."""
    shown = Privacy(KEY).describe(number, number)
    masked = "…" + number[-4:]
    assert (shown[attr.CALLER], shown[attr.DIALLED]) == (masked, masked)
    assert shown == Privacy(KEY).describe(number, "0" + number)
    assert set(shown) == {attr.CALLER, attr.CALLER_HASH, attr.DIALLED}


def test_hashes_join_calls_only_under_one_key() -> None:
    """The same number hashes alike under one key, differently under another, and keys are random by default."""
    number = "+4915112345678"
    assert Privacy(KEY).hash_number(number) == Privacy(KEY).hash_number(number)
    hashes = {Privacy(KEY).hash_number(number), Privacy(KEY[::-1]).hash_number(number), Privacy().hash_number(number)}
    assert len(hashes) == 3
    assert all(len(found) == 16 for found in hashes)


def test_a_withheld_number_is_not_described() -> None:
    """An anonymous call has nothing to describe; a dialled number alone is masked."""
    assert Privacy(KEY).describe(None, None) == {}
    assert Privacy(KEY).describe(None, "+18005550100") == {"voice.dialled.number": "…0100"}


@pytest.mark.parametrize("key", [b"", b"short"])
def test_a_key_that_protects_nothing_is_refused(key: bytes) -> None:
    """A key short enough to be tried out is refused, and not quoted."""
    with pytest.raises(ValueError, match=f"needs at least 16 bytes, not {len(key)}") as refused:
        Privacy(key)
    assert "short" not in str(refused.value)
    assert KEY.decode() not in repr(Privacy(KEY))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It is 555 0100, thanks.", "It is …0100, thanks."),
        ("Call 555-0100.", "Call …0100."),
        ("Oh one seven six, 12 34 56 78.", "…5678."),
        ("five five five, zero one double zero", "…0100"),
        ("4, 9, 3, 0, 1, 2", "…3012"),
        ("(800) 555.0100 please", "(…0100 please"),
        ("\u0665\u0665\u0665 \u0660\u0661\u0660\u0660", "…\u0660\u0661\u0660\u0660"),
        ('{"phone":"0612345678","target":"desk"}', '{"phone":"…5678","target":"desk"}'),
        ("+49 30 12345678 or sip:ann@pbx.example", "…5678 or sip:…@pbx.example"),
    ],
)
def test_a_dictated_number_is_masked_however_it_is_said(said: str, shown: str) -> None:
    """In groups, with separators, digit by digit, in words: what could be called shows its last four digits."""
    assert mask_dictated(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        "Table for four at 8, on the 29th.",
        "Order 12345 has two parts.",
        '{"utc": "2026-11-29T01:02:03+00:00"}',
        "One moment, oh dear.",
        "Flight LH400123456 it is",
    ],
)
def test_what_is_no_number_stays(said: str) -> None:
    """Amounts, dates, short numbers and single words are left alone."""
    assert mask_dictated(said) == said


@given(st.text(alphabet="0123456789 -.,()", max_size=40))
def test_no_run_of_dictated_digits_survives(said: str) -> None:
    """Whatever separates them, no more than five digits follow each other in what is left."""
    runs = re.split(r"[^0-9\s.,()\-]|[\s.,()\-]{4,}", mask_dictated(said).replace("…", "x"))
    assert all(sum(map(str.isdigit, run)) < 6 for run in runs if not re.fullmatch(r"\d{4}-\d\d-\d\d.*", run.strip()))


def test_an_address_loses_its_user_and_query_and_other_text_is_no_address() -> None:
    """Only the attribute of the conventions holds an address: a sentence with a question mark in it stays whole."""
    text = "https://user:password@example.com/path?token=secret#part"
    assert scrub_attributes({attr.URL_FULL: text, "note": text}) == {
        attr.URL_FULL: "https://example.com/path",
        "note": text,
    }
