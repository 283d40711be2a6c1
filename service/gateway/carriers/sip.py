"""The dialled number and the caller's, out of the headers of a SIP INVITE.

Header values are a stranger's text. Every function here is total: whatever comes in, it answers a number or says why
there is none, in time proportional to the input. The grammar is that of RFC 3261 (§7.3 headers, §20 From and To), read
leniently where networks are known to be sloppy.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from service.e164 import E164, Address, NumberProblem, readings, to_e164

_WITHHELD_USERS = frozenset({"anonymous", "restricted", "unavailable", "unknown", "private", "withheld", "blocked"})
"""Users that networks put in place of a caller's number."""
_WITHHELD_HOST = "anonymous.invalid"
"""The host of an anonymous URI (RFC 3323 §4.1.1.3)."""
_SCHEMES = frozenset({"sip", "sips", "tel"})
_ADDRESS = re.compile(r"\s*(?:sips?|tel)\s*:", re.IGNORECASE)
"""The beginning of an address, which tells it from what merely stands in angle brackets."""
_PARTS = re.compile(r'"(?:[^"\\]|\\.)*+"?|<[^>]*+>?|,|[^",<]++', re.DOTALL)
"""Quoted strings, angle brackets, commas and what stands between. Each character is consumed once, also where a quote
or bracket is never closed."""


def addresses(value: str) -> Iterator[str]:
    """Yield the URI of each address in a header's value: within angle brackets, or bare (RFC 3261 §20.10).

    Where brackets stand twice the last address wins, as a display name may hold the others. A name whose quotes do not
    add up would hide the address behind it; then it is the last one in brackets all the same.
    """
    bracketed, bare, hidden = "", "", ""
    for part in _PARTS.findall(value):
        if part == ",":
            yield bracketed or hidden or bare.strip()
            bracketed, bare, hidden = "", "", ""
        elif part[0] == "<":
            uri = part.strip("<> \t\r\n")
            bracketed = uri if not bracketed or _ADDRESS.match(uri) else bracketed
        elif part[0] != '"':
            bare += part
        elif not _is_closed(part):
            hidden = _last_bracketed(part)
    yield bracketed or hidden or bare.strip()


def _is_closed(quoted: str) -> bool:
    """Return True if the quoted string ends with a quote that no backslash takes away."""
    body = quoted[1:-1]
    return len(quoted) > 1 and quoted[-1] == '"' and (len(body) - len(body.rstrip("\\"))) % 2 == 0


def _last_bracketed(text: str) -> str:
    """Return the last address in angle brackets, empty if there is none."""
    _, bracket, last = text.rpartition("<")
    uri = last.partition(">")[0].strip()
    return uri if bracket and _ADDRESS.match(uri) else ""


def telephone(uri: str) -> str:
    """Return what an address has where a telephone number would be; empty when there is no such place.

    A local number becomes global with the ``phone-context`` that goes with it (RFC 3966 §5.1.5). A SIP address without
    a user names a host, so only an explicit ``+`` makes it a number.
    """
    rest = _after_scheme(uri)
    user, at, _ = rest.partition("@")
    if not at and uri[:3].lower() == "sip" and not rest.startswith("+"):
        return ""
    number = _plain_user(user)
    return number if number.startswith("+") else _context(user) + number


def is_anonymous(uri: str) -> bool:
    """Return True for an address that a network put in place of one that its owner wants withheld."""
    user, _, host = _after_scheme(uri).partition("@")
    return _plain_user(user).lower() in _WITHHELD_USERS or host.lower().startswith(_WITHHELD_HOST)


def _after_scheme(uri: str) -> str:
    scheme, _, rest = uri.partition(":")
    return rest if scheme.strip().lower() in _SCHEMES else uri


def _plain_user(user: str) -> str:
    """Return the user without parameters, password and port, percent-decoded (RFC 3261 §19.1.2)."""
    return unquote(re.split(r"[;:?]", user, maxsplit=1)[0]).strip()


def _context(user: str) -> str:
    """Return the global prefix a ``phone-context`` parameter states, or nothing."""
    for parameter in user.split(";")[1:]:
        name, _, value = parameter.partition("=")
        context = unquote(value).strip()
        if name.strip().lower() == "phone-context" and context.startswith("+"):
            return context
    return ""


