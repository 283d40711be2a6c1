"""The pages that live over HTTP, each once as a whole and once as a stream of what changes."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator
from starlette.responses import RedirectResponse, Response, StreamingResponse

from service.api.live import TenantInPath, demand_tenant
from service.api.ranking import MAX_CURSOR, Order
from service.http.access import forbidden
from service.http.connections import STOPPING
from service.http.problems import ProblemError
from service.page.guard import CurrentSession, page_router
from service.page.live import LivePages, TooManyViewersError
from service.page.now_view import COLUMNS
from service.page.rendering import tenant_page
from service.page.sessions import PageSession, PageSessions
from service.page.viewing import DEFAULT_SORT, PageName, View
from service.page.views import Pages
from service.page.whole import stream_path, whole_page
from service.tenants.directory import TenantDirectory
from telemetry.calls.lifecycle import TERMINAL
from telemetry.metrics.past import WindowName

STREAM_HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
ALL_TENANTS: Final = "The token you signed in with is bound to tenants; this page is about all of them."
NOT_THIS_TENANT: Final = "The token you signed in with is not for this tenant."
_RANKED: Final = tuple(name for name, _ in COLUMNS)


def _ranked(name: str) -> str:
    if name not in _RANKED:
        raise ValueError(f"must be one of {', '.join(_RANKED)}")
    return name


_Sort = Annotated[str, AfterValidator(_ranked)]
_Cursor = Annotated[str | None, Query(max_length=MAX_CURSOR)]


def now_view(
    session: CurrentSession,
    sort: _Sort = DEFAULT_SORT,
    order: Order = Order.DESCENDING,
    window: WindowName = WindowName.HOUR,
    cursor: _Cursor = None,
) -> View:
    """Return the first page as it is asked for. A FastAPI dependency, as are those below."""
    access = session.token.access
    return View(PageName.NOW, access, sort=sort, order=order.value, window=window.value, cursor=cursor)


def tenant_view(session: CurrentSession, tenant_id: TenantInPath, window: WindowName = WindowName.HOUR) -> View:
    """Return a tenant's page; raise a 403 problem if the token is for others."""
    access = session.token.access
    if not access.covers(tenant_id):
        raise forbidden(NOT_THIS_TENANT)
    return View(PageName.TENANT, access, tenant_id, window=window.value)


def call_view(session: CurrentSession, call_id: str) -> View:
    """Return a call's page; whether it may be seen shows when it is looked up."""
    return View(PageName.CALL, session.token.access, call_id)


def system_view(session: CurrentSession) -> View:
    """Return the page of the service itself; raise a 403 problem if the token is bound to tenants."""
    if session.token.access.tenants is not None:
        raise forbidden(ALL_TENANTS)
    return View(PageName.SYSTEM, session.token.access)


_Now = Annotated[View, Depends(now_view)]
_Tenant = Annotated[View, Depends(tenant_view)]
_Call = Annotated[View, Depends(call_view)]
_System = Annotated[View, Depends(system_view)]


def pages_router(*, pages: Pages, sessions: PageSessions, tenants: TenantDirectory) -> APIRouter:
    """Return the routes of the whole pages, behind the sign-in."""
    router = page_router(sessions)

    async def whole(request: Request, view: View, title: str, *, over: bool = False, **facts: object) -> Response:
        fragments = await pages.fragments(view)
        template = f"{view.page.value}.html"
        stream = None if over else stream_path(request)
        return whole_page(request, template, view, fragments, title=title, stream=stream, **facts)

    @router.get("/")
    async def now(request: Request, view: _Now) -> Response:
        """Show what runs; to a token bound to tenants, its tenants."""
        bound = view.access.tenants
        if bound is None:
            return await whole(request, view, "Now")
        if len(bound) == 1:
            return RedirectResponse(tenant_page(min(bound)), HTTPStatus.SEE_OTHER)
        fragments = {"strip": await pages.strip(view)}
        return whole_page(request, "tenants_of_token.html", view, fragments, title="Tenants")

    @router.get("/tenants/{tenant_id}")
    async def tenant(request: Request, view: _Tenant) -> Response:
        """Show one tenant."""
        await demand_seen(pages, tenants, view)
        return await whole(request, view, view.subject or "", tenant_id=view.subject or "")

    @router.get("/system")
    async def system(request: Request, view: _System) -> Response:
        """Show the service itself."""
        return await whole(request, view, "System", system=pages.system)

    @router.get("/calls/{call_id:path}")
    async def call(request: Request, view: _Call) -> Response:
        """Show one call; nothing of one that is over changes, so there is no stream of its changes."""
        lookup = pages.facts.parts.lookup
        # Asked first: a call that ends in between is shown as over and streamed, which its page sees for itself.
        over = await lookup.responded(view.subject or "", view.access, lambda detail: detail.state in TERMINAL)
        return await whole(request, view, f"Call {view.subject}", over=over)

    return router


async def demand_seen(pages: Pages, tenants: TenantDirectory, view: View) -> None:
    """Raise a 404 :class:`ProblemError` for a tenant that is neither counted nor configured."""
    tenant_id, parts = view.subject or "", pages.facts.parts
    if parts.telemetry.live.store.position(tenant_id) is None and not await parts.scopes.fleet_has_seen(tenant_id):
        await demand_tenant(tenants, tenant_id)


def streams_router(
    *, pages: Pages, live: LivePages[View], sessions: PageSessions, tenants: TenantDirectory
) -> APIRouter:
    """Return the routes of the streams, behind the sign-in."""
    router = page_router(sessions)

    async def streamed(request: Request, session: PageSession, view: View) -> Response:
        if request.method == "HEAD":
            return Response(headers=STREAM_HEADERS)
        live.end_with(request.scope.get("extensions", {}).get(STOPPING))
        try:
            live.admit(view, session.key)
        except TooManyViewersError:
            busy = "Too many pages are open."
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, busy, headers={"Retry-After": "10"}) from None
        if not live.shows(view):
            await pages.fragments(view)  # what cannot be made is a problem now, and takes nobody's room
        frames = live.watch(view, lambda: sessions.still(session), of=session.key)
        return StreamingResponse(frames, headers=STREAM_HEADERS)

    @router.get("/live")
    async def now(request: Request, session: CurrentSession, view: _Now) -> Response:
        """Stream what changes on the first page."""
        if view.access.tenants is not None:
            raise forbidden(ALL_TENANTS)
        return await streamed(request, session, view)

    @router.get("/live/tenants/{tenant_id}")
    async def tenant(request: Request, session: CurrentSession, view: _Tenant) -> Response:
        """Stream what changes on a tenant's page."""
        await demand_seen(pages, tenants, view)
        return await streamed(request, session, view)

    @router.get("/live/system")
    async def system(request: Request, session: CurrentSession, view: _System) -> Response:
        """Stream what changes on the page of the service."""
        return await streamed(request, session, view)

    @router.get("/live/calls/{call_id:path}")
    async def call(request: Request, session: CurrentSession, view: _Call) -> Response:
        """Stream what changes on a call's page."""
        await pages.facts.parts.lookup.detail(view.subject or "", view.access)
        return await streamed(request, session, view)

    return router
