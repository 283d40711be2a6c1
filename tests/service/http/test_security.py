"""The admin tokens and the count of those who had none."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial

import pytest

from service.http.security import BURST, AdminAttempts, Refusal
from service.http.tokens import Access, AdminTokens, fingerprint


def test_every_configured_token_is_taken_and_no_other() -> None:
    """During a rotation the old and the new token both work; a part of one or both together do not."""
    tokens = AdminTokens.parse(" old , new ,, ")
    assert len(tokens) == 2
    assert [tokens.take(given) for given in (b"old", b"new")] == [True, True]
    assert not any(tokens.take(given) for given in (b"", b"ol", b"oldnew", b"old,new", b" old", "old\u0435".encode()))


def test_tokens_outside_ascii_are_compared_as_utf_8() -> None:
    """A token in another script is taken in its UTF-8 bytes, and arbitrary bytes are merely wrong."""
    tokens = AdminTokens(["ключ"])
    assert tokens.take("ключ".encode())
    assert not tokens.take(b"\xff\xfe\x00")


@pytest.mark.parametrize("token", ["", " padded ", "two\nlines", "nul\x00", "half\ud800"])
def test_a_token_no_header_could_carry_is_refused_at_start(token: str) -> None:
    """Such a token would lock everybody out; the error does not show it."""
    with pytest.raises(ValueError, match="printable") as refused:
        AdminTokens([token])
    assert not token or token not in str(refused.value)


def test_required_tokens_must_be_there() -> None:
    """Where a token is required, an empty list stops the start and names the key; elsewhere it is allowed."""
    with pytest.raises(ValueError, match="ADMIN_TOKEN"):
        AdminTokens.parse(" , ", required=True)
    assert len(AdminTokens.parse("")) == 0


def test_a_token_is_not_kept() -> None:
    """Nothing that prints or pickles the object's state can show a token."""
    assert "secret" not in repr(AdminTokens(["secret"])._known)


def test_attempts_are_counted_by_reason_from_any_thread() -> None:
    """No attempt is lost when many come at once."""
    attempts = AdminAttempts()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: attempts.count(Refusal.WRONG if n % 4 else Refusal.MISSING), range(400)))
    assert attempts.counts() == {Refusal.MISSING: 100, Refusal.WRONG: 300, Refusal.EXPIRED: 0, Refusal.BRAKED: 0}
    assert attempts.refused == 400


def test_a_fingerprint_tells_tokens_apart_and_opens_nothing() -> None:
    """It is short, always the same for one token, another for another, and neither a token nor part of a kept hash."""
    marks = [fingerprint(token) for token in (b"one", b"two", "ключ".encode(), b"\xff")]
    assert len(set(marks)) == 4
    assert all(re.fullmatch("[0-9a-f]{8}", mark) for mark in marks)
    assert marks[0] == fingerprint(b"one")
    tokens = AdminTokens(["one"])
    assert not tokens.take(marks[0].encode())
    assert not any(marks[0] in known.hex() for known, _ in tokens._known)


def test_a_token_may_have_a_last_day() -> None:
    """It is taken up to that day, and is told from a wrong one afterwards."""
    days = [date(2027, 3, 30), date(2027, 3, 31), date(2027, 4, 1)]
    taken = [AdminTokens(["old;until=2027-03-31"], today=partial(date.replace, day)).take(b"old") for day in days]
    assert taken == [True, True, False]
    tokens = AdminTokens(["old; until=2027-03-31", "new"], today=lambda: days[2])
    old, new = tokens.find(b"old"), tokens.find(b"new")
    assert old is not None
    assert new is not None
    assert (tokens.holds(old), tokens.holds(new), tokens.find(b"old;until=2027-03-31")) == (False, True, None)


@pytest.mark.parametrize(
    "text",
    ["s3cret;", "s3cret;until", "s3cret;until=", "s3cret;until=2027-02-30", "s3cret;until=soon", "s3cret;admin",
     "s3cret;until=2027-01-01;until=2027-01-02", ";until=2027-01-01"],
)  # fmt: skip
def test_an_attribute_that_is_wrong_stops_the_start(text: str) -> None:
    """The error names the setting and shows no secret."""
    with pytest.raises(ValueError, match="ADMIN_TOKEN") as refused:
        AdminTokens([text])
    assert "s3cret" not in str(refused.value)


def test_a_right_token_is_not_held_up_by_wrong_ones_at_its_address() -> None:
    """Who was let in before goes on; what was never right at that address waits; elsewhere nothing waits."""
    attempts = AdminAttempts(monotonic=lambda: 0.0)
    attempts.taken("10.0.0.1", b"right")
    for _ in range(BURST):
        attempts.count(Refusal.WRONG, "10.0.0.1")
    assert attempts.wait_seconds("10.0.0.1", b"right") == 0
    assert attempts.wait_seconds("10.0.0.1", b"other") > 0
    assert attempts.wait_seconds("10.0.0.2", b"other") == 0


def test_a_token_may_be_bound_to_tenants_and_to_reading() -> None:
    """The attributes combine in any order; a token without them opens everything."""
    tokens = AdminTokens(["a", "b;read", "c; tenants=acme|globex", "d;tenants=acme;until=2027-03-31;read"])
    found = [tokens.find(secret) for secret in (b"a", b"b", b"c", b"d")]
    access = [token.access for token in found if token is not None]
    assert access == [
        Access(),
        Access(read_only=True),
        Access(frozenset({"acme", "globex"})),
        Access(frozenset({"acme"}), read_only=True),
    ]
    assert [one.covers("acme") for one in access] == [True, True, True, True]
    assert [one.covers("other") for one in access] == [True, True, False, False]
    assert [one.covers(None) for one in access] == [True, True, False, False]


@pytest.mark.parametrize(
    "attribute", ["read=", "read=yes", "tenants", "tenants=", "tenants=acme|", "tenants=Acme", "reads", "read;read"]
)
def test_what_binds_a_token_is_written_as_documented(attribute: str) -> None:
    """A token must never open more than whoever wrote it meant; the error does not show the secret."""
    with pytest.raises(ValueError, match="ADMIN_TOKEN") as refused:
        AdminTokens([f"hidden;{attribute}"])
    assert "hidden" not in str(refused.value)
