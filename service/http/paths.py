"""Paths whose names have slashes of their own: an escaped one belongs to a name, a plain one stands between two."""

import re
from string import punctuation
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

_ESCAPED_SLASH: Final = re.compile(b"%2f", re.IGNORECASE)
_HELD: Final = "\udc2f"
# Stands for an escaped slash while routes are compared: half a surrogate pair, which no decoded path can have.


class NamedRoute(APIRoute):
    """A route that finds the names in its path as they were sent (RFC 3986 §2.2): ``%2F`` separates nothing.

    Servers decode a path before anybody compares it, so that ``/live/a%2Fb`` looks like ``/live/a/b``. An application
    that keeps its own tenants may well call one ``a/b``, and a SIP call's id may have slashes, too (RFC 3261 §25.1).
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how far the route fits, and its parameters."""
        path = _with_held_slashes(scope)
        if _HELD not in path:
            return super().matches(scope)
        match, child = super().matches({**scope, "path": path})
        if match is not Match.NONE:
            child["path_params"] = {
                name: value.replace(_HELD, "/") if isinstance(value, str) else value
                for name, value in child["path_params"].items()
            }
        return match, child


def sent_path(scope: Scope) -> str:
    """Return a request's path as it was sent, in ASCII, for links and redirects to the same place.

    Where the server does not tell it, it is the path with its escapes put back. Some servers hand bytes on that no
    client may send (RFC 3986 §2): these are escaped, too.
    """
    raw: bytes | None = scope.get("raw_path")
    return quote(raw, safe=punctuation) if raw else quote(scope["path"], errors="replace")


def named_path(request: Request, most: int) -> str:
    """Return the first ``most`` characters of the path, percent-encoded, with the escaped slashes of its names."""
    path = _with_held_slashes(request.scope)[:most]
    return "%2F".join(quote(part, errors="replace") for part in path.split(_HELD))


def _with_held_slashes(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or b""
    if not _ESCAPED_SLASH.search(raw):
        return str(scope["path"])
    return _HELD.join(unquote_to_bytes(part).decode(errors="replace") for part in _ESCAPED_SLASH.split(raw))
