"""The causes for which a signed delivery is refused, each with a sentence (Standard Webhooks 1.0, §Verifying)."""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

TOLERANCE_SECONDS: Final = 300
"""Seconds by which the time of a signature may differ from ours, either way."""

_VERSION: Final = "v1"


class SignatureFault(StrEnum):
    """The cause of a refusal."""

    MISSING = "missing"
    """There is no signature."""
    UNREADABLE = "unreadable"
    """A header is missing, or is not what it should be."""
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    """The two clocks differ, or the time is made up."""
    NO_MATCH = "no_match"
    """The body, the id, the time or the secret is another one than was signed."""


class SignatureError(Exception):
    """A webhook delivery is not proved to be from the carrier; the message says why, without quoting anything of it."""

    def __init__(self, fault: SignatureFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


def check_headers(headers: Mapping[str, str], *, now: float | None = None) -> None:
    """Raise :class:`SignatureError` for headers that no secret could make right.

    Args:
        headers: Those of the request; names in lower case.
        now: Seconds since 1970, the present if not given.
    """
    signatures = headers.get("webhook-signature", "").split()
    if not signatures:
        raise SignatureError(SignatureFault.MISSING, "There is no signature: the header webhook-signature is missing.")
    if not headers.get("webhook-id"):
        raise SignatureError(SignatureFault.UNREADABLE, "The header webhook-id is missing.")
    _check_time(headers.get("webhook-timestamp", ""), time.time() if now is None else now)
    versions = [signature.partition(",")[0] for signature in signatures if "," in signature and signature.isascii()]
    if not versions:
        raise SignatureError(SignatureFault.UNREADABLE, "The header webhook-signature is not of the form v1,BASE64.")
    if _VERSION not in versions:
        raise SignatureError(SignatureFault.UNREADABLE, f"No signature is of version {_VERSION}.")


def no_match(signatures: str) -> SignatureError:
    """Return the error for signatures none of which is right."""
    count = len(signatures.split())
    return SignatureError(
        SignatureFault.NO_MATCH,
        f"None of the signatures ({count}) matches the body: is OPENAI_WEBHOOK_SECRET the secret of this endpoint?",
    )


def _check_time(text: str, now: float) -> None:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(2**53))):
        raise SignatureError(SignatureFault.UNREADABLE, "The header webhook-timestamp is not a time in whole seconds.")
    age = int(now) - int(text)
    if age > TOLERANCE_SECONDS:
        detail = f"The signature is {age} s old, {age - TOLERANCE_SECONDS} s more than is allowed."
        raise SignatureError(SignatureFault.TOO_OLD, detail)
    if -age > TOLERANCE_SECONDS:
        detail = f"The signature is {-age} s in the future, {-age - TOLERANCE_SECONDS} s more than is allowed."
        raise SignatureError(SignatureFault.TOO_NEW, f"{detail} Is this machine's clock right?")
