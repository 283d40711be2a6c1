"""The check in front of the admin endpoints: a request needs one of the configured tokens."""

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import APIKeyHeader

from service.http.access import demand_access
from service.http.problems import ProblemError
from service.http.tokens import HEADER, AdminToken, AdminTokens, digest
from telemetry.logs.throttle import ThrottledLog

BURST: Final = 20
"""Wrong tokens in a row that one address may send."""

SECONDS_A_GUESS: Final = 3.0
"""Seconds until one address may send one more after that."""

MAX_ADDRESSES: Final = 10_000
"""Addresses kept, the latest; who commands more than that is not slowed down by any."""

_IPV6_NETWORK: Final = 64
# One subscriber of IPv6 has a network of its own, not an address.


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class AddressBrake:
    """Slows down addresses that keep failing: a bucket each, which every failure fills and time drains."""

    __slots__ = ("_buckets", "_monotonic")

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """Return how long the address has to wait before it may try again; 0: it may now."""
        bucket = self._drained(_network(address))
        return (
            0
            if bucket is None or bucket.level + 1 <= BURST
            else math.ceil((bucket.level + 1 - BURST) * SECONDS_A_GUESS)
        )

    def failed(self, address: str) -> None:
        """Note a failure of the address."""
        network = _network(address)
        bucket = self._drained(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(0.0, self._monotonic())
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        bucket.level += 1
        self._buckets.move_to_end(network)

    def _drained(self, network: str) -> _Bucket | None:
        bucket = self._buckets.get(network)
        if bucket is None:
            return None
        now = self._monotonic()
        bucket.level -= (now - bucket.at) / SECONDS_A_GUESS
        bucket.at = now
        if bucket.level > 0:
            return bucket
        del self._buckets[network]
        return None


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed)


CHALLENGE = f'APIKey realm="admin", header="{HEADER}"'
"""The challenge of a 401, which RFC 9110 §11.6.1 demands."""

ADMIN_SCHEME = APIKeyHeader(
    name=HEADER,
    scheme_name="AdminToken",
    description="One of the tokens in `ADMIN_TOKEN`.",
    auto_error=False,
)
"""The header as the OpenAPI document describes it."""

AdminCheck = Callable[..., Awaitable[None]]
"""A FastAPI dependency that raises unless the request may use the admin endpoints."""

MAX_PROVEN: Final = 1_000
"""Pairs of an address and a token it sent that are not slowed down by others at the address."""

TOO_MANY: Final = "Too many wrong tokens came from this address."

_logger = logging.getLogger(__name__)


class Refusal(StrEnum):
    """The cause for which a request was turned away."""

    MISSING = "missing"
    """It brought no token."""
    WRONG = "wrong"
    """It brought one that is not configured."""
    EXPIRED = "expired"
    """It brought one whose last day is over."""
    BRAKED = "braked"
    """Its address had sent too many wrong ones; what it brought was not looked at."""


class AdminAttempts:
    """Counts the requests that were turned away, and slows down addresses that guess. Safe for threads."""

    __slots__ = ("_brake", "_counts", "_lock", "_log", "_proven")

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = Lock()
        self._counts = dict.fromkeys(Refusal, 0)
        self._brake = AddressBrake(monotonic=monotonic)
        self._proven: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._log = ThrottledLog(_logger, monotonic=monotonic)

    def wait_seconds(self, address: str, token: bytes) -> int:
        """Return how long to wait before the token may be tried from the address; 0: now.

        A token that was taken from the address before is not held up by wrong ones of others there, behind a proxy
        that is not named as trusted, say.
        """
        with self._lock:
            return 0 if (address, digest(token)) in self._proven else self._brake.wait_seconds(address)

    def taken(self, address: str, token: bytes) -> None:
        """Note that the token was right."""
        pair = (address, digest(token))
        with self._lock:
            self._proven[pair] = None
            self._proven.move_to_end(pair)
            if len(self._proven) > MAX_PROVEN:
                self._proven.popitem(last=False)

    def count(self, refusal: Refusal, address: str = "") -> None:
        """Note a refusal; a wrong token brings its address nearer to the brake."""
        with self._lock:
            self._counts[refusal] += 1
            if refusal is Refusal.WRONG:
                self._brake.failed(address)
        if refusal is not Refusal.MISSING:
            self._log.warning("refused", "an admin token was refused (%s) from %s", refusal.value, address)

    def counts(self) -> Mapping[Refusal, int]:
        """Return how many there have been, by reason."""
        with self._lock:
            return dict(self._counts)

    @property
    def refused(self) -> int:
        """Requests turned away so far."""
        return sum(self.counts().values())


def require_admin(tokens: AdminTokens, attempts: AdminAttempts) -> AdminCheck:
    """Return the dependency of every admin endpoint.

    It raises a 503 problem while no token is configured, a 401 problem, counted, for a token that is missing, wrong or
    past its last day, a 429 one after a burst of wrong ones from one address, and a 403 one for what the token does not
    open.
    """
    gate = AdminGate(tokens, attempts)

    async def admin(request: Request, token: Annotated[str | None, Security(ADMIN_SCHEME)]) -> None:
        # Starlette reads headers as Latin-1; this gives back the bytes that were sent, UTF-8 or not.
        known = gate.check((token or "").encode("latin-1"), client_address(request))
        demand_access(request, known.access)

    return admin


class AdminGate:
    """Checks tokens, wherever a request brings one, and counts those that are refused."""

    __slots__ = ("_attempts", "_tokens")

    def __init__(self, tokens: AdminTokens, attempts: AdminAttempts) -> None:
        self._tokens = tokens
        self._attempts = attempts

    def check(self, given: bytes, address: str) -> AdminToken:
        """Return the attributes of the token; ``given`` is empty if the request brought none.

        Raises:
            ProblemError: 503 while none is configured, 401 for one that is missing, wrong or past its last day, 429
                after a burst of wrong ones from the address.
        """
        if not self._tokens:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "No admin token is configured: set ADMIN_TOKEN.")
        if not given:
            self._attempts.count(Refusal.MISSING, address)
            raise unauthorized(f"Send an admin token in {HEADER}.")
        wait = self._attempts.wait_seconds(address, given)
        if wait:
            self._attempts.count(Refusal.BRAKED, address)
            raise too_many_guesses(wait)
        known = self._tokens.find(given)
        if known is None:
            self._attempts.count(Refusal.WRONG, address)
            raise unauthorized(f"The token in {HEADER} is not valid.")
        if not self._tokens.holds(known):
            self._attempts.count(Refusal.EXPIRED, address)
            raise unauthorized(f"The last day of the token in {HEADER} was {known.last_day}.")
        self._attempts.taken(address, given)
        return known


def client_address(request: Request) -> str:
    """Return the address of the client; empty if it has none, as on a Unix socket."""
    return request.client.host if request.client is not None else ""


def unauthorized(detail: str) -> ProblemError:
    """Return the 401 problem."""
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": CHALLENGE})


def too_many_guesses(wait_seconds: int) -> ProblemError:
    """Return the 429 problem, which says when to come again."""
    detail = f"{TOO_MANY} Try again in {wait_seconds} s."
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={"Retry-After": str(wait_seconds)})
