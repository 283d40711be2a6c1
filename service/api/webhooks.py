"""The carrier's webhook. The signature comes first: until it is right, nothing of the body is looked at."""

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field

from service.e164 import E164
from service.gateway.admission import IncomingCall
from service.gateway.carriers.carrier import Carrier
from service.gateway.carriers.signatures import SignatureError, SignatureFault
from service.gateway.carriers.sip import (
    DIALLED_HEADERS,
    NoSipNumber,
    SipHeader,
    SipNumber,
    caller_number,
    dialled,
    sip_headers,
)
from service.gateway.durability import Announced
from service.gateway.manager import CallManager
from service.http.bodies import BodyTooLargeError, read_body
from service.http.openapi import JSON, Responses, Tag, declared, declared_invalid, header
from service.http.parameters import known_parameters
from service.http.problems import FieldProblem, ProblemError
from service.http.schemas import FrozenSchema
from telemetry.calls.tracker import CallTracker
from telemetry.logs.throttle import ThrottledLog
from telemetry.semconv.attributes import CallId, WebhookOutcome

PATH: Final = "/api/v1/openai/webhook"
MAX_BODY_BYTES: Final = 256 * 1024
"""An INVITE's headers are a few kilobytes; what is larger is no announcement."""
INCOMING: Final = "realtime.call.incoming"
"""The one event type acted on. The end of a call is never announced: the session's end tells."""
RETRY_AFTER_SECONDS: Final = 2
"""Seconds until the carrier may ask again: another process, or this one with room again, takes the call then."""
_OUTCOMES: Final = {
    SignatureFault.MISSING: WebhookOutcome.SIGNATURE_MISSING,
    SignatureFault.UNREADABLE: WebhookOutcome.SIGNATURE_UNREADABLE,
    SignatureFault.TOO_OLD: WebhookOutcome.SIGNATURE_TOO_OLD,
    SignatureFault.TOO_NEW: WebhookOutcome.SIGNATURE_TOO_NEW,
    SignatureFault.NO_MATCH: WebhookOutcome.SIGNATURE_NO_MATCH,
}
_log: Final = ThrottledLog(logging.getLogger(__name__))
NO_CALL_NOW: Final = "No call is taken now; send it again."
NOT_CONFIGURED: Final = "No webhook secret is configured: set OPENAI_WEBHOOK_SECRET."


class Received(FrozenSchema):
    """The delivery was taken."""

    ok: bool = Field(True, description="Always true; the carrier need not send it again.")
    deduped: bool | None = Field(
        None, description="True if this delivery, or its call, had been taken before; absent otherwise."
    )


_TAKEN: Final = {
    "taken": {"summary": "Taken, whatever becomes of the call", "value": {"ok": True}},
    "duplicate": {"summary": "Taken before", "value": {"ok": True, "deduped": True}},
}
_MALFORMED: Final = ProblemError(
    HTTPStatus.BAD_REQUEST,
    "data.call_id must be a string.",
    errors=[FieldProblem(field="data.call_id", detail="must be a string")],
)
RESPONSES: Final[Responses] = {
    200: {
        "model": Received,
        "description": "Every signed event that can be read, also one that is ignored or whose call is rejected.",
        "content": {JSON: {"examples": _TAKEN}},
    },
    400: declared(_MALFORMED, "Signed, but not an event this service can read; the field is named.", PATH),
    401: declared(
        ProblemError(HTTPStatus.UNAUTHORIZED, "The signature is 400 s old, 100 s more than is allowed."),
        "The signature is missing, unreadable, too old, too new, or matches nothing; the detail says which.",
        PATH,
    ),
    422: declared_invalid(f"{PATH}?x=1", "query.x", "is no parameter of this endpoint"),
    413: declared(BodyTooLargeError(MAX_BODY_BYTES), "Larger than 256 KiB.", PATH),
    503: declared(
        ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, NO_CALL_NOW),
        "No call is taken now, or no webhook secret is configured.",
        PATH,
        headers={
            "Retry-After": header("When to send it again, in seconds.", str(RETRY_AFTER_SECONDS)) | {"required": False}
        },
    ),
}
"""The responses by status."""
_EVENT: Final[dict[str, Any]] = {
    "object": "event",
    "id": "evt_1",
    "type": INCOMING,
    "created_at": 1_750_287_018,
    "data": {
        "call_id": "rtc_u1_9c65",
        "sip_headers": [
            {"name": "From", "value": "sip:+14155550123@sip.example.com"},
            {"name": "To", "value": "sip:+18005550100@sip.example.com"},
        ],
    },
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An event of the carrier. Types other than the incoming call's are taken and ignored.",
    "required": ["type"],
    "properties": {
        "type": {"type": "string"},
        "data": {
            "type": "object",
            "properties": {
                "call_id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"},
                "sip_headers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
                    },
                },
            },
        },
    },
}


