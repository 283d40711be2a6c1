"""The admin tokens and the count of those who had none."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.http.security import AdminAttempts, AdminTokens, Refusal, fingerprint


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
    assert "secret" not in repr(AdminTokens(["secret"])._digests)


def test_attempts_are_counted_by_reason_from_any_thread() -> None:
    """No attempt is lost when many come at once."""
    attempts = AdminAttempts()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: attempts.count(Refusal.WRONG if n % 4 else Refusal.MISSING), range(400)))
    assert attempts.counts() == {Refusal.MISSING: 100, Refusal.WRONG: 300}
    assert attempts.refused == 400


def test_a_fingerprint_tells_tokens_apart_and_opens_nothing() -> None:
    """It is short, always the same for one token, another for another, and neither a token nor part of a kept hash."""
    marks = [fingerprint(token) for token in (b"one", b"two", "ключ".encode(), b"\xff")]
    assert len(set(marks)) == 4
    assert all(re.fullmatch("[0-9a-f]{8}", mark) for mark in marks)
    assert marks[0] == fingerprint(b"one")
    tokens = AdminTokens(["one"])
    assert not tokens.take(marks[0].encode())
    assert not any(marks[0] in digest.hex() for digest in tokens._digests)