DIALLED_HEADERS = ("p-called-party-id", "request-uri", "to", "diversion", "history-info")
"""Headers in which the dialled number is looked for, the most telling first; the first with a number decides.

``P-Called-Party-ID`` (RFC 7315 §4.2) is what the last proxy was about to reach, whatever the caller's ``To`` says.
``Request-URI`` is no header, but some gateways pass it on as one: it is where the INVITE goes (RFC 3261 §8.1.1.1).
``To`` (RFC 3261 §20.39) is whom the caller wanted, and on most trunks the only one there. ``Diversion`` (RFC 5806) is
who forwarded the call here: it decides only where the others carry no number, as when a trunk addresses an account; so
does ``History-Info`` (RFC 7044 §5), whose first entry is whom the caller wanted.
"""
CALLER_HEADERS = ("from", "p-asserted-identity", "remote-party-id")
"""Headers in which the caller is looked for: what the caller shows (RFC 3261 §20.20), then what the network vouches for
(RFC 3325 §9.1), also in the header older trunks have for it. A caller who asks to be withheld in the first is not
looked up in the others."""
MAX_HEADERS = 256
"""Headers that are looked at; an INVITE has about twenty."""
MAX_VALUE = 8_192
"""Characters of a header's value that is looked at; longer ones are refused unread."""
MAX_ADDRESSES = 32
"""Addresses that are tried, over all headers; reading one as a number costs some microseconds."""
_COMPACT: Mapping[str, str] = MappingProxyType({"f": "from", "t": "to"})
"""Compact header names (RFC 3261 §7.3.3) of the headers used here."""
MAX_READINGS = 16
"""Readings of what was dialled that are looked up, over all headers."""
_PARTY_WITHHELD = re.compile(r";\s*privacy\s*=\s*\"?(?:full|uri)\b", re.IGNORECASE)
"""``Remote-Party-ID`` asks for the number to be kept (draft-ietf-sip-privacy-04 §5)."""
_WITHHOLDING = frozenset({"id", "user", "full"})
"""Values of ``Privacy`` that ask for the caller's identity to be kept (RFC 3323 §4.2, RFC 3325 §9.3)."""


class SipHeader(NamedTuple):
    """One header as received."""

    name: str
    """In lower case and in its long form."""
    value: str


class Missing(StrEnum):
    """The reason that no number was found."""

    NO_HEADER = "no_header"
    """None of the headers looked at is there."""
    WITHHELD = "withheld"
    """The caller asked not to be shown."""
    NOT_A_NUMBER = "not_a_number"
    """The header names somebody, but not by telephone number."""
    NO_COUNTRY = "no_country"
    """A national number, and no region is configured to read it in."""
    IMPOSSIBLE = "impossible"
    """Digits that no numbering plan has."""
    TOO_LONG = "too_long"
    """The header's value is longer than any that is meant well."""


_REASONS: Mapping[NumberProblem, Missing] = MappingProxyType(
    {
        NumberProblem.NOT_A_NUMBER: Missing.NOT_A_NUMBER,
        NumberProblem.NO_COUNTRY: Missing.NO_COUNTRY,
        NumberProblem.IMPOSSIBLE: Missing.IMPOSSIBLE,
    }
)


@dataclass(frozen=True, slots=True)
class SipNumber:
    """A number, and the header it was found in."""

    number: E164
    header: str


@dataclass(frozen=True, slots=True)
class NoSipNumber:
    """No number: why, as the most telling header that was there has it."""

    reason: Missing
    header: str | None


def sip_headers(raw: object) -> tuple[SipHeader, ...]:
    """Return the headers among whatever a webhook carried: mappings, or objects, with a textual ``name`` and ``value``.

    Order and repeats are kept. What is no such thing is left out, and so is everything after :data:`MAX_HEADERS`.
    """
    if not isinstance(raw, list | tuple):
        return ()
    headers = (_header(entry) for entry in raw[:MAX_HEADERS])
    return tuple(header for header in headers if header is not None)


@dataclass(frozen=True, slots=True)
class Dialled:
    """The address that was called, as far as the headers tell."""

    readings: tuple[Address, ...] = ()
    """The addresses it can stand for, to be looked up in this order."""
    written: str | None = None
    """The user of the most telling header's address, as it stands there; personal."""
    problem: Missing | None = None
    """The reason that it is no telephone number; None if it is one."""

    @property
    def shown(self) -> str | None:
        """The address that is shown, masked, of a call that reaches nobody; None if nothing can be read. Personal."""
        return self.readings[0] if self.readings else self.written


