"""What the routers answer with, and how the OpenAPI document declares it."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from service.http.problems import ProblemError, declared
from service.http.security import CHALLENGE, HEADER, AdminCheck
from service.storage.database import DATABASE_ERRORS

Answers = dict[int | str, dict[str, Any]]
"""Answers by status, as FastAPI's ``responses`` takes them."""
JSON = "application/json"


class MetricsScope(StrEnum):
    """What the numbers of an answer cover."""

    PROCESS = "process"
    """The process that answered."""
    FLEET = "fleet"
    """All processes that share the registry."""


_encode = json.JSONEncoder(separators=(",", ":")).encode
_NO_STORE = {"Cache-Control": "no-store"}


def json_answer(content: object, headers: Mapping[str, str] = _NO_STORE) -> Response:
    """Answer 200 with ``content``, which holds plain values only."""
    return Response(_encode(content).encode("ascii"), headers=headers, media_type=JSON)


def metrics_headers(age_seconds: float, scope: MetricsScope = MetricsScope.PROCESS) -> dict[str, str]:
    """What the numbers cover and how old they are; an age that is not zero never rounds to it."""
    return {"X-Metrics-Scope": scope.value, "X-Metrics-Age-Ms": str(math.ceil(age_seconds * 1000)), **_NO_STORE}


def answer(model: type[BaseModel], description: str, example: object, headers: object = None) -> dict[str, Any]:
    """Declare an answer of the shape ``model``."""
    declared = {"model": model, "description": description, "content": {JSON: {"example": example}}}
    return declared | ({"headers": headers} if headers else {})


def header(description: str, example: str, **schema: object) -> dict[str, Any]:
    """Declare a header of an answer."""
    return {"description": description, "required": True, "schema": {"type": "string", **schema}, "example": example}


METRICS_HEADERS = {
    "X-Metrics-Scope": header(
        "What the numbers cover.", MetricsScope.PROCESS, enum=[scope.value for scope in MetricsScope]
    ),
    "X-Metrics-Age-Ms": header(
        "How old the numbers are in milliseconds; 0: they show everything recorded before the request.",
        "0",
        pattern="^[0-9]+$",
    ),
}
"""The headers of every answer with numbers, as the OpenAPI document declares them."""
ADMIN_ANSWERS: Answers = {
    401: declared(
        ProblemError(HTTPStatus.UNAUTHORIZED, f"Send an admin token in {HEADER}."),
        "The admin token is missing or wrong.",
        "/api/v1/calls",
        headers={"WWW-Authenticate": header("What to send.", CHALLENGE)},
    ),
    503: declared(
        ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "No admin token is configured: set ADMIN_TOKEN."),
        "No admin token is configured, or something the answer needs cannot be reached.",
        "/api/v1/calls",
    ),
}
"""What every admin endpoint may answer besides its own."""


def admin_router(tag: str, admin: AdminCheck, *, prefix: str = "") -> APIRouter:
    """An empty router whose routes ``admin`` guards, in the document under ``tag``, with the answers they all give."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        dependencies=[Depends(admin)],
        responses=ADMIN_ANSWERS,
        default_response_class=JSONResponse,
    )


@contextmanager
def database_needed() -> Iterator[None]:
    """Turn the database's errors into a 503 problem that says when to come again."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database does not answer now; calls go on, and their records are kept.",
            headers={"Retry-After": "5"},
        ) from error


Since = Annotated[
    datetime | None,
    Query(description="Received then or later; UTC unless it says otherwise.", examples=["2026-11-22T14:00:00Z"]),
]
Until = Annotated[
    datetime | None,
    Query(description="Received before; UTC unless it says otherwise.", examples=["2026-11-22T14:05:00Z"]),
]
