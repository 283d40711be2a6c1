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
from telemetry.semconv.attributes import EXCEPTION_STACKTRACE, URL_FULL, WITHHELD, MetricKey, TraceKey

MIN_KEY_BYTES = 16
"""The shortest key for hashes; a shorter one could be found by trying all."""

SHOWN_DIGITS: Final = 4
"""Digits that the mask of a number shows."""

Scalar = str | int | float | bool
"""The value of an attribute that is no sequence."""

_HASH_DIGITS: Final = 16
# 64 bits: among a million callers, the chance that any two share a hash is about one in forty million.
_NUMBER: Final = re.compile(r"\+\d[\d().\- ]{5,20}\d|(?<=tel:)[\d.\-]{5,20}|(?<=sip:)[^@\s;>\"]+|(?<=sips:)[^@\s;>\"]+")
# E.164 however it is spaced, and the user part of a telephone or SIP address.
_DIGIT_WORDS: Final = {
    word: str(digit)
    for digit, words in enumerate(
        ("zero oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    )
    for word in words.split()
}
_TIMES: Final = {"double": 2, "triple": 3}
_SPOKEN: Final = "|".join((r"\d+", *_DIGIT_WORDS, *_TIMES))
_DICTATED: Final = re.compile(
    r"(?P<date>\b\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?)"
    rf"|(?<!\w)\+?(?:{_SPOKEN})(?:[\s.,;/()\-\u2013\u2014]{{0,3}}(?:{_SPOKEN}))*(?!\w)",
    re.IGNORECASE,
)
# Digits as a transcript has them: in groups, with whatever stands between, or as words. A date is none.
_TOKEN: Final = re.compile(_SPOKEN, re.IGNORECASE)
_DICTATED_DIGITS: Final = 6
# So many in a row may be a number that can be called.
_FRAME: Final = re.compile(r'^\s*File "[^"\n]*(?:\.py|>)", line \d+, in [\w.<>]+$', re.MULTILINE)
# A line of a traceback that names a place in the code; the lines between may quote data, and the last one does.
_MAX_DEPTH: Final = 8
# Levels of a nested attribute that are scrubbed; deeper ones are left out.


def mask_number(number: str) -> str:
    """Return the number with all but its last four digits hidden; one of so few digits is hidden entirely.

    Of a name, which has no digits, the first two letters show.
    """
    digits = [character for character in number if character.isdigit()]
    if not digits:
        return number.removeprefix("sip:")[:2] + "…"
    return "…" + "".join(digits[-SHOWN_DIGITS:]) if len(digits) > SHOWN_DIGITS else "…"


@dataclass(frozen=True, slots=True)
class Privacy:
    """The rules for showing the numbers of a call."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Key of the hashes, which keeps them from being reversed by trying every phone number.

    Hashes of one caller are equal only under the same key; the default is random, for calls of this process alone.
    """

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a key shorter than :data:`MIN_KEY_BYTES`."""
        if len(self.key) < MIN_KEY_BYTES:
            raise ValueError(f"the key for hashes needs at least {MIN_KEY_BYTES} bytes, not {len(self.key)}")

    def hash_number(self, number: str) -> str:
        """Return the number's keyed hash (HMAC-SHA-256, cut to 64 bits) as 16 hexadecimal digits."""
        return hmac.new(self.key, number.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_HASH_DIGITS]

    def describe(self, caller: str | None, dialled: str | None) -> dict[MetricKey | TraceKey, str | int | float | bool]:
        """Return the attributes a span may have of a call's numbers; those of an unknown number are absent."""
        shown: dict[MetricKey | TraceKey, str | int | float | bool] = {}
        if caller:
            shown |= {attr.CALLER: mask_number(caller), attr.CALLER_HASH: self.hash_number(caller)}
        if dialled:
            shown[attr.DIALLED] = mask_number(dialled)
        return shown


def scrub_text(text: str) -> str:
    """Return the text with every phone number and SIP user in it masked."""
    return _NUMBER.sub(_hidden, text) if "+" in text or ":" in text else text


def _hidden(found: re.Match[str]) -> str:
    """Return the mask of a number in a text; of a name nothing shows, for it may be anybody's."""
    return mask_number(found.group()) if any(map(str.isdigit, found.group())) else "…"


def mask_dictated(text: str) -> str:
    """Return content with every number in it masked, however it was dictated: ``555 0100``, ``5, 5, 5``, ``five five``.

    Fewer than six digits in a row are left, and so are dates.
    """
    return _DICTATED.sub(_dictated, scrub_text(text))


def _dictated(found: re.Match[str]) -> str:
    if found["date"]:
        return found.group()
    digits, times = "", 1
    for token in _TOKEN.findall(found.group()):
        word = token.lower()
        if word in _TIMES:
            times = _TIMES[word]
        else:
            digits += _DIGIT_WORDS.get(word, word) * times
            times = 1
    return mask_number(digits) if len(digits) >= _DICTATED_DIGITS else found.group()


def scrub_url(url: str) -> str:
    """Return the address without user, password, query and fragment; "" if it is none."""
    try:
        scheme, netloc, path, _, _ = urlsplit(url)
    except ValueError:
        return ""
    return scrub_text(urlunsplit((scheme, netloc.rpartition("@")[2], path, "", "")))


def scrub_stacktrace(stacktrace: str) -> str:
    """Return the places in the code from a stack trace, without messages and quoted source."""
    return "\n".join(line.strip() for line in _FRAME.findall(stacktrace))


def scrub_value(value: object, levels: int = _MAX_DEPTH) -> object:
    """Return the value with all text in it scrubbed; bytes, and what is nested too deeply, become None."""
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
    """Return the attributes that may leave the process, their values scrubbed."""
    scrubbed: dict[str, object] = {}
    for key, value in (attributes or {}).items():
        if key in WITHHELD:
            continue
        kept = value if type(value) in _NUMBERS else _scrub(key, value)
        if kept is not None:
            scrubbed[key] = kept
    return scrubbed


def flat_attributes(attributes: Mapping[str, object] | None, text: int | None = None) -> dict[str, Scalar]:
    """Return the same as scalars: sequences become comma-separated text. Of text, ``text`` characters are kept."""
    return {key: _flat(value, text) for key, value in scrub_attributes(attributes).items()}


def _scrub(key: str, value: object) -> object:
    if not isinstance(value, str):
        return scrub_value(value)
    if key == URL_FULL:
        return scrub_url(value)
    return scrub_stacktrace(value) if key == EXCEPTION_STACKTRACE else scrub_text(value)


def _flat(value: object, text: int | None) -> Scalar:
    if isinstance(value, str):
        return value[:text]
    if isinstance(value, int | float):
        return value
    return (",".join(map(str, value)) if isinstance(value, Sequence) else str(value))[:text]


_NUMBERS: Final = frozenset({bool, int, float})
# Types of values that hold no text: most have one of them, and every span and log line has some.
