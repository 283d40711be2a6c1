"""Signing in with an admin token, signing out, and the files that every page uses."""

from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from service.http.bodies import read_body
from service.http.parameters import TWICE
from service.http.problems import ProblemError, invalid_request
from service.http.security import AdminGate, client_address
from service.http.tokens import fingerprint
from service.page.guard import SIGN_IN, PageRoute, cookie_name, demand_same_origin, local_path
from service.page.rendering import STATIC, VERSIONS, render
from service.page.sessions import PageSessions

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 50
FILES: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files a page may ask for, and their media types."""

_REFUSED: Final = {
    HTTPStatus.UNAUTHORIZED: "This token is not taken: it is wrong, or past its last day.",
    HTTPStatus.SERVICE_UNAVAILABLE: "No admin token is configured: set ADMIN_TOKEN and start again.",
}

Form = dict[str, str]

_Next = Annotated[str, Query(alias="next", max_length=2_000)]


async def form_of(request: Request) -> Form:
    """Return the fields of a form as browsers send it.

    Raises:
        ProblemError: 413 for a form over :data:`MAX_FORM_BYTES`, 400 for one of over :data:`MAX_FIELDS` fields, 422 for
            a field that is there more than once.
    """
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"The form has more than {MAX_FIELDS} fields.") from None
    repeated = [{"loc": ("body", name), "msg": TWICE} for name, values in fields.items() if len(values) > 1]
    if repeated:
        raise invalid_request(repeated)
    return {name: values[0] for name, values in fields.items()}


def sign_in_router(*, gate: AdminGate, sessions: PageSessions) -> APIRouter:
    """Return the routes that need no session."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    def asking(next_path: str, problem: str | None = None, status: int = HTTPStatus.OK) -> Response:
        alone = sessions.health().away
        return HTMLResponse(render("sign_in.html", next_path=next_path, problem=problem, alone=alone), status)

    @router.get(SIGN_IN)
    async def ask(next_path: _Next = "/") -> Response:
        """Ask for a token."""
        return asking(local_path(next_path))

    @router.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        """Open a session for a token that is taken."""
        demand_same_origin(request)
        form = await form_of(request)
        given, next_path = form.get("token", "").strip().encode(), local_path(form.get("next", "/"))
        try:
            gate.check(given, client_address(request))
        except ProblemError as error:
            said = _REFUSED.get(HTTPStatus(error.status_code), str(error.detail)) if given else "Enter an admin token."
            response: Response = asking(next_path, problem=said, status=error.status_code)
            response.headers.update({n: value for n, value in (error.headers or {}).items() if n == "Retry-After"})
            return response
        response = RedirectResponse(next_path, HTTPStatus.SEE_OTHER)
        response.set_cookie(
            cookie_name(request),
            await sessions.open(given, fingerprint(given)),
            path="/",
            httponly=True,
            secure=request.url.scheme == "https",
            samesite="strict",
        )
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        """End the session, here and in the browser."""
        demand_same_origin(request)
        name = cookie_name(request)
        session = await sessions.find(request.cookies.get(name, ""))
        if session is not None:
            await sessions.close(session)
        response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
        response.delete_cookie(name, path="/", httponly=True, secure=request.url.scheme == "https", samesite="strict")
        return response

    @router.get("/static/{name}")
    async def static(name: str, version: Annotated[str, Query(alias="v")] = "") -> Response:
        """Serve a file of the page."""
        if name not in FILES:
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is no such file.")
        # Pages name the version they need; by another address a file is revalidated by its ETag at each use.
        kept = "public, max-age=31536000, immutable" if version == VERSIONS[name] else "no-cache"
        return FileResponse(STATIC / name, media_type=FILES[name], headers={"Cache-Control": kept})

    return router
