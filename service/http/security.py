"""Who may use the admin endpoints: whoever sends one of the configured tokens."""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Self

from fastapi import Security
from fastapi.security import APIKeyHeader

from service.http.problems import ProblemError

HEADER = "X-Admin-Token"
"""The header a token is sent in."""

CHALLENGE = f'APIKey realm="admin", header="{HEADER}"'
"""What a 401 asks for; RFC 9110 §11.6.1 demands that it asks for something."""

ADMIN_SCHEME = APIKeyHeader(
    name=HEADER,
    scheme_name="AdminToken",
    description="One of the tokens in `ADMIN_TOKEN`.",
    auto_error=False,
)
"""How the OpenAPI document describes it."""

AdminCheck = Callable[..., Awaitable[None]]
"""A FastAPI dependency that raises unless the request may use the admin endpoints."""


class Refusal(StrEnum):
    """Why a request was turned away."""

    MISSING = "missing"
    """It brought no token."""
    WRONG = "wrong"
    """It brought one that is not configured."""


class AdminTokens:
    """The tokens that are taken; several while one is being rotated out. Keeps only their hashes.

    Raises:
        ValueError: if a token could not be sent in a header.
    """

    __slots__ = ("_digests",)

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._digests = tuple(_digest(_sendable(token).encode()) for token in tokens)

    @classmethod
    def parse(cls, text: str, *, required: bool = False) -> Self:
        """The tokens in a comma-separated list, as ``ADMIN_TOKEN`` has them.

        Raises:
            ValueError: if a token could not be sent in a header, or one is required and there is none.
        """
        tokens = [token.strip() for token in text.split(",") if token.strip()]
        if required and not tokens:
            raise ValueError("ADMIN_TOKEN is empty: nobody could use the admin endpoints")
        return cls(tokens)

    def __len__(self) -> int:
        return len(self._digests)

    def take(self, given: bytes) -> bool:
        """Whether ``given`` is one of them; how long the answer takes says nothing about any."""
        digest = _digest(given)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


class AdminAttempts:
    """Counts the requests that were turned away. Safe for threads."""

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = dict.fromkeys(Refusal, 0)

    def count(self, refusal: Refusal) -> None:
        """One more."""
        with self._lock:
            self._counts[refusal] += 1

    def counts(self) -> Mapping[Refusal, int]:
        """How many there have been, by reason."""
        with self._lock:
            return dict(self._counts)

    @property
    def refused(self) -> int:
        """How many there have been."""
        return sum(self.counts().values())


def require_admin(tokens: AdminTokens, attempts: AdminAttempts) -> AdminCheck:
    """The dependency of every admin endpoint.

    It raises a 503 problem while no token is configured, and a 401 problem, counted, for a missing or wrong one.
    """

    async def admin(token: Annotated[str | None, Security(ADMIN_SCHEME)]) -> None:
        if not tokens:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "No admin token is configured: set ADMIN_TOKEN.")
        # Starlette reads headers as Latin-1; this gives back the bytes that were sent, UTF-8 or not.
        if not token or not tokens.take(token.encode("latin-1")):
            attempts.count(Refusal.WRONG if token else Refusal.MISSING)
            raise _unauthorized(token)

    return admin


def fingerprint(token: bytes) -> str:
    """Eight hex digits that tell a token from others in an audit.

    They open no door, and are no part of the hash that tokens are compared by. Who sees them can check a guess: tokens
    have to be long and random for this as for any other reason.
    """
    return sha256(b"callscope admin token " + token).hexdigest()[:8]


def _unauthorized(token: str | None) -> ProblemError:
    detail = f"The token in {HEADER} is not valid." if token else f"Send an admin token in {HEADER}."
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": CHALLENGE})


def _digest(token: bytes) -> bytes:
    # Of equal length whatever the token's, as a comparison in constant time needs.
    return sha256(token).digest()


def _sendable(token: str) -> str:
    if not token or token != token.strip() or not token.isprintable():
        raise ValueError("an admin token must be printable, without spaces around it, and not empty")
    return token
