"""The guard before every page: the session, the headers, and the origin of requests that change something."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.http.access import READING, forbidden
from service.http.parameters import demand_known
from service.http.paths import NamedRoute, sent_path
from service.http.problems import FieldProblem, ProblemError, invalid_request, phrase
from service.page.rendering import render, with_query
from service.page.sessions import PageSession, PageSessions
from service.page.whole import PAUSED

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
_PLACES: Final = {"query": "Parameter", "path": "In the path", "body": "Field"}
_STARTS: Final = ("Input ", "String ", "Value ")
# The first word of the validation's messages, which stands for the parameter itself.


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
    elif request.headers.get("origin", "").lower() == _own_origin(request):
        return
    raise forbidden("This form was not sent from a page of this service.")


def _own_origin(request: Request) -> str:
    """Return the origin of this service as the request addressed it (RFC 6454 §6.1: scheme, host and port)."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}".lower()


async def known_on_page(request: Request) -> None:
    """Raise a 422 problem for query parameters that a page does not have, or has once. A FastAPI dependency."""
    demand_known(request, besides=(PAUSED,), of="page")


def session_needed(sessions: PageSessions) -> Callable[[Request], Awaitable[None]]:
    """Return the dependency of every route behind the sign-in: it demands a session, see :func:`session_of`."""

    async def needed(request: Request) -> None:
        if request.method not in READING:
            demand_same_origin(request)
        found = await sessions.find(request.cookies.get(cookie_name(request), ""))
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
    """Return an empty router whose routes need a session, and whose errors are pages.

    A ``route_class`` of its own shows its errors, and says of parameters which of them it has; without one, others are
    refused.
    """
    dependencies = [Depends(session_needed(sessions))]
    if route_class is None:
        dependencies.append(Depends(known_on_page))
    return APIRouter(include_in_schema=False, route_class=route_class or PageRoute, dependencies=dependencies)


def sign_in_path(request: Request) -> str:
    """Return where to sign in, and come back from."""
    path = sent_path(request.scope) + (f"?{request.url.query}" if request.url.query else "")
    return SIGN_IN if path == "/" else f"{SIGN_IN}?next={quote(path, safe='/')}"


def local_path(text: str) -> str:
    """Return a path of this origin as it was stated; ``/`` for anything else, so that nobody is sent elsewhere."""
    fits = text.startswith("/") and text[1:2] not in ("/", "\\") and text.isprintable() and " " not in text
    return text if fits and not text.startswith(SIGN_IN) else "/"


class PageRoute(NamedRoute):
    """A route whose errors are pages, with the headers of all pages; what takes GET takes HEAD, too."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 -- FastAPI's own
        super().__init__(path, endpoint, **options)
        if self.methods and "GET" in self.methods:
            self.methods.add("HEAD")  # the server leaves the body out (RFC 9110 §9.3.2)

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

    async def faulty(self, request: Request, error: HTTPException | RequestValidationError) -> Response:
        """Return the page of an error."""
        raised = invalid_request(error.errors()) if isinstance(error, RequestValidationError) else error
        faults = raised.errors if isinstance(raised, ProblemError) else ()
        return wrong_address(request, faults) if faults else error_page(raised)


def _tidied(request: Request) -> Response | None:
    """Return the way to the same address without the empty fields that forms send; None if it has none."""
    given = request.query_params.multi_items()
    if request.method not in READING or all(value for _, value in given):
        return None
    filled = urlencode([(name, value) for name, value in given if value])  # one that is there twice stays a fault
    path = sent_path(request.scope)
    return RedirectResponse(f"{path}?{filled}" if filled else path, HTTPStatus.SEE_OTHER)


def _signed_out(request: Request) -> Response:
    if request.url.path.startswith("/live"):
        return Response(status_code=HTTPStatus.UNAUTHORIZED)
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method in READING:
        # A link from elsewhere comes without the cookie (SameSite=Strict); the page that asks again brings it.
        return HTMLResponse(render("again.html", path=local_path(sent_path(request.scope))))
    return RedirectResponse(sign_in_path(request), HTTPStatus.SEE_OTHER)


def shown_to_people(request: Request, error: HTTPException) -> Response | None:
    """Return the page of an error where no page's route was reached; None for a program, which gets JSON."""
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return None
    response = error_page(error)
    response.headers.update(HEADERS)
    return response


def error_page(error: HTTPException) -> Response:
    """Return the page of an error."""
    status = error.status_code
    body = render("error.html", status=status, title=phrase(status), detail=error.detail, faults=(), without=None)
    return HTMLResponse(body, status, headers=dict(error.headers or {}))


def wrong_address(request: Request, problems: Sequence[FieldProblem]) -> Response:
    """Return the page that names what is wrong in an address, part by part, and leads to the same page without that."""
    places = [problem.field.partition(".") for problem in problems]
    names = {name for place, _, name in places if place == "query"}
    left = {name: value for name, value in request.query_params.items() if name not in names}
    faults = [
        {"place": _PLACES.get(place, place), "name": name or place, "detail": _in_words(problem.detail)}
        for (place, _, name), problem in zip(places, problems, strict=True)
    ]
    reads = request.method in READING
    curable = reads and all(place == "query" for place, _, _ in places)
    body = render(
        "error.html",
        status=int(HTTPStatus.UNPROCESSABLE_ENTITY),
        title="This address is not right" if reads else "This form is not right",
        detail=f"Nothing {'is shown' if reads else 'was changed'}; this has to be put right:",
        faults=faults,
        without=with_query(sent_path(request.scope), left) if curable else None,
    )
    return HTMLResponse(body, HTTPStatus.UNPROCESSABLE_ENTITY)


def _in_words(detail: str) -> str:
    """Return a validation's message as the end of a sentence that begins with the parameter's name."""
    begun = next((start for start in _STARTS if detail.startswith(start)), "")
    return detail.removeprefix(begun).rstrip(".")
