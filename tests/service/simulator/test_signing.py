"""Webhook signatures, against the two libraries that verify them."""

import base64
from datetime import UTC, datetime

import pytest
from openai import AsyncOpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from service.simulator.delivery import InvalidSecretError, key_of, signature, signed_headers
from tests.service.simulator.harness import SECRET

BODY = b'{"object":"event","id":"evt_1","type":"realtime.call.incoming","created_at":1,"data":{"call_id":"rtc_1"}}'
GOLDEN_BODY = (
    b'{"object":"event","id":"evt_test1","type":"realtime.call.incoming","created_at":1750287018,"data":{"call_id":'
    b'"rtc_u1_9c6574da8b8a41a18da9308f4ad974ce","sip_headers":[{"name":"From","value":"sip:+142555512112@sip.example'
    b'.com"},{"name":"To","value":"sip:+18005551212@sip.example.com"},{"name":"Call-ID","value":"03782086-4ce9-44bf-'
    b'8b0d-4e303d2cc590"}],"sip_media_security":"srtp"}}'
)


def test_the_golden_vector_is_reproduced() -> None:
    """A delivery whose signature is known gets exactly that signature."""
    made = signature(SECRET, "wh_685342e6c53c8190a1be43f081506c52", 1750287078, GOLDEN_BODY)
    assert made == "v1,wPHhEUjYTWxCx93cIAQO+OcO5QJX3zwGXFUmFwptbJY="


def test_the_standard_library_for_webhooks_accepts_a_delivery() -> None:
    """What is signed now passes ``standardwebhooks``, and one byte more in the body does not."""
    headers = signed_headers(SECRET, "wh_1", int(datetime.now(UTC).timestamp()), BODY)
    assert Webhook(SECRET).verify(BODY, headers)["data"]["call_id"] == "rtc_1"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


async def test_the_official_client_accepts_a_delivery() -> None:
    """What is signed now passes the SDK's own verification and becomes its typed event."""
    headers = signed_headers(SECRET, "wh_1", int(datetime.now(UTC).timestamp()), BODY)
    async with AsyncOpenAI(api_key="sk-test", webhook_secret=SECRET) as client:
        event = client.webhooks.unwrap(BODY, headers)
    assert event.type == "realtime.call.incoming"
    assert event.data.call_id == "rtc_1"


@pytest.mark.parametrize("secret", ["", "AAEC", "whsec_not base64!"])
def test_a_secret_of_another_form_is_refused(secret: str) -> None:
    """A secret that verifiers would read differently from each other is refused before anything is signed."""
    with pytest.raises(InvalidSecretError):
        key_of(secret)


def test_the_key_is_what_the_secret_encodes() -> None:
    """The key is the decoded base64 after the prefix."""
    assert base64.b64encode(key_of(SECRET)).decode() == SECRET.removeprefix("whsec_")
