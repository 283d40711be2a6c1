"""Personal data made fit for spans and logs: masked, or hashed with a key so that calls can still be joined."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from telemetry.semconv import attributes as attr
from telemetry.semconv.attributes import MetricKey, TraceKey
from telemetry.semconv.genai import EXCEPTION_STACKTRACE, URL_FULL, WITHHELD

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


Scalar = str | int | float | bool
"""A value of an attribute that is no sequence."""
_NUMBER: Final = re.compile(r"\+\d[\d().\- ]{5,20}\d|(?<=tel:)[\d.\-]{5,20}|(?<=sip:)[^@\s;>\"]+|(?<=sips:)[^@\s;>\"]+")
# E.164 however it is spaced, and the user part of a telephone or SIP address.
_FRAME: Final = re.compile(r'^\s*File "[^"\n]*(?:\.py|>)", line \d+, in [\w.<>]+$', re.MULTILINE)
# One line of a traceback that names a place in the code; the lines between may quote data, and the last one does.
_DEEPEST: Final = 8


# Levels of a nested attribute that are looked into; nobody nests deeper, and what does is left out.
def scrub_text(text: str) -> str:
    """The text with every phone number and SIP user in it masked."""
    return _NUMBER.sub(lambda found: mask_number(found.group()), text) if "+" in text or ":" in text else text


def scrub_url(url: str) -> str:
    """The address without user, password, query and fragment."""
    try:
        scheme, netloc, path, _, _ = urlsplit(url)
    except ValueError:
        return ""
    return scrub_text(urlunsplit((scheme, netloc.rpartition("@")[2], path, "", "")))


def scrub_stacktrace(stacktrace: str) -> str:
    """Where an exception came from, without what it said."""
    return "\n".join(line.strip() for line in _FRAME.findall(stacktrace))


def scrub_value(value: object, levels: int = _DEEPEST) -> object:
    """The value with all text in it cleaned, whatever it is made of; bytes, which nobody looks into, are left out."""
    if isinstance(value, str):
        return scrub_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if not levels or isinstance(value, bytes | bytearray | memoryview):
        return None
    if isinstance(value, Mapping):
        return {str(key): scrub_value(inner, levels - 1) for key, inner in value.items() if key not in WITHHELD}
    if isinstance(value, Sequence):
        return [scrub_value(inner, levels - 1) for inner in value]
    return scrub_text(str(value))


def scrub_attributes(attributes: Mapping[str, object] | None) -> dict[str, object]:
    """The attributes that may be seen, their values cleaned."""
    cleaned = {key: _scrub(key, value) for key, value in (attributes or {}).items() if key not in WITHHELD}
    return {key: value for key, value in cleaned.items() if value is not None}


def flat_attributes(attributes: Mapping[str, object] | None) -> dict[str, Scalar]:
    """The same with every value in one piece: sequences become comma-separated text."""
    return {key: _flat(value) for key, value in scrub_attributes(attributes).items()}


def _scrub(key: str, value: object) -> object:
    if isinstance(value, str) and key == URL_FULL:
        return scrub_url(value)
    if isinstance(value, str) and key == EXCEPTION_STACKTRACE:
        return scrub_stacktrace(value)
    return scrub_value(value)


def _flat(value: object) -> Scalar:
    if isinstance(value, bool | int | float | str):
        return value
    return ",".join(map(str, value)) if isinstance(value, Sequence) else str(value)
