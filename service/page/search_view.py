"""Search: calls this process remembers, by everything known of them, or calls on record, however old."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from service.api.call_records import record_place, recorded_calls
from service.api.call_search import Search, found_calls, search
from service.api.elsewhere import Coverage
from service.api.search_elsewhere import found_in_fleet
from service.http.access import forbidden
from service.http.database import database_needed
from service.http.tokens import Access
from service.page.guard import CurrentSession, PageRoute, page_router, session_of
from service.page.rendering import call_page, with_query
from service.page.search_form import FIELDS, SearchedIn, Trouble, demand_answerable, local_time, troubles
from service.page.sessions import PageSessions
from service.page.viewing import PageName, View
from service.page.views import Pages
from service.page.whole import whole_page
from service.records.store import Wanted
from telemetry.recent.search import CallQuery

CALLS_LISTED: Final = 50
_Trace = Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")]


def search_router(*, pages: Pages, sessions: PageSessions) -> APIRouter:
    """Return the route of the search."""

    class SearchRoute(PageRoute):
        """A route whose errors stand in the form."""

        async def faulty(self, request: Request, error: HTTPException | RequestValidationError) -> Response:
            """Return the form as it was sent, with what is wrong with it; nothing is listed."""
            if isinstance(error, HTTPException) and error.status_code == HTTPStatus.FORBIDDEN:
                return await super().faulty(request, error)
            page = await _page(request, pages, wrong=troubles(error, names_of(request)))
            page.status_code = getattr(error, "status_code", HTTPStatus.UNPROCESSABLE_ENTITY)
            page.headers.update(getattr(error, "headers", None) or {})
            return page

    router = page_router(sessions, SearchRoute)

    @router.get("/search")
    async def search_page(
        request: Request,
        session: CurrentSession,
        wanted: Annotated[Search | None, Depends(search)],
        where: SearchedIn = SearchedIn.MEMORY,
        trace_id: _Trace = None,
    ) -> Response:
        """Find calls."""
        access, parts = session.token.access, pages.facts.parts
        asked = replace(wanted or Search(CallQuery(), CALLS_LISTED, None), limit=CALLS_LISTED)
        demand_answerable(names_of(request), where)
        if access.tenants is not None and asked.query.tenant_id is None:
            return RedirectResponse(
                with_query("/search", dict(request.query_params), tenant_id=min(access.tenants)), HTTPStatus.SEE_OTHER
            )
        if not access.covers(asked.query.tenant_id):
            raise forbidden("The token you signed in with is not for this tenant.")
        if trace_id is not None:
            call_id = await parts.lookup.of_trace(trace_id, access, lambda call: call.call_id)
            return RedirectResponse(call_page(call_id), HTTPStatus.SEE_OTHER)
        return await _page(request, pages, await _found(pages, asked, where, access))

    return router


def names_of(request: Request) -> list[str]:
    """Return the name of each parameter of a query, as often as it is there."""
    return [name for name, _ in request.query_params.multi_items()]


@dataclass(frozen=True, slots=True)
class _Found:
    """The findings of a search."""

    calls: Sequence[object] | None = None
    """None if nothing was searched."""
    cursor: str | None = None
    """The cursor at which the calls before them begin."""
    coverage: Coverage = field(default_factory=Coverage)


async def _page(request: Request, pages: Pages, found: _Found = _Found(), wrong: Sequence[Trouble] = ()) -> Response:
    """Return the form with what it found, or with what is wrong with it."""
    view = View(PageName.SEARCH, session_of(request).token.access)
    given, cursor = dict(request.query_params), found.cursor
    return whole_page(
        request,
        "search.html",
        view,
        {"strip": await pages.strip(view)},
        title="Search",
        where=SearchedIn.RECORDS.value if given.get("where") == SearchedIn.RECORDS else SearchedIn.MEMORY.value,
        rows=found.calls,
        coverage=found.coverage,
        in_fleet=pages.facts.parts.elsewhere is not None,
        more=None if cursor is None else with_query("/search", given, cursor=cursor),
        size=pages.facts.parts.telemetry.recent.size,
        tenants=None if view.access.tenants is None else {name: name for name in sorted(view.access.tenants)},
        fields=FIELDS,
        local_time=local_time,
        wrong=wrong,
        wrong_names={one.name for one in wrong},
    )


async def _found(pages: Pages, asked: Search, where: SearchedIn, access: Access) -> _Found:
    parts, query = pages.facts.parts, asked.query
    if where is SearchedIn.MEMORY and parts.elsewhere is not None:
        page, coverage = await found_in_fleet(parts.telemetry.recent, parts.elsewhere, asked, access, parts.urls)
        return _Found(page.calls, page.next_cursor, coverage)
    if where is SearchedIn.MEMORY:
        page = found_calls(parts.telemetry.recent, asked, parts.urls)
        return _Found(page.calls, page.next_cursor)
    wanted = Wanted(
        tenant_id=query.tenant_id,
        outcome=query.outcome,
        reason=query.reason,
        fault=query.fault,
        direction=query.direction,
        source=query.source,
        since_ms=_milliseconds(query.since),
        until_ms=_milliseconds(query.until),
        caller_ends_with=query.caller_ends_with,
        caller_hash=query.caller_hash,
        error_type=query.error_type,
    )
    with database_needed():
        recorded = recorded_calls(await parts.pages.read(wanted, limit=CALLS_LISTED, after=record_place(asked.cursor)))
    return _Found(recorded.calls, recorded.next_cursor)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