def dialled(
    headers: Iterable[SipHeader], *, region: str | None = None, order: tuple[str, ...] = DIALLED_HEADERS
) -> Dialled:
    """Return what was called. ``region`` is the country national numbers are read in, such as ``"US"``.

    ``order`` names the headers to try, in lower case; a trunk with a header of its own puts it in front. The first
    header with a telephone number in it decides; what stands in those before may be a short code or a name.
    """
    found: list[Address] = []
    written: str | None = None
    present = tuple(headers)
    for uri in islice(_uris(present, order), MAX_ADDRESSES):
        user = telephone(uri)
        written = written or user or None
        found += readings(user, region=region)
        if not isinstance(to_e164(user, region=region), NumberProblem):
            break
    number = dialled_number(present, region=region, order=order)
    problem = number.reason if isinstance(number, NoSipNumber) else None
    return Dialled(tuple(dict.fromkeys(found))[:MAX_READINGS], written, problem)


def dialled_number(
    headers: Iterable[SipHeader], *, region: str | None = None, order: tuple[str, ...] = DIALLED_HEADERS
) -> SipNumber | NoSipNumber:
    """Return the telephone number that was called, if the headers leave no doubt which; see :func:`dialled`."""
    return _first_number(tuple(headers), order, region)


def caller_number(headers: Iterable[SipHeader], *, region: str | None = None) -> SipNumber | NoSipNumber:
    """Return the number of who calls, unless the caller asked for it to be withheld."""
    present = tuple(headers)
    withholding = next((header.name for header in present if _withholds(header)), None)
    if withholding is not None:
        return NoSipNumber(Missing.WITHHELD, withholding)
    return _first_number(present, CALLER_HEADERS, region)


def _header(entry: object) -> SipHeader | None:
    if isinstance(entry, Mapping):
        name, value = entry.get("name"), entry.get("value")
    else:
        name, value = getattr(entry, "name", None), getattr(entry, "value", None)
    if not isinstance(name, str) or not isinstance(value, str):
        return None
    lowered = name.strip().lower()
    return SipHeader(_COMPACT.get(lowered, lowered), _encodable(value))


def _encodable(value: str) -> str:
    """Return the value with U+FFFD for halves of surrogate pairs, which JSON can spell out and UTF-8 cannot."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _withholds(header: SipHeader) -> bool:
    """Return True for a header that asks for the caller not to be shown."""
    if header.name == "privacy":
        return not _WITHHOLDING.isdisjoint(re.split(r"[;,\s]+", header.value[:MAX_VALUE].lower()))
    if header.name == "remote-party-id":
        return _PARTY_WITHHELD.search(header.value[:MAX_VALUE]) is not None
    return header.name == "from" and any(is_anonymous(uri) for uri in addresses(header.value[:MAX_VALUE]))


def _first_number(
    headers: tuple[SipHeader, ...], order: tuple[str, ...], region: str | None
) -> SipNumber | NoSipNumber:
    """Return the first number in the order of preference, else what was wrong with the first header that was there."""
    failure = NoSipNumber(Missing.NO_HEADER, None)
    for outcome in islice(_outcomes(headers, order, region), MAX_ADDRESSES):
        if isinstance(outcome, SipNumber):
            return outcome
        if failure.header is None:
            failure = outcome
    return failure


def _outcomes(
    headers: tuple[SipHeader, ...], order: tuple[str, ...], region: str | None
) -> Iterator[SipNumber | NoSipNumber]:
    for wanted in order:
        for name, value in headers:
            if name == wanted and len(value) > MAX_VALUE:
                yield NoSipNumber(Missing.TOO_LONG, name)
            elif name == wanted:
                yield from (_outcome(name, uri, region) for uri in addresses(value))


def _uris(headers: tuple[SipHeader, ...], order: tuple[str, ...]) -> Iterator[str]:
    for wanted in order:
        for name, value in headers:
            if name == wanted and len(value) <= MAX_VALUE:
                yield from addresses(value)


def _outcome(name: str, uri: str, region: str | None) -> SipNumber | NoSipNumber:
    found = to_e164(telephone(uri), region=region)
    return NoSipNumber(_REASONS[found], name) if isinstance(found, NumberProblem) else SipNumber(found, name)
