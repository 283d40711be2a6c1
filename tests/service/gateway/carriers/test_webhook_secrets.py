"""Webhook secrets while one is rotated out: a delivery signed with any of them is taken."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from openai import AsyncOpenAI
from standardwebhooks import Webhook

from service.gateway.carriers.openai_realtime import OpenAIRealtimeCarrier
from service.gateway.carriers.proxy import http_client
from service.gateway.carriers.signatures import SignatureError

OLD, NEW, FOREIGN = (f"whsec_{b64encode(bytes([number]) * 24).decode()}" for number in range(3))
BODY = b'{"type": "realtime.call.incoming"}'


def _signed(secret: str) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("wh_1", now, BODY.decode())
    return {"webhook-id": "wh_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


async def _carrier(*secrets: str) -> OpenAIRealtimeCarrier:
    http = http_client(None)
    client = AsyncOpenAI(api_key="unused", http_client=http)
    return OpenAIRealtimeCarrier(client, http, "gpt-realtime", webhook_secrets=secrets)


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_any_of_the_secrets_will_do(secret: str) -> None:
    """Old and new deliveries cross while the carrier changes over."""
    carrier = await _carrier(NEW, OLD)
    carrier.verify(BODY, _signed(secret))
    await carrier.close()


@pytest.mark.parametrize("secrets", [(NEW, OLD), ()])
async def test_no_other_secret_will(secrets: tuple[str, ...]) -> None:
    """A signature under none of them is refused, as is every one where there is no secret."""
    carrier = await _carrier(*secrets)
    with pytest.raises(SignatureError):
        carrier.verify(BODY, _signed(FOREIGN))
    await carrier.close()