def _signed(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


REQUEST: Final[dict[str, Any]] = {
    "parameters": [
        _signed("webhook-id", "The delivery's id; one that was seen is not taken again.", "wh_1"),
        _signed(
            "webhook-timestamp", "When it was signed, in seconds since 1970; five minutes old at most.", "1750287018"
        ),
        _signed(
            "webhook-signature",
            "Signatures as Standard Webhooks defines them.",
            "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        ),
    ],
    "requestBody": {"required": True, "content": {JSON: {"schema": _SCHEMA, "example": _EVENT}}},
}
"""The request as the framework cannot know it: nothing of it is parsed before its signature was found right."""
MAX_REMEMBERED: Final = 100_000
"""Ids kept. The carrier repeats for up to 72 hours; at this size a hundred calls a minute are remembered for 16."""


class SeenDeliveries:
    """Remembers the last deliveries by their id, the oldest forgotten first."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._forgotten = 0

    @property
    def forgotten(self) -> int:
        """Ids given up for room; a repetition of one would be taken as new, but for its call id."""
        return self._forgotten

    def __contains__(self, webhook_id: str) -> bool:
        """Return true if the delivery was seen."""
        return webhook_id in self._seen

    def add(self, webhook_id: str) -> None:
        """Remember a delivery."""
        self._seen[webhook_id] = None
        if len(self._seen) > self._max_remembered:
            self._seen.popitem(last=False)
            self._forgotten += 1


_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
# The carrier's ids look like rtc_u1_9c65…; what could not stand in a path or a log line as it is, is no id.
_TRACE_HEADERS: Final = frozenset({"traceparent", "x-traceparent"})


@dataclass(frozen=True, slots=True)
class _Announcement:
    """A signed announcement, as far as it matters here."""

    call_id: CallId
    headers: tuple[SipHeader, ...]


def webhooks_router(
    *,
    carrier: Carrier | None,
    manager: CallManager,
    tracker: CallTracker,
    region: str | None = None,
    dialled_headers: tuple[str, ...] = DIALLED_HEADERS,
) -> APIRouter:
    """Return the webhook endpoint. Without a ``carrier`` (no secret is configured) every delivery is answered 503."""
    router = APIRouter(tags=[Tag.CARRIER])
    seen = SeenDeliveries()

    @router.post(
        PATH,
        summary="Take a signed event of the carrier",
        operation_id="webhook",
        response_model=Received,
        response_model_exclude_none=True,
        responses=RESPONSES,
        openapi_extra=REQUEST,
    )
    async def receive(request: Request) -> Received:
        """Take an announced call, once, however often it is delivered; what becomes of it is decided afterwards.

        The signature comes first (Standard Webhooks): nothing of the body is looked at before.
        """
        received = tracker.clock.now()
        body = await _read(request, tracker)
        _verify(carrier, body, request, tracker)
        await known_parameters(request)
        announcement = _parse(body, tracker)
        if announcement is None:
            return _answered(tracker, WebhookOutcome.IGNORED)
        webhook_id = request.headers["webhook-id"]
        if webhook_id in seen:
            return _answered(tracker, WebhookOutcome.DEDUPED)
        announced = await manager.announce(
            IncomingCall(
                call_id=announcement.call_id,
                received=received,
                dialled=dialled(announcement.headers, region=region, order=dialled_headers),
                caller=_number(caller_number(announcement.headers, region=region)),
                traceparent=request.headers.get("traceparent") or _traceparent(announcement.headers),
            )
        )
        if announced is Announced.REFUSED:
            raise _refused(
                tracker,
                WebhookOutcome.UNAVAILABLE,
                HTTPStatus.SERVICE_UNAVAILABLE,
                NO_CALL_NOW,
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        seen.add(webhook_id)
        taken = announced is Announced.TAKEN
        return _answered(tracker, WebhookOutcome.ACCEPTED if taken else WebhookOutcome.DEDUPED)

    return router


async def _read(request: Request, tracker: CallTracker) -> bytes:
    try:
        return await read_body(request, MAX_BODY_BYTES)
    except BodyTooLargeError:
        tracker.webhook(WebhookOutcome.TOO_LARGE)
        raise


def _verify(carrier: Carrier | None, body: bytes, request: Request, tracker: CallTracker) -> None:
    if carrier is None:
        raise _refused(
            tracker,
            WebhookOutcome.UNAVAILABLE,
            HTTPStatus.SERVICE_UNAVAILABLE,
            NOT_CONFIGURED,
        )
    try:
        carrier.verify(body, request.headers)
    except SignatureError as error:
        _log.warning(error.fault, "a webhook delivery was refused: %s", error.detail)
        raise _refused(tracker, _OUTCOMES[error.fault], HTTPStatus.UNAUTHORIZED, error.detail) from None


def _parse(body: bytes, tracker: CallTracker) -> _Announcement | None:
    """Return the announcement in the body; ``None`` for an event of another type."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise _malformed(tracker, "body", "is not JSON") from None
    if not isinstance(event, dict):
        raise _malformed(tracker, "body", "must be a JSON object")
    kind, data = event.get("type"), event.get("data")
    if not isinstance(kind, str):
        raise _malformed(tracker, "type", "must be a string")
    if kind != INCOMING:
        return None
    if not isinstance(data, dict):
        raise _malformed(tracker, "data", "must be an object")
    return _Announcement(_call_id(data, tracker), sip_headers(data.get("sip_headers")))


def _call_id(data: dict[str, Any], tracker: CallTracker) -> CallId:
    call_id = data.get("call_id")
    if not isinstance(call_id, str):
        raise _malformed(tracker, "data.call_id", "must be a string")
    if not _CALL_ID.fullmatch(call_id):
        raise _malformed(tracker, "data.call_id", "must be 1 to 128 letters, digits or any of _ . : -")
    return CallId(call_id)


def _number(found: SipNumber | NoSipNumber) -> E164 | None:
    return found.number if isinstance(found, SipNumber) else None


def _traceparent(headers: Iterable[SipHeader]) -> str | None:
    return next((header.value for header in headers if header.name in _TRACE_HEADERS), None)


def _answered(tracker: CallTracker, outcome: WebhookOutcome) -> Received:
    tracker.webhook(outcome)
    return Received(ok=True, deduped=True if outcome is WebhookOutcome.DEDUPED else None)


def _malformed(tracker: CallTracker, field: str, problem: str) -> ProblemError:
    return _refused(
        tracker,
        WebhookOutcome.MALFORMED,
        HTTPStatus.BAD_REQUEST,
        f"{field} {problem}.",
        errors=[FieldProblem(field=field, detail=problem)],
    )


def _refused(
    tracker: CallTracker,
    outcome: WebhookOutcome,
    status: HTTPStatus,
    detail: str,
    *,
    errors: Iterable[FieldProblem] = (),
    headers: dict[str, str] | None = None,
) -> ProblemError:
    """Count the delivery and return the problem."""
    tracker.webhook(outcome)
    return ProblemError(status, detail, errors=list(errors), headers=headers)
