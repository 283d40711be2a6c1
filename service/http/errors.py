"""The errors of an application, and paths that are nearly right, whatever its routes do."""

import logging
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.openapi import declared_invalid, describe_problems
from service.http.paths import named_path, sent_path
from service.http.problems import MAX_ECHO, Problem, ProblemError, invalid_request, phrase, problem_response

UNHANDLED: Final = "The service failed on this request; its log names the cause."
_ROUTERS_OWN: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take this method; the Allow header names those it takes.",
}
# The router says no more than the status; these say what it means.
_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_logger = logging.getLogger(__name__)


ErrorPage = Callable[[Request, ProblemError], Response | None]
"""Makes the page of an error for people; returns None for a program's request."""


def _no_page(_request: Request, _error: ProblemError) -> None:
    """Return None: the application has no pages."""


def use_problem_details(app: FastAPI, page: ErrorPage = _no_page) -> None:
    """Answer every error of ``app`` with problem details, and say so in its OpenAPI document.

    Covers what routes raise, what validation finds, the router's own 404 and 405, and errors nobody handled. An
    application with pages makes a ``page`` of the router's own errors, and of those nobody handled, for people.
    """

    async def raised(request: Request, error: Exception) -> Response:
        return _http_exception(request, cast("HTTPException", error), page)

    def failed(request: Request) -> Response:
        return _written(request, ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, UNHANDLED), page)

    app.add_exception_handler(HTTPException, raised)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(UnhandledErrors, failure=failed)
    describe_problems(
        app, Problem, invalid=declared_invalid("/api/v1/calls", "query.limit", "Input should be a number")
    )


def _written(request: Request, error: ProblemError, page: ErrorPage) -> Response:
    return page(request, error) or problem_response(named_path(request, MAX_ECHO), error)


def _http_exception(request: Request, raised: HTTPException, page: ErrorPage) -> Response:
    if raised.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=raised.status_code, headers=raised.headers)
    if not isinstance(raised, ProblemError):
        raised = ProblemError(raised.status_code, _detail(raised), headers=raised.headers)
    if raised.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        raised.headers = {**(raised.headers or {}), "Allow": ", ".join(_methods(request))}
    return _written(request, raised, page)


def _methods(request: Request) -> list[str]:
    """Return every method that a route takes at this path: the router itself names those of the first one alone."""
    routes: list[BaseRoute] = request.app.router.routes
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]


async def _invalid(request: Request, error: Exception) -> Response:
    invalid = invalid_request(cast("RequestValidationError", error).errors())
    return problem_response(named_path(request, MAX_ECHO), invalid)


def _detail(raised: HTTPException) -> str:
    if raised.detail == phrase(raised.status_code):
        return _ROUTERS_OWN.get(raised.status_code, raised.detail)
    return str(raised.detail)


class UnhandledErrors:
    """Middleware that gives the response that ``failure`` makes of the request, and logs where the error came from.

    The log has no message of an error, which may quote what a caller said or dialled. After the answer has begun, the
    error is raised on too: only the server can still break the connection off.
    """

    def __init__(self, app: ASGIApp, failure: Callable[[Request], ASGIApp]) -> None:
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
        except ClientDisconnect:
            # Who broke off hears no answer; it is no error of ours.
            return
        except Exception as error:
            _log(scope, error)
            if begun:
                raise
            await self._failure(Request(scope))(scope, receive, send)


def _log(scope: Scope, error: Exception) -> None:
    route = getattr(scope.get("route"), "path", "no route")
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("unhandled %s in %s %s\n%s", type(error).__name__, scope["method"], route, frames)


class TrailingSlashes:
    """Middleware that takes ``/path/`` for ``/path``, instead of sending clients elsewhere.

    A redirect loses the body of a webhook, and tells a client the host that the client itself named.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, without the slashes at the end of its path."""
        if scope["type"] == "http" and len(scope["path"]) > 1 and (sent := sent_path(scope)).endswith("/"):
            # An escaped slash (%2F) belongs to a name in the path and stays.
            raw = sent.rstrip("/")
            surplus = len(sent) - len(raw)
            scope = {**scope, "path": scope["path"][:-surplus] or "/", "raw_path": raw.encode() or b"/"}
        await self._app(scope, receive, send)
