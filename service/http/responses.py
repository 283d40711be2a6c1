"""The parts of responses that routers share, and the router that admin routes share."""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.http.access import forbidden
from service.http.openapi import Responses, declared, declared_invalid, header
from service.http.parameters import demand_known
from service.http.paths import NamedRoute
from service.http.problems import ProblemError
from service.http.security import CHALLENGE, AdminCheck, too_many_guesses
from service.http.tokens import HEADER


class MetricsScope(StrEnum):
    """The processes that the numbers of a response cover."""

    PROCESS = "process"
    """The process that answered."""
    FLEET = "fleet"
    """All processes that share the registry."""


_encode = json.JSONEncoder(separators=(",", ":")).encode
NO_STORE: Final = {"Cache-Control": "no-store"}


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII with escapes: whatever a carrier calls its calls, half surrogate pairs too, it can be written."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 -- as in the base class
        """Return the body."""
        return _encode(content).encode("ascii")


def json_response(content: object, headers: Mapping[str, str] = NO_STORE) -> Response:
    """Respond 200 with ``content``, which holds plain values only."""
    return AsciiJSONResponse(content, headers=headers)


def metrics_headers(age_seconds: float, scope: MetricsScope = MetricsScope.PROCESS) -> dict[str, str]:
    """Return the headers that say what the numbers cover and how old they are; no age but 0 is rounded to 0."""
    return {"X-Metrics-Scope": scope.value, "X-Metrics-Age-Ms": str(math.ceil(age_seconds * 1000)), **NO_STORE}


METRICS_HEADERS: Final = {
    "X-Metrics-Scope": header(
        "What the numbers cover.", MetricsScope.PROCESS, enum=[scope.value for scope in MetricsScope]
    ),
    "X-Metrics-Age-Ms": header(
        "How old the numbers are in milliseconds; 0: they show everything recorded before the request.",
        "0",
        pattern="^[0-9]+$",
    ),
}
"""The headers of every response with numbers, as the OpenAPI document declares them."""
_EXAMPLE_PATH: Final = "/api/v1/calls"
ADMIN_RESPONSES: Final[Responses] = {
    401: declared(
        ProblemError(HTTPStatus.UNAUTHORIZED, f"Send an admin token in {HEADER}."),
        "The admin token is missing, wrong, or past its last day.",
        _EXAMPLE_PATH,
        headers={"WWW-Authenticate": header("What to send.", CHALLENGE)},
    ),
    403: declared(
        forbidden("The token is not for this tenant."),
        "The token is bound to other tenants, or to reading.",
        _EXAMPLE_PATH,
    ),
    422: declared_invalid(f"{_EXAMPLE_PATH}?tennant=acme", "query.tennant", "is no parameter of this endpoint"),
    429: declared(
        too_many_guesses(3),
        "Too many wrong tokens came from this address.",
        _EXAMPLE_PATH,
        headers={"Retry-After": header("When to try again, in seconds.", "3", pattern="^[0-9]+$")},
    ),
    503: declared(
        ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "No admin token is configured: set ADMIN_TOKEN."),
        "No admin token is configured, or something the response needs cannot be reached.",
        _EXAMPLE_PATH,
    ),
}
"""Responses of every admin endpoint besides its own."""


async def known_and_not_stored(request: Request, response: Response) -> None:
    """Refuse parameters that the route does not have, and say that its response is to be asked for anew each time.

    A FastAPI dependency; one and not two, as each costs a twentieth of an answer of a few hundred microseconds.

    Raises:
        ProblemError: 422, naming each parameter.
    """
    demand_known(request)
    response.headers.update(NO_STORE)


def admin_router(tag: str, admin: AdminCheck, *, prefix: str = "") -> APIRouter:
    """Return an empty router whose routes ``admin`` guards, in the document under ``tag``.

    The token comes first, then the names of the query's parameters, and only then anything else of a request.
    """
    return APIRouter(
        prefix=prefix,
        route_class=NamedRoute,
        tags=[tag],
        dependencies=[Depends(admin), Depends(known_and_not_stored)],
        responses=ADMIN_RESPONSES,
        default_response_class=AsciiJSONResponse,
    )


def records_unavailable() -> ProblemError:
    """Return the 503 problem of a database that is away, which says when to come again."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database does not answer now; calls go on, and their records are kept.",
        headers={"Retry-After": "5"},
    )
