"""Delivers webhooks as the carrier does: signed anew for each attempt, tried again after anything but a 2xx."""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

import httpx2

from service.simulator.timing import TimeScale
from telemetry.clock import Clock

ATTEMPTS = 3
"""Attempts unless more are wanted. The carrier goes on for days; no caller waits so long."""
FIRST_BACKOFF = 0.4
"""Natural seconds before the second attempt; each further one waits twice as long …"""
LONGEST_BACKOFF = 20.0
"""… up to this."""
SHORTEST_BACKOFF = 0.05
"""Real seconds between attempts at any time scale."""
ANSWER_TIMEOUT = 5.0
"""Seconds a gateway has to answer one delivery."""
MAX_CONNECTIONS = 100
"""Deliveries in progress at a time; further ones wait."""
WEBHOOK_PATH = "/api/v1/openai/webhook"
"""The path a gateway listens at, below its address."""
PREFIX = "whsec_"
"""The beginning of a Standard Webhooks secret; the rest is the base64 of the key."""


class InvalidSecretError(ValueError):
    """The webhook secret is not of the form ``whsec_<base64>``."""


class WebhookSender:
    """Posts events to one gateway."""

    def __init__(
        self, client: httpx2.AsyncClient, *, secret: str, time_scale: TimeScale, clock: Clock, attempts: int = ATTEMPTS
    ) -> None:
        self._client, self._secret, self._time_scale, self._clock = client, secret, time_scale, clock
        self._attempts = attempts
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def deliver(self, target: Callable[[], str], webhook_id: str, body: bytes) -> list[int]:
        """Deliver an event; returns each attempt's status, 0 where none came, the last a 2xx if it succeeded.

        ``target`` is asked before each attempt: a gateway may come back at another address.
        """
        statuses: list[int] = []
        for attempt in range(self._attempts):
            statuses.append(await self._attempt(target(), webhook_id, body))
            if delivered(statuses):
                break
            if attempt < self._attempts - 1:
                await self._time_scale.pause(
                    min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**attempt), at_least=SHORTEST_BACKOFF
                )
        return statuses

    async def _attempt(self, target: str, webhook_id: str, body: bytes) -> int:
        async with self._free:
            timestamp = self._clock.now().unix_nanos // 1_000_000_000
            headers = signed_headers(self._secret, webhook_id, timestamp, body)
            try:
                answer = await self._client.post(target + WEBHOOK_PATH, content=body, headers=headers)
            except httpx2.TransportError:
                return 0
            return answer.status_code


def delivered(statuses: list[int]) -> bool:
    """Return True if the last attempt was answered 2xx; redirects are not followed and count as failures."""
    return bool(statuses) and 200 <= statuses[-1] < 300  # noqa: PLR2004 - RFC 9110's successful statuses


def webhook_client(timeout: float = ANSWER_TIMEOUT) -> httpx2.AsyncClient:
    """Return an HTTP client as the carrier's: no redirects, no proxies of this machine, a short time-out in seconds."""
    limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    return httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False)


def signed_headers(secret: str, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return every header of one delivery attempt."""
    return {
        "content-type": "application/json",
        "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, webhook_id, timestamp, body),
    }


def signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of one delivery attempt at ``timestamp`` (Unix seconds)."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def key_of(secret: str) -> bytes:
    """Return the signing key inside a ``whsec_…`` secret; raises :class:`InvalidSecretError`."""
    if not secret.startswith(PREFIX):
        raise InvalidSecretError(f"the webhook secret must start with {PREFIX!r}")
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise InvalidSecretError(f"the webhook secret after {PREFIX!r} must be base64: {error}") from error
