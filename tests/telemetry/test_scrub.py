"""What others write is cleaned before it leaves or is shown."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.privacy import flat_attributes, scrub_attributes, scrub_stacktrace, scrub_text, scrub_url, scrub_value
from telemetry.semconv.attributes import CONVENTION_ATTRIBUTES, WITHHELD


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("call from +49 151 12345678 failed", "call from …5678 failed"),
        ("+33612345678,+18005550100", "…5678,…0100"),
        ("+1 (800) 555-0100", "…0100"),
        ("<sip:+14155550123@carrier.example;user=phone>", "<sip:…0123@carrier.example;user=phone>"),
        ("sip:alice@example.com", "sip:…@example.com"),
        ("sips:4915112345678@example.com>", "sips:…5678@example.com>"),
        ("tel:2125550123", "tel:…0123"),
        ("nothing personal: 12345 rtc_u1_62d9", "nothing personal: 12345 rtc_u1_62d9"),
        ("2026-11-23T10:43:44+00:00", "2026-11-23T10:43:44+00:00"),
        ("1+1", "1+1"),
    ],
)
def test_numbers_and_sip_users_are_masked(text: str, cleaned: str) -> None:
    """Telephone numbers however they are written, and the users of SIP addresses, lose all but four digits."""
    assert scrub_text(text) == cleaned


@given(st.text(), st.from_regex(r"\+[1-9][0-9]{8,14}", fullmatch=True), st.text())
def test_a_number_is_found_in_any_text(before: str, number: str, after: str) -> None:
    """Whatever stands around it, no E.164 number is left whole."""
    assert number not in scrub_text(f"{before} {number} {after}")


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://user:pass@host:8443/a/b?token=x#y", "https://host:8443/a/b"),
        ("wss://host/calls/rtc_1?secret=s", "wss://host/calls/rtc_1"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://[broken/x?secret", ""),
        ("https://host/callers/+4915112345678", "https://host/callers/…5678"),
    ],
)
def test_addresses_lose_who_asks_and_what_for(url: str, cleaned: str) -> None:
    """Of an address there remains where, not who and not what was asked."""
    assert scrub_url(url) == cleaned


def test_a_stacktrace_keeps_its_places_only() -> None:
    """The files, lines and functions stay; messages, source lines and what a message pretends to be do not."""
    hostile = 'File "secret", line 1, in +4915112345678'
    try:
        try:
            dict[str, str]()["secret key"]
        except KeyError as error:
            raise ValueError(f"secret\n  {hostile}") from error
    except ValueError:
        written = traceback.format_exc()
    cleaned = scrub_stacktrace(written)
    assert "test_scrub.py" in cleaned
    assert "secret" not in cleaned
    assert "4915112345678" not in cleaned


def test_withheld_attributes_are_left_out() -> None:
    """What the vocabulary calls withheld is gone, on every level."""
    dirty: dict[str, object] = dict.fromkeys(WITHHELD, "secret") | {"http.route": "/x", "none": None}
    assert scrub_attributes(dirty | {"nested": dict(dirty)}) == {
        "http.route": "/x",
        "nested": {"http.route": "/x", "none": None},
    }


def test_every_personal_convention_is_withheld() -> None:
    """An attribute that could only be shown as it is, and is personal, is one of those withheld."""
    assert {"url.query", "exception.message", "client.address", "db.query.text", "user_agent.original"} <= WITHHELD
    assert len({a.key for a in CONVENTION_ATTRIBUTES}) == len(CONVENTION_ATTRIBUTES)


def test_values_of_any_shape_are_cleaned() -> None:
    """Sequences, mappings and other objects are cleaned inside; numbers stay; bytes go."""
    number = "+4915112345678"
    assert scrub_value([number, 1, True, {number: number}]) == ["…5678", 1, True, {number: "…5678"}]
    assert scrub_value((number, b"+4915112345678")) == ["…5678", None]
    assert scrub_value(ValueError(number)) == "…5678"
    assert scrub_attributes({"raw": b"secret", "n": 1.5}) == {"n": 1.5}


def test_what_is_nested_too_deep_is_left_out() -> None:
    """A value nested without end is cut, not followed."""
    deep: list[object] = []
    deep.append(deep)
    assert str(scrub_value(deep)).count("[") == 8


@given(st.dictionaries(st.text(), st.recursive(st.text() | st.integers(), st.lists, max_leaves=20), max_size=10))
def test_flat_attributes_are_in_one_piece(attributes: dict[str, object]) -> None:
    """For the record every value becomes a number or a text."""
    assert all(isinstance(value, str | int | float | bool) for value in flat_attributes(attributes).values())
