"""Telephone numbers in the one form Callscope stores and compares: E.164, ``+`` and at most fifteen digits."""

import re
from enum import StrEnum
from typing import NewType

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

E164 = NewType("E164", str)
"""A number in international form, such as ``+18005550100``. Only :func:`to_e164` makes one."""

MAX_DIGITS = 15
"""Digits after the ``+`` (ITU-T E.164)."""

MAX_WRITTEN = 64
"""Characters a number may be written with: fifteen digits, each with separators around, and room to spare."""

_WRITTEN = re.compile(r"\+?[0-9][0-9().\- ]*|\+?\([0-9().\- ]*")
"""Digits with the visual separators of RFC 3966 §5.1.1 and spaces; no letters, no ``*``, no extension."""


class NumberProblem(StrEnum):
    """Why a text is not a number that can be stored or compared."""

    NOT_A_NUMBER = "not_a_number"
    """Something else than digits and separators, or too long to be a number."""

    NO_COUNTRY = "no_country"
    """Written without ``+``, and no region is known in whose national form it could be read."""

    IMPOSSIBLE = "impossible"
    """No numbering plan has it: an unknown country code, too few or too many digits."""


def to_e164(text: str, *, region: str | None = None) -> E164 | NumberProblem:
    """The number ``text`` stands for, or why there is none; never raises.

    ``region`` is the ISO 3166 country whose national form a text without ``+`` is read in. A number written with
    ``+`` may be longer than its country's plan foresees, since networks do deliver such; one read nationally may not.
    """
    written = text.strip(" ")
    if len(written) > MAX_WRITTEN or not _WRITTEN.fullmatch(written):
        return NumberProblem.NOT_A_NUMBER
    if written.startswith("+"):
        return _settled(written, None, _DELIVERABLE)
    return NumberProblem.NO_COUNTRY if region is None else _settled(written, region, _PLANNED)


def is_planned(number: E164) -> bool:
    """Whether the number has a length its country's numbering plan foresees."""
    return _read(number, None, _PLANNED) is not None


def _settled(written: str, region: str | None, accepted: frozenset[int]) -> E164 | NumberProblem:
    """The number, if reading it again gives the same: else two spellings of one number could miss each other."""
    number = _read(written, region, accepted)
    if number is None or len(number) > MAX_DIGITS + 1 or _read(number, None, accepted) != number:
        return NumberProblem.IMPOSSIBLE
    return E164(number)


def _read(written: str, region: str | None, accepted: frozenset[int]) -> str | None:
    try:
        parsed = phonenumbers.parse(written, region)
    except NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) not in accepted:
        return None
    return phonenumbers.format_number(parsed, PhoneNumberFormat.E164)


_PLANNED = frozenset({ValidationResult.IS_POSSIBLE})
"""What a numbering plan has; numbers that only neighbours can dial without their area code are not meant."""

_DELIVERABLE = _PLANNED | {ValidationResult.TOO_LONG, ValidationResult.INVALID_LENGTH}
"""What a network may deliver in international form; too short, local-only and unknown countries it may not."""
