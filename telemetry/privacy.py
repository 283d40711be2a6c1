"""Personal data made fit for spans and logs: masked, or hashed with a key so that calls can still be joined."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from telemetry import attributes as attr
from telemetry.attributes import MetricKey, TraceKey

MIN_KEY_BYTES = 16
"""A shorter key could be tried out, and with it every phone number."""

_SHOWN_DIGITS = 4
_HASH_DIGITS = 16
# 64 bits: enough that two of a million callers share a hash about once in forty million deployments.


def mask_number(number: str) -> str:
    """All but the last four digits hidden; a number of so few digits entirely."""
    digits = [character for character in number if character.isdigit()]
    return "…" + "".join(digits[-_SHOWN_DIGITS:]) if len(digits) > _SHOWN_DIGITS else "…"


@dataclass(frozen=True, slots=True)
class Privacy:
    """What may be shown of the numbers on a call.

    ``key`` keeps hashes from being reversed by trying every phone number; calls can be joined only where it is the
    same. Without one a random key is made, so hashes join calls of one process only.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        """Refuse a key that protects nothing."""
        if len(self.key) < MIN_KEY_BYTES:
            raise ValueError(f"the key for hashes needs at least {MIN_KEY_BYTES} bytes, not {len(self.key)}")

    def hash_number(self, number: str) -> str:
        """A keyed hash (HMAC-SHA-256, cut to 64 bits) in hexadecimal."""
        return hmac.new(self.key, number.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS]

    def describe(self, caller: str | None, dialled: str | None) -> dict[MetricKey | TraceKey, str | int | float | bool]:
        """What a span may carry of a call's numbers."""
        shown: dict[MetricKey | TraceKey, str | int | float | bool] = {}
        if caller:
            shown |= {attr.CALLER: mask_number(caller), attr.CALLER_HASH: self.hash_number(caller)}
        if dialled:
            shown[attr.DIALLED] = mask_number(dialled)
        return shown
