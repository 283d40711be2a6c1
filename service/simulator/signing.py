"""Signed webhook deliveries, as the Standard Webhooks specification has them (symmetric, ``v1``)."""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
"""How a Standard Webhooks secret begins; the rest is the base64 of the key."""


class InvalidSecretError(ValueError):
    """The webhook secret is not of the form ``whsec_<base64>``."""


def key_of(secret: str) -> bytes:
    """The signing key inside a ``whsec_…`` secret; raises :class:`InvalidSecretError`."""
    if not secret.startswith(PREFIX):
        raise InvalidSecretError(f"the webhook secret must start with {PREFIX!r}")
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise InvalidSecretError(f"the webhook secret after {PREFIX!r} must be base64: {error}") from error


def signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` of one delivery attempt at ``timestamp`` (Unix seconds)."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signed_headers(secret: str, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Every header of one delivery attempt."""
    return {
        "content-type": "application/json",
        "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, webhook_id, timestamp, body),
    }
