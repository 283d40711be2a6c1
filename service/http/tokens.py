"""The admin tokens: which are taken, until when, and what each may do."""

import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Final, Self

HEADER: Final = "X-Admin-Token"
"""The header a token is sent in."""

LAST_DAY: Final = "until"
"""The attribute that says the last day, in UTC, on which a token is taken."""

TENANTS: Final = "tenants"
"""The attribute that binds a token to tenants, their ids separated by ``|``."""

READ: Final = "read"
"""The attribute, without a value, of a token that changes nothing."""

_TENANT_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_GRAMMAR: Final = f"{LAST_DAY}=YYYY-MM-DD, {TENANTS}=ID|ID or {READ}"


def today_in_utc() -> date:
    """Return the present day."""
    return datetime.now(UTC).date()


MIN_PROOF: Final = 16
"""Bytes of a proof that cannot be guessed (NIST SP 800-107, §5.3.4)."""


@dataclass(frozen=True, slots=True)
class Access:
    """The part of the service that a token opens."""

    tenants: frozenset[str] | None = None
    """The ids of the tenants it is bound to; None for every tenant, and all of them together."""
    read_only: bool = False
    """True if it changes nothing."""

    def covers(self, tenant_id: str | None) -> bool:
        """Return True if this tenant may be seen; None stands for all together."""
        return self.tenants is None or tenant_id in self.tenants


FULL_ACCESS: Final = Access()
"""Every tenant, to read and to change."""


@dataclass(frozen=True, slots=True)
class AdminToken:
    """The attributes of a configured token, which follow its secret: ``SECRET;until=2027-03-31;tenants=a|b;read``."""

    last_day: date | None = None
    """``None``: it is taken for good."""
    access: Access = FULL_ACCESS

    @classmethod
    def parse(cls, text: str) -> tuple[str, Self]:
        """Return the secret that ``text`` states, and its attributes.

        Raises:
            ValueError: if the secret could not be sent in a header, or an attribute is wrong; without showing it.
        """
        secret, *stated = text.split(";")
        _demand_sendable(secret)
        attributes: dict[str, str] = {}
        for attribute in stated:
            name, equals, value = (part.strip() for part in attribute.partition("="))
            if name not in (LAST_DAY, TENANTS, READ) or bool(equals) == (name == READ):
                raise ValueError(f"ADMIN_TOKEN: after a semicolon stands {_GRAMMAR}, and nothing else")
            if name in attributes:
                raise ValueError(f"ADMIN_TOKEN: {name} is there twice")
            attributes[name] = value
        last_day = _day(attributes[LAST_DAY]) if LAST_DAY in attributes else None
        tenants = _tenants(attributes[TENANTS]) if TENANTS in attributes else None
        return secret, cls(last_day, Access(tenants, read_only=READ in attributes))

    def holds_on(self, day: date) -> bool:
        """Return whether the token is taken on this day."""
        return self.last_day is None or day <= self.last_day


class AdminTokens:
    """The tokens that are taken; several while one is being rotated out. Keeps only their hashes.

    Raises:
        ValueError: if a token could not be sent in a header, or states an attribute that is wrong.
    """

    __slots__ = ("_known", "_today")

    def __init__(self, tokens: Iterable[str] = (), *, today: Callable[[], date] = today_in_utc) -> None:
        parsed = [AdminToken.parse(text) for text in tokens]
        self._known = tuple((digest(secret.encode()), token) for secret, token in parsed)
        self._today = today

    @classmethod
    def parse(cls, text: str, *, required: bool = False) -> Self:
        """Return the tokens of a comma-separated list, as ``ADMIN_TOKEN`` has them.

        Raises:
            ValueError: as above, or if one is required and there is none.
        """
        tokens = [token.strip() for token in text.split(",") if token.strip()]
        if required and not tokens:
            raise ValueError("ADMIN_TOKEN is empty: nobody could use the admin endpoints")
        return cls(tokens)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, given: bytes) -> AdminToken | None:
        """Return the attributes of the token that was ``given``; ``None`` for one that is not configured.

        The time it takes says nothing about any. The token may be past its last day: see :meth:`holds`.
        """
        return self.by_digest(digest(given))

    def by_digest(self, hashed: bytes) -> AdminToken | None:
        """Return the same for a token that only its :func:`digest` is known of."""
        found = [token for known, token in self._known if hmac.compare_digest(hashed, known)]
        return found[0] if found else None

    def by_proof(self, message: bytes, proof: bytes) -> AdminToken | None:
        """Return the same for the token by which :func:`prove` made the proof of a message, or its first bytes.

        It takes at least sixteen of them; of fewer, no token is found.
        """
        size = max(len(proof), MIN_PROOF)
        found = [token for known, token in self._known if hmac.compare_digest(prove(known, message)[:size], proof)]
        return found[0] if found else None

    def holds(self, token: AdminToken) -> bool:
        """Return whether a token that was found is taken today."""
        return token.holds_on(self._today())

    def take(self, given: bytes) -> bool:
        """Return whether ``given`` is one of them and is taken today."""
        token = self.find(given)
        return token is not None and self.holds(token)


def digest(token: bytes) -> bytes:
    """Return the hash that tokens are compared by: of equal length whatever the token's."""
    return sha256(token).digest()


def prove(hashed: bytes, message: bytes) -> bytes:
    """Return the proof that a message goes with a token of which only the :func:`digest` is known (RFC 2104).

    It tells nothing of the token, and no other message has the same: kept where others can read or write, it opens
    nothing to them.
    """
    return hmac.digest(hashed, message, "sha256")


def fingerprint(token: bytes) -> str:
    """Return eight hex digits that tell a token from others in an audit.

    They open no door, and are no part of the hash that tokens are compared by. Who sees them can check a guess: tokens
    have to be long and random for this as for any other reason.
    """
    return sha256(b"callscope admin token " + token).hexdigest()[:8]


def _demand_sendable(secret: str) -> None:
    if not secret or secret != secret.strip() or not secret.isprintable():
        raise ValueError("ADMIN_TOKEN: a token must be printable, without spaces around it, and not empty")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"ADMIN_TOKEN: {LAST_DAY} must be a date such as 2027-03-31") from None


def _tenants(text: str) -> frozenset[str]:
    tenants = [part.strip() for part in text.split("|")]
    if not all(_TENANT_ID.fullmatch(tenant) for tenant in tenants):
        raise ValueError(f"ADMIN_TOKEN: {TENANTS} must be ids of tenants, separated by |, such as acme|globex")
    return frozenset(tenants)
