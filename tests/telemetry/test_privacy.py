"""Numbers on spans are masked, and hashed with a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.privacy import Privacy, mask_number
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
