"""The addresses in a SIP header's value, and the telephone numbers in addresses (RFC 3261 §19.1, §25.1; RFC 3966).

Total like everything that reads a stranger's text, and linear in its length.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

_WITHHELD_USERS = frozenset({"anonymous", "restricted", "unavailable", "unknown", "private", "withheld", "blocked"})
"""Users that networks put in place of a caller's number."""

_WITHHELD_HOST = "anonymous.invalid"
"""The host of an anonymous URI (RFC 3323 §4.1.1.3)."""

_SCHEMES = frozenset({"sip", "sips", "tel"})

_PARTS = re.compile(r'"(?:[^"\\]|\\.)*+"?|<[^>]*+>?|,|[^",<]++', re.DOTALL)
"""Quoted strings, angle brackets, commas and what stands between. Each character is consumed once, also where a quote
or bracket is never closed."""


def addresses(value: str) -> Iterator[str]:
    """The URI of each address in a header's value: within angle brackets, or bare (RFC 3261 §20.10)."""
    bracketed, bare = "", ""
    for part in _PARTS.findall(value):
        if part == ",":
            yield bracketed or bare.strip()
            bracketed, bare = "", ""
        elif part[0] == "<":
            bracketed = bracketed or part.strip("<> \t\r\n")
        elif part[0] != '"':
            bare += part
    yield bracketed or bare.strip()


def telephone(uri: str) -> str:
    """What an address has where a telephone number would be; empty when there is no such place.

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
    """Whether a network put this address in place of one that its owner wants withheld."""
    user, _, host = _after_scheme(uri).partition("@")
    return _plain_user(user).lower() in _WITHHELD_USERS or host.lower().startswith(_WITHHELD_HOST)


def _after_scheme(uri: str) -> str:
    scheme, _, rest = uri.partition(":")
    return rest if scheme.strip().lower() in _SCHEMES else uri


def _plain_user(user: str) -> str:
    """The user without parameters, password and port, percent-decoded (RFC 3261 §19.1.2)."""
    return unquote(re.split(r"[;:?]", user, maxsplit=1)[0]).strip()


def _context(user: str) -> str:
    """The global prefix a ``phone-context`` parameter states, or nothing."""
    for parameter in user.split(";")[1:]:
        name, _, value = parameter.partition("=")
        context = unquote(value).strip()
        if name.strip().lower() == "phone-context" and context.startswith("+"):
            return context
    return ""
