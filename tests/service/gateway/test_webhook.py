"""What the webhook endpoint answers to deliveries of every kind, good and hostile."""

import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.simulator import delivery
from telemetry.semconv.attributes import CallId, WebhookOutcome
from tests.service.gateway.harness import (
    SECRET,
    GatewayHarness,
    announcement,
    fresh_id,
    running_harness,
    signed_headers,
)

CALLER = "4155550123"
"""What no answer, log or metric may hold."""


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[GatewayHarness]:
    async with running_harness(tmp_path) as harness:
        yield harness


async def test_a_delivery_signed_by_the_specifications_library_is_a_counted_call(shared: GatewayHarness) -> None:
    """A webhook signed with ``standardwebhooks`` becomes a received call; the same delivery again is deduped."""
    body, webhook_id = announcement(), "wh_once"
    first = await shared.deliver(body, webhook_id=webhook_id)
    again = await shared.deliver(body, webhook_id=webhook_id)
    assert (first.status_code, first.json()) == (200, {"ok": True})
    assert (again.status_code, again.json()) == (200, {"ok": True, "deduped": True})
    await shared.settled()
    assert (await shared.numbers())["received_calls"] == 1


async def test_one_call_under_two_webhook_ids_is_one_call(shared: GatewayHarness) -> None:
    """The call id is deduplicated too, while the call runs and after it is over."""
    body = announcement()
    answers = [await shared.deliver(body) for _ in range(2)]
    await shared.settled()
    answers.append(await shared.deliver(body))
    assert [answer.json().get("deduped", False) for answer in answers] == [False, True, True]
    numbers = await shared.numbers()
    assert (numbers["received_calls"], numbers["lifecycle_violations"]) == (1, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {"webhook-signature": "garbage"},
        {"webhook-signature": "v1,é"},
        {"webhook-id": "wh_other"},
        {"webhook-timestamp": "not-a-number"},
        {"webhook-timestamp": "0"},
    ],
    ids=["wrong", "empty", "no version", "not ascii", "other id", "no time", "long ago"],
)
async def test_a_signature_that_does_not_fit_is_refused(shared: GatewayHarness, headers: dict[str, str]) -> None:
    """401 with problem details, whatever is wrong with it; nothing is received."""
    body = announcement()
    made = dict(signed_headers(body, "wh_1")) | headers
    raw = [(name.encode(), value.encode("utf-8")) for name, value in made.items()]
    answer = await shared.client.post("/api/v1/openai/webhook", content=body, headers=raw)
    await _refused(shared, answer, 401)


async def test_a_stale_or_unsigned_delivery_is_refused(shared: GatewayHarness) -> None:
    """More than five minutes old, from the future, or without the headers: 401."""
    body = announcement()
    for offset in (timedelta(minutes=-6), timedelta(minutes=6)):
        headers = signed_headers(body, "wh_1", datetime.now(UTC) + offset)
        await _refused(shared, await shared.client.post("/api/v1/openai/webhook", content=body, headers=headers), 401)
    await _refused(shared, await shared.client.post("/api/v1/openai/webhook", content=body), 401)


