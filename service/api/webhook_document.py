"""What the OpenAPI document says of the webhook: a request that is read as bytes first, and its answers."""

from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import JSON, Answers, header
from service.problems import FieldProblem, ProblemError, declared

PATH: Final = "/api/v1/openai/webhook"

MAX_BODY_BYTES: Final = 256 * 1024
"""An INVITE's headers are a few kilobytes; what is larger is no announcement."""

INCOMING: Final = "realtime.call.incoming"
"""The one event type acted on. The end of a call is never announced: the session's end tells."""

RETRY_AFTER_SECONDS: Final = 2
"""When the carrier may ask again: another process, or this one with room again, takes the call then."""

WRONG_SIGNATURE: Final = "The signature is missing, wrong or too old."
TOO_LARGE: Final = f"The body is larger than {MAX_BODY_BYTES} bytes."
NO_CALL_NOW: Final = "No call is taken now; send it again."
NOT_CONFIGURED: Final = "No webhook secret is configured: set OPENAI_WEBHOOK_SECRET."


class Received(BaseModel):
    """The delivery was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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

ANSWERS: Final[Answers] = {
    200: {
        "model": Received,
        "description": "Every signed event that can be read, also one that is ignored or whose call is rejected.",
        "content": {JSON: {"examples": _TAKEN}},
    },
    400: declared(_MALFORMED, "Signed, but not an event this service can read; the field is named.", PATH),
    401: declared(ProblemError(HTTPStatus.UNAUTHORIZED, WRONG_SIGNATURE), WRONG_SIGNATURE, PATH),
    413: declared(ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE), "Larger than 256 KiB.", PATH),
    503: declared(
        ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, NO_CALL_NOW),
        "No call is taken now, or no webhook secret is configured.",
        PATH,
        headers={
            "Retry-After": header("When to send it again, in seconds.", str(RETRY_AFTER_SECONDS)) | {"required": False}
        },
    ),
}
"""The answers by status."""

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
"""What the framework cannot know of the request: nothing of it is parsed before its signature was found right."""
