"""The cause of a refused signature, from its headers alone."""

import pytest

from service.gateway.carriers.signatures import (
    TOLERANCE_SECONDS,
    SignatureError,
    SignatureFault,
    check_headers,
    no_match,
)

NOW = 1_750_287_018.9
RIGHT = {"webhook-id": "wh_1", "webhook-timestamp": "1750287018", "webhook-signature": "v1,K5oZ"}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"webhook-signature": ""}, SignatureFault.MISSING),
        ({"webhook-signature": "  "}, SignatureFault.MISSING),
        ({"webhook-signature": "garbage"}, SignatureFault.UNREADABLE),
        ({"webhook-signature": "v1,é"}, SignatureFault.UNREADABLE),
        ({"webhook-signature": "v1a,AAAA v2,BBBB"}, SignatureFault.UNREADABLE),
        ({"webhook-id": ""}, SignatureFault.UNREADABLE),
        ({"webhook-timestamp": ""}, SignatureFault.UNREADABLE),
        ({"webhook-timestamp": "-5"}, SignatureFault.UNREADABLE),
        ({"webhook-timestamp": "1.5"}, SignatureFault.UNREADABLE),
        ({"webhook-timestamp": "\u0661\u0667"}, SignatureFault.UNREADABLE),
        ({"webhook-timestamp": "9" * 5_000}, SignatureFault.UNREADABLE),
        ({"webhook-timestamp": "0"}, SignatureFault.TOO_OLD),
        ({"webhook-timestamp": str(1_750_287_018 - TOLERANCE_SECONDS - 1)}, SignatureFault.TOO_OLD),
        ({"webhook-timestamp": str(1_750_287_018 + TOLERANCE_SECONDS + 1)}, SignatureFault.TOO_NEW),
    ],
)
def test_headers_no_secret_could_make_right(changed: dict[str, str], fault: SignatureFault) -> None:
    """Each names its cause and quotes nothing."""
    with pytest.raises(SignatureError) as refused:
        check_headers(RIGHT | changed, now=NOW)
    assert refused.value.fault is fault
    assert not any(value in refused.value.detail for value in changed.values() if len(value) > 5)


@pytest.mark.parametrize("offset", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_headers_that_may_be_right_are_left_to_the_secret(offset: int) -> None:
    """Within the tolerance, and with any signature of the version that is known, nothing is said."""
    moved = {"webhook-timestamp": str(1_750_287_018 + offset), "webhook-signature": "v2,AAAA v1,BBBB"}
    check_headers(RIGHT | moved, now=NOW)


def test_signatures_that_do_not_match_are_counted() -> None:
    """While a secret is rotated there may be several."""
    assert "(2)" in no_match("v1,AAAA v1,BBBB").detail
