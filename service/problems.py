"""Every error answer is problem details (RFC 9457): what went wrong, in a form that programs can read too."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.openapi import PROBLEM_JSON, describe_problems
from service.text import writable
from service.unhandled import UnhandledErrors

BLANK = "about:blank"
"""The type of a problem that means no more than its status (RFC 9457 §4.2.1)."""

MAX_FIELD_PROBLEMS = 50
"""Wrong fields that one answer lists; a hostile body can have any number."""

MAX_ECHO = 200
"""Characters of a path or of a field's name that an answer repeats."""

UNHANDLED = "The service failed on this request; its log names the cause."

_INVALID = "The request is not what this endpoint takes."

_ROUTERS_OWN: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take this method; the Allow header names those it takes.",
}
# The router says no more than the status; these say what it means.


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str = Field(description="Where: `query`, `path`, `header` or `body`, then the names that lead to it.")
    detail: str = Field(description="What is wrong there; never the value itself.")


class Problem(BaseModel):
    """Problem details as RFC 9457 defines them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(description="What kind of problem; `about:blank` means no more than the status does.")
    title: str = Field(description="The kind in a few words; the same for every occurrence.")
    status: int = Field(description="The HTTP status, once more.")
    detail: str = Field(description="This occurrence, for people.")
    instance: str = Field(description="The path that was asked for.")
    errors: tuple[FieldProblem, ...] = Field((), description="The wrong parts of the request, where it is about parts.")


class ProblemError(HTTPException):
    """Raised anywhere below a route to answer with a problem.

    It is an HTTPException, so an app without :func:`use_problem_details` still answers with the right status.
    ``detail`` is for the client's eyes: it never quotes what a caller said or dialled.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = BLANK,
        title: str | None = None,
        errors: Sequence[FieldProblem] = (),
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind
        self.title = title or phrase(status)
        self.errors = tuple(errors)
        self.members = dict(members or {})
        """Extension members (RFC 9457 §3.2)."""


def phrase(status: int) -> str:
    """The status in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def problem_response(path: str, error: ProblemError) -> Response:
    """The answer that ``error`` stands for, to a request for ``path``."""
    # ASCII with escapes: half a surrogate pair, which a JSON body can smuggle in, has no UTF-8 form.
    body = json.dumps(problem_content(path, error)).encode("ascii")
    return Response(body, error.status_code, error.headers, PROBLEM_JSON)


def problem_content(path: str, error: ProblemError) -> dict[str, object]:
    """The body of that answer."""
    content: dict[str, object] = {
        "type": error.kind,
        "title": error.title,
        "status": error.status_code,
        "detail": error.detail,
        "instance": quote(path[:MAX_ECHO], errors="replace"),
    }
    if error.errors:
        content["errors"] = [problem.model_dump() for problem in error.errors]
    return content | error.members


def invalid_request(problems: Sequence[Mapping[str, Any]]) -> ProblemError:
    """What pydantic found wrong, without the values it found."""
    errors = [
        FieldProblem(field=_field(problem["loc"]), detail=str(problem["msg"]).removeprefix("Value error, "))
        for problem in problems[:MAX_FIELD_PROBLEMS]
    ]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, _INVALID, errors=errors)


def declared(
    error: ProblemError, description: str, instance: str, *, headers: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Declare an error answer for the OpenAPI document, with ``error`` as its example."""
    content = {PROBLEM_JSON: {"example": problem_content(instance, error)}}
    return {"model": Problem, "description": description, "content": content, "headers": dict(headers or {})}


def declared_invalid(instance: str, field: str, detail: str) -> dict[str, Any]:
    """Declare the answer to a request whose parts are not what they should be, with an example of it."""
    error = invalid_request([{"loc": field.split("."), "msg": detail}])
    return declared(error, "A part of the request is not what it should be.", instance)


def use_problem_details(app: FastAPI) -> None:
    """Answer every error of ``app`` with problem details, and say so in its OpenAPI document.

    Covers what routes raise, what validation finds, the router's own 404 and 405, and errors nobody handled.
    """
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(UnhandledErrors, failure=_failure)
    describe_problems(
        app, Problem, invalid=declared_invalid("/api/v1/calls", "query.limit", "Input should be a number")
    )


def _failure(path: str) -> Response:
    return problem_response(path, ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, UNHANDLED))


async def _http_exception(request: Request, error: Exception) -> Response:
    raised = cast("HTTPException", error)
    if raised.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=raised.status_code, headers=raised.headers)
    if not isinstance(raised, ProblemError):
        raised = ProblemError(raised.status_code, _detail(raised), headers=raised.headers)
    return problem_response(request.scope["path"], raised)


async def _invalid(request: Request, error: Exception) -> Response:
    return problem_response(request.scope["path"], invalid_request(cast("RequestValidationError", error).errors()))


def _detail(raised: HTTPException) -> str:
    if raised.detail == phrase(raised.status_code):
        return _ROUTERS_OWN.get(raised.status_code, raised.detail)
    return str(raised.detail)


def _field(location: Sequence[int | str]) -> str:
    return writable(".".join(str(part) for part in location)[:MAX_ECHO])
