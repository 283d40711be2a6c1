"""Where the carrier announces calls. The signature comes first: until it is right, nothing of the body is looked at."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request

from service.api import tags
from service.api.webhook_document import (
    ANSWERS,
    INCOMING,
    MAX_BODY_BYTES,
    NO_CALL_NOW,
    NOT_CONFIGURED,
    PATH,
    REQUEST,
    RETRY_AFTER_SECONDS,
    TOO_LARGE,
    WRONG_SIGNATURE,
    Received,
)
from service.calls.deliveries import SeenDeliveries
from service.calls.intake import IncomingCall
from service.calls.manager import Announced, CallManager
from service.carriers.carrier import Carrier, SignatureError
from service.carriers.sip import NoSipNumber, SipHeader, SipNumber, caller_number, dialled_number, sip_headers
from service.e164 import E164
from service.problems import FieldProblem, ProblemError
from telemetry.attributes import CallId, WebhookOutcome
from telemetry.clock import Instant
from telemetry.tracker import CallTracker

_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
# The carrier's ids look like rtc_u1_9c65…; what could not stand in a path or a log line as it is, is no id.

_TRACE_HEADERS: Final = frozenset({"traceparent", "x-traceparent"})


@dataclass(frozen=True, slots=True)
class _Announcement:
    """A signed announcement, as far as it matters here."""

    call_id: CallId
    headers: tuple[SipHeader, ...]


def webhooks_router(*, carrier: Carrier | None, manager: CallManager, tracker: CallTracker) -> APIRouter:
    """The webhook endpoint. Without a ``carrier`` (no secret is configured) every delivery is answered 503."""
    router = APIRouter(tags=[tags.CARRIER])
    seen = SeenDeliveries()

    @router.post(
        PATH,
        summary="Take a signed event of the carrier",
        operation_id="webhook",
        response_model=Received,
        response_model_exclude_none=True,
        responses=ANSWERS,
        openapi_extra=REQUEST,
    )
    async def receive(request: Request) -> Received:
        """Take an announced call, once, however often it is delivered; what becomes of it is decided afterwards.

        The signature comes first (Standard Webhooks): nothing of the body is looked at before.
        """
        received = tracker.clock.now()
        body = await _read(request, tracker)
        _verify(carrier, body, request, tracker)
        announcement = _parse(body, tracker)
        if announcement is None:
            return _answered(tracker, WebhookOutcome.IGNORED)
        webhook_id = request.headers["webhook-id"]
        if webhook_id in seen:
            return _answered(tracker, WebhookOutcome.DEDUPED)
        announced = await manager.announce(_incoming(announcement, received, request))
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
    """The body, read no further than the limit, whatever its length was said to be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _refused(
                tracker,
                WebhookOutcome.TOO_LARGE,
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                TOO_LARGE,
            )
    return bytes(body)


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
    except SignatureError:
        raise _refused(
            tracker,
            WebhookOutcome.INVALID_SIGNATURE,
            HTTPStatus.UNAUTHORIZED,
            WRONG_SIGNATURE,
        ) from None


def _parse(body: bytes, tracker: CallTracker) -> _Announcement | None:
    """The announcement in the body; ``None`` for an event of another type."""
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


def _incoming(announcement: _Announcement, received: Instant, request: Request) -> IncomingCall:
    return IncomingCall(
        call_id=announcement.call_id,
        received=received,
        dialled=_number(dialled_number(announcement.headers)),
        caller=_number(caller_number(announcement.headers)),
        traceparent=request.headers.get("traceparent") or _traceparent(announcement.headers),
    )


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
    """Count the delivery and answer with a problem."""
    tracker.webhook(outcome)
    return ProblemError(status, detail, errors=list(errors), headers=headers)