async def test_a_refusal_says_its_cause(
    shared: GatewayHarness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cause has a sentence, an outcome of its own, and one line in the log however often it comes."""
    counted: list[WebhookOutcome] = []
    monkeypatch.setattr(shared.container.telemetry.tracker, "webhook", counted.append)
    body, now = announcement(), datetime.now(UTC)
    right = signed_headers(body, "wh_1", now)
    causes = {
        "signature_missing": ({}, "no signature"),
        "signature_unreadable": (dict(right) | {"webhook-timestamp": "soon"}, "webhook-timestamp"),
        "signature_too_old": (signed_headers(body, "wh_1", now - timedelta(seconds=400)), "400 s old, 100 s more"),
        "signature_too_new": (signed_headers(body, "wh_1", now + timedelta(seconds=700)), "s more than is allowed"),
        "signature_no_match": (dict(right) | {"webhook-id": "wh_2"}, "None of the signatures"),
    }
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            for cause, (headers, said) in causes.items():
                answer = await shared.client.post("/api/v1/openai/webhook", content=body, headers=headers)
                detail = answer.json()["detail"].replace("401 s old, 101", "400 s old, 100")
                assert (answer.status_code, said in detail) == (401, True), (cause, detail)
    lines = [r.getMessage() for r in caplog.records if "delivery was refused" in r.getMessage()]
    assert len(lines) <= len(causes)
    assert counted == [WebhookOutcome(cause) for cause in causes] * 3


async def test_what_is_not_text_cannot_be_verified(shared: GatewayHarness) -> None:
    """Signatures are over UTF-8: a body of other bytes is refused like a wrong signature, rightly signed or not."""
    await _refused(shared, await _deliver_raw(shared, b"\xff\xfe"), 401)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"not json", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"[" * 100_000, "body"),
        (b"{}", "type"),
        (b'{"type": 7}', "type"),
        (b'{"type": "realtime.call.incoming"}', "data"),
        (b'{"type": "realtime.call.incoming", "data": []}', "data"),
        (announcement(call_id=7), "data.call_id"),
        (announcement(call_id=""), "data.call_id"),
        (announcement(call_id="a/../b?x=1"), "data.call_id"),
        (announcement(call_id="x" * 10_000), "data.call_id"),
        (announcement(call_id="rtc_\x00\x1b[31m"), "data.call_id"),
        (announcement(call_id="rtc_é"), "data.call_id"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:40]),
)
async def test_a_signed_body_nobody_can_read_names_the_field(shared: GatewayHarness, body: bytes, field: str) -> None:
    """400 with the field at fault, and never the value."""
    answer = await _deliver_raw(shared, body)
    await _refused(shared, answer, 400)
    assert [problem["field"] for problem in answer.json()["errors"]] == [field]


async def test_events_of_other_types_are_taken_and_ignored(shared: GatewayHarness) -> None:
    """200 for types known to the SDK and for types nobody knows; no call is received."""
    for kind in ("realtime.call.ended", "response.completed", "live.transport.incoming", "x" * 5_000):
        answer = await shared.deliver(json.dumps({"type": kind, "data": {"call_id": "rtc_1"}}).encode())
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert (await shared.numbers())["received_calls"] == 0


async def test_a_body_over_the_limit_is_not_read_on(shared: GatewayHarness) -> None:
    """413, with a length given and without one; a body just under the limit passes."""
    large = b" " * (256 * 1024 + 1)
    await _refused(shared, await shared.client.post("/api/v1/openai/webhook", content=large), 413)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 1024

    await _refused(shared, await shared.client.post("/api/v1/openai/webhook", content=chunks()), 413)
    body = announcement(padding="x" * 250_000)
    assert (await shared.deliver(body)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        "text",
        [{"name": "To"}],
        [{"name": "To", "value": 7}],
        [{"name": "To", "value": "x" * 100_000}],
        [{"name": "To", "value": "\x00\r\n\x1b"}],
        [{"name": "To", "value": "sip:a\ud800b@x"}],
        [{"name": "To", "value": '"' * 5_000 + "<" * 5_000}],
        [{"name": "To", "value": "sip:anonymous@anonymous.invalid"}],
        [{"name": f"X-{place}", "value": "y"} for place in range(2_000)],
    ],
    ids=repr,
)
async def test_absurd_sip_headers_are_an_unknown_number(shared: GatewayHarness, headers: object) -> None:
    """Whatever the headers hold, the call is received for nobody and turned away."""
    answer = await shared.deliver(announcement(sip_headers=headers))
    assert answer.status_code == 200
    await shared.settled()
    numbers = await shared.numbers("_unknown")
    assert (numbers["received_calls"], numbers["rejected_calls_tenant_not_configured"]) == (1, 1)


async def test_unknown_numbers_by_the_hundred_make_no_series(harness: GatewayHarness) -> None:
    """Calls to hundreds of numbers nobody has count together, under one label."""
    before = set(harness.container.telemetry.live.store.tenants())
    for place in range(300):
        answer = await harness.deliver(announcement(to=f"<sip:+1212555{place:04d}@sip.example.com>"))
        assert answer.status_code == 200
    await harness.settled()
    assert (await harness.numbers("_unknown"))["received_calls"] == 300
    assert set(harness.container.telemetry.live.store.tenants()) - before == {"_unknown"}


async def test_nothing_personal_is_logged_or_answered(shared: GatewayHarness, caplog: pytest.LogCaptureFixture) -> None:
    """The caller's number is in no log line and no answer, not even where the delivery is refused."""
    with caplog.at_level(logging.DEBUG, logger="callscope"), caplog.at_level(logging.DEBUG, logger="service"):
        answers = [
            await shared.deliver(announcement()),
            await shared.deliver(announcement(call_id="a b")),
            await shared.client.post("/api/v1/openai/webhook", content=announcement()),
        ]
        await shared.settled()
    assert not [line for line in caplog.messages if CALLER in line]
    assert not [record for record in caplog.records if CALLER in repr(record.__dict__)]
    assert not [answer for answer in answers if CALLER in answer.text]


async def test_while_draining_a_call_is_asked_to_come_again(harness: GatewayHarness) -> None:
    """503 with Retry-After; a delivery refused so is taken as new elsewhere, not deduplicated."""
    await harness.container.manager.drain()
    answer = await harness.deliver(announcement())
    await _refused(harness, answer, 503)
    assert int(answer.headers["retry-after"]) > 0


async def test_a_traceparent_is_linked_and_not_trusted(shared: GatewayHarness) -> None:
    """The call's trace is its own; the one named in the header is a link on it."""
    call_id = fresh_id()
    await shared.deliver(announcement(call_id), traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    await shared.settled()
    trace = shared.record(CallId(call_id)).trace
    assert trace is not None
    assert trace.trace_id != "0af7651916cd43dd8448eb211c80319c"


async def _deliver_raw(harness: GatewayHarness, body: bytes) -> Any:  # noqa: ANN401 - the HTTP client's answer
    """A body of any bytes: the specification's library signs text only."""
    headers = delivery.signed_headers(SECRET, "wh_raw", int(datetime.now(UTC).timestamp()), body)
    return await harness.client.post("/api/v1/openai/webhook", content=body, headers=headers)


async def _refused(harness: GatewayHarness, answer: Any, status: int) -> None:  # noqa: ANN401 - the HTTP client's answer
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert (await harness.numbers())["received_calls"] == 0
