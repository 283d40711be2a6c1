"""Every error answer is problem details (RFC 9457): what went wrong, in a form that programs can read too."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI, routing
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBLEM_JSON = "application/problem+json"
"""The media type of problem details (RFC 9457 §3)."""
_JSON = "application/json"
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_COMPONENT = "#/components/schemas/{model}"
Document = dict[str, Any]


def describe_problems(app: FastAPI, problem: type[BaseModel], *, invalid: Document) -> None:
    """Make the document of ``app`` declare every error answer as problem details of the shape ``problem``.

    ``invalid`` is what it says of requests that fail validation where a route does not say so itself.
    """
    generate = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _with_whole_examples(app, _with_problems(generate(), problem, invalid))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # the documented way of changing it


def _with_problems(document: Document, problem: type[BaseModel], invalid: Document) -> Document:
    reference = {"$ref": _COMPONENT.format(model=problem.__name__)}
    for answer in _error_answers(document):
        if _is_frameworks_own(answer):
            answer.update(description=invalid["description"], content=deepcopy(invalid["content"]))
        content = answer.setdefault("content", {})
        schema = content.pop(_JSON, {}).get("schema", reference)
        content.setdefault(PROBLEM_JSON, {}).setdefault("schema", schema)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FRAMEWORKS_OWN:
        schemas.pop(name, None)
    schemas.update(_components(problem))
    return document


def _with_whole_examples(app: FastAPI, document: Document) -> Document:
    """Give the examples their nulls back: FastAPI leaves every ``None`` out of the document, also out of those."""
    for route in _every_route(app):
        operations = document.get("paths", {}).get(route.path_format, {})
        for method in {method.lower() for method in route.methods or ()} & operations.keys():
            _restore(operations[method]["responses"], route.responses)
    return document


def _every_route(app: FastAPI) -> Iterator[Any]:
    """Yield each route with its whole path, those of included routers too."""
    contexts = getattr(routing, "iter_route_contexts", None)
    if contexts is not None:
        yield from contexts(app.routes)
        return
    # Older versions have one flat list, in which are routes that are not in the document.
    yield from (route for route in app.routes if hasattr(route, "responses"))


def _restore(answers: Document, declared: Mapping[int | str, Document]) -> None:
    for status, answer in declared.items():
        for media_type, content in answer.get("content", {}).items():
            whole = {key: content[key] for key in ("example", "examples") if key in content}
            if whole:
                answers[str(status)]["content"][media_type].update(deepcopy(whole))


def _error_answers(document: Document) -> Iterator[Document]:
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if status[0] in "45":
                    yield answer


def _is_frameworks_own(answer: Document) -> bool:
    schema = answer.get("content", {}).get(_JSON, {}).get("schema", {})
    return bool(schema.get("$ref", "") == _COMPONENT.format(model=_FRAMEWORKS_OWN[0]))


def _components(model: type[BaseModel]) -> Document:
    schema = model.model_json_schema(ref_template=_COMPONENT, mode="serialization")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def writable(text: str) -> str:
    r"""``text`` with half surrogate pairs spelled out (``\ud800``): they have no UTF-8 form, and JSON lets them in."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_logger = logging.getLogger(__name__)


class UnhandledErrors:
    """Middleware that gives the answer ``failure`` makes for the path, and logs where the error came from.

    The log has no message of an error, which may quote what a caller said or dialled. After the answer has begun, the
    error is raised on too: only the server can still break the connection off.
    """

    def __init__(self, app: ASGIApp, failure: Callable[[str], ASGIApp]) -> None:
        self._app = app
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            _log(scope, error)
            if begun:
                raise
            await self._failure(scope["path"])(scope, receive, send)


def _log(scope: Scope, error: Exception) -> None:
    route = getattr(scope.get("route"), "path", "no route")
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("unhandled %s in %s %s\n%s", type(error).__name__, scope["method"], route, frames)


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
