"""The guard before every page: the session, the headers, and the origin of requests that change something."""

from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.http.access import READING, forbidden
from service.http.problems import ProblemError, invalid_request, phrase
from service.page.rendering import render, with_query
from service.page.sessions import PageSession, PageSessions

SIGN_IN: Final = "/sign-in"

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not no-referrer: browsers would then state no origin with a form, which the check below needs.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The headers of every answer to a browser."""

_SAME: Final = frozenset({"same-origin", "none"})


class SignInNeededError(Exception):
    """The request has no session that holds."""


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie; over TLS, one that only this host can set (RFC 6265bis §4.1.3)."""
    return "__Host-callscope" if request.url.scheme == "https" else "callscope"


def demand_same_origin(request: Request) -> None:
    """Raise a 403 problem unless the request, which changes something, comes from a page of this origin.

    Browsers say so in ``Sec-Fetch-Site``, which no script can set; older ones, and all of them over plain HTTP to
    another machine, in ``Origin`` alone. One that says neither is refused.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site in _SAME:
            return
    elif urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "") != "":
        return
    raise forbidden("This form was not sent from a page of this service.")


def session_needed(sessions: PageSessions) -> Callable[[Request], Awaitable[None]]:
    """Return the dependency of every route behind the sign-in: it demands a session, see :func:`session_of`."""

    async def needed(request: Request) -> None:
        if request.method not in READING:
            demand_same_origin(request)
        found = sessions.find(request.cookies.get(cookie_name(request), ""))
        if found is None:
            raise SignInNeededError
        if found.token.access.read_only and request.method not in READING:
            raise forbidden("The token you signed in with only reads.")
        request.state.session = found

    return needed


def session_of(request: Request) -> PageSession:
    """Return the session of a request that has passed the check. A FastAPI dependency."""
    session: PageSession = request.state.session
    return session


CurrentSession = Annotated[PageSession, Depends(session_of)]
"""The same as a parameter of a route."""


def page_router(sessions: PageSessions, route_class: type["PageRoute"] | None = None) -> APIRouter:
    """Return an empty router whose routes need a session, and whose errors are pages, as ``route_class`` has them."""
    needed = Depends(session_needed(sessions))
    return APIRouter(include_in_schema=False, route_class=route_class or PageRoute, dependencies=[needed])


def sign_in_path(request: Request) -> str:
    """Return where to sign in, and come back from."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return SIGN_IN if path == "/" else f"{SIGN_IN}?next={quote(path, safe='/')}"


def local_path(text: str) -> str:
    """Return a path of this origin as it was stated; ``/`` for anything else, so that nobody is sent elsewhere."""
    fits = text.startswith("/") and text[1:2] not in ("/", "\\") and text.isprintable() and " " not in text
    return text if fits and not text.startswith(SIGN_IN) else "/"


class PageRoute(APIRoute):
    """A route whose errors are pages, with the headers of all pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                response = _tidied(request) or await handle(request)
            except SignInNeededError:
                response = _signed_out(request)
            except (RequestValidationError, HTTPException) as error:
                response = await self.faulty(request, error)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handled

    async def faulty(self, request: Request, error: HTTPException | RequestValidationError) -> Response:  # noqa: ARG002 -- for routes that show more
        """Return the page of an error."""
        return error_page(invalid_request(error.errors()) if isinstance(error, RequestValidationError) else error)


def _tidied(request: Request) -> Response | None:
    """Return the way to the same address without the empty fields that forms send; None if it has none."""
    given = request.query_params.multi_items()
    if request.method not in READING or all(value for _, value in given):
        return None
    return RedirectResponse(with_query(request.url.path, dict(given)), HTTPStatus.SEE_OTHER)


def _signed_out(request: Request) -> Response:
    if request.url.path.startswith("/live"):
        return Response(status_code=HTTPStatus.UNAUTHORIZED)
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method in READING:
        # A link from elsewhere comes without the cookie (SameSite=Strict); the page that asks again brings it.
        return HTMLResponse(render("again.html", path=local_path(str(request.url.path))))
    return RedirectResponse(sign_in_path(request), HTTPStatus.SEE_OTHER)


def error_page(error: HTTPException) -> Response:
    """Return the page of an error."""
    faults: Any = error.errors if isinstance(error, ProblemError) else ()
    body = render(
        "error.html", status=error.status_code, title=phrase(error.status_code), detail=error.detail, faults=faults
    )
    return HTMLResponse(body, error.status_code, headers=dict(error.headers or {}))
