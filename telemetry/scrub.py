"""The last net for personal data: what other instrumentations and exceptions would put on spans and log lines.

What this project writes itself is fit to leave when it is written (:mod:`telemetry.privacy`). An HTTP client's span, an
exception's message or a third party's log line is not: whatever leaves the process or is shown passes through here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from telemetry.conventions import EXCEPTION_STACKTRACE, URL_FULL, WITHHELD
from telemetry.privacy import mask_number

Scalar = str | int | float | bool
"""A value of an attribute, once sequences are joined."""

_NUMBER: Final = re.compile(r"\+\d[\d().\- ]{5,20}\d|(?<=tel:)[\d.\-]{5,20}|(?<=sip:)[^@\s;>\"]+|(?<=sips:)[^@\s;>\"]+")
# E.164 however it is spaced, and the user part of a telephone or SIP address.

_FRAME: Final = re.compile(r'^\s*File "[^"\n]*", line \d+, in [\w.<>]+$', re.MULTILINE)
# One line of a traceback that names a place in the code; the lines between may quote data, and the last one does.


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


def scrub_attributes(attributes: Mapping[str, object] | None) -> dict[str, Scalar]:
    """The attributes that may be seen, their values cleaned; sequences become comma-separated text."""
    if not attributes:
        return {}
    return {key: _scrub(key, value) for key, value in attributes.items() if key not in WITHHELD and value is not None}


def _scrub(key: str, value: object) -> Scalar:
    if isinstance(value, bool | int | float):
        return value
    text = ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    if key == URL_FULL:
        return scrub_url(text)
    return scrub_stacktrace(text) if key == EXCEPTION_STACKTRACE else scrub_text(text)
