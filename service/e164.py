"""Dialled addresses, in the one form Callscope stores and compares.

A telephone number is E.164: ``+`` and at most fifteen digits. Beside numbers, a tenant may own short codes, which only
its network knows (``70042``), and users of SIP addresses (``sip:front-desk``).
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NewType

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

Address = NewType("Address", str)
"""A number in E.164, a short code, or ``sip:`` and a user's name in lower case: what one tenant can own."""

E164 = Address
"""An address that is a number in international form, such as ``+18005550100``. :func:`to_e164` makes them."""

SIP_NAME = "sip:"
"""The beginning of a SIP user's name as an address, which tells it from a mistyped number."""

MAX_DIGITS = 15
"""Digits after the ``+`` (ITU-T E.164)."""

MAX_WRITTEN = 64
"""Characters a number may be written with: fifteen digits, each with separators around, and room to spare."""

_WRITTEN = re.compile(r"\+?[0-9][0-9().\- ]*|\+?\([0-9().\- ]*")
"""Digits with the visual separators of RFC 3966 §5.1.1 and spaces; no letters, no ``*``, no extension."""


_SHORT_CODE = re.compile(r"[0-9]{2,6}")
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,59}")
_SEPARATORS = str.maketrans("", "", "().- ")
_PREFIXES = ("00", "011")
"""Prefixes dialled before a country code: in most countries, and in those of the North American plan (ITU-T E.164)."""


class NumberProblem(StrEnum):
    """The reason that a text is not a number that can be stored or compared."""

    NOT_A_NUMBER = "not_a_number"
    """Something else than digits and separators, or too long to be a number."""

    NO_COUNTRY = "no_country"
    """Written without ``+``, and no region is known in whose national form it could be read."""

    IMPOSSIBLE = "impossible"
    """No numbering plan has it: an unknown country code, too few or too many digits."""


def to_e164(text: str, *, region: str | None = None) -> E164 | NumberProblem:
    """Return the number ``text`` stands for, or why there is none; never raises.

    ``region`` is the ISO 3166 country whose national form a text without ``+`` is read in. A number written with
    ``+`` may be longer than its country's plan foresees, since networks do deliver such; one read nationally may not.
    """
    written = text.strip(" ")
    if len(written) > MAX_WRITTEN or not _WRITTEN.fullmatch(written):
        return NumberProblem.NOT_A_NUMBER
    if written.startswith("+"):
        return _settled(written, None, _DELIVERABLE)
    return NumberProblem.NO_COUNTRY if region is None else _settled(written, region, _PLANNED)


def to_address(text: str) -> Address | NumberProblem:
    """Return what a tenant owns as it is stored, or why it cannot be owned: a short code, a SIP name, or a number."""
    written = text.strip(" ")
    if written.lower().startswith(SIP_NAME):
        return sip_name(written[len(SIP_NAME) :]) or NumberProblem.NOT_A_NUMBER
    return Address(written) if _SHORT_CODE.fullmatch(written) else to_e164(written)


def sip_name(user: str) -> Address | None:
    """Return the address of a SIP user's name, whatever its case; None for what is no name."""
    name = user.lower()
    return Address(SIP_NAME + name) if _NAME.fullmatch(name) else None


def readings(text: str, *, region: str | None = None) -> tuple[Address, ...]:
    """Return what a dialled text can stand for, the likeliest first, in the forms a tenant can own.

    Trunks leave out the ``+``, put ``00`` or ``011`` in its place, send national forms where ``region`` is known, and
    short codes. Which of the readings was meant, only their owners tell.
    """
    found = [to_e164(text, region=region)]
    digits = text.translate(_SEPARATORS).removeprefix("+")
    if len(text) <= MAX_WRITTEN and digits.isascii() and digits.isdigit():
        found += [to_e164(f"+{digits.removeprefix(prefix)}") for prefix in _PREFIXES if digits.startswith(prefix)]
        found += [to_e164(f"+{digits}"), *([Address(digits)] if _SHORT_CODE.fullmatch(digits) else [])]
    named = sip_name(text)
    read = [reading for reading in (*found, named) if reading is not None and not isinstance(reading, NumberProblem)]
    return tuple(dict.fromkeys(read))


def is_planned(number: Address) -> bool:
    """Return True for a number of a length that its country's numbering plan foresees."""
    return _read(number, None, _PLANNED) is not None


@lru_cache(maxsize=4_096)
def _settled(written: str, region: str | None, accepted: frozenset[int]) -> E164 | NumberProblem:
    """Return the number if reading it again gives the same: else two spellings of one number could miss each other.

    Remembered, since the headers of one call repeat its numbers and calls repeat the dialled ones; a reading takes a
    tenth of a millisecond.
    """
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
"""Lengths a numbering plan has; numbers that only neighbours can dial without their area code are not meant."""

_DELIVERABLE = _PLANNED | {ValidationResult.TOO_LONG, ValidationResult.INVALID_LENGTH}
"""Lengths a network may deliver in international form; too short, local-only and unknown countries it may not."""
