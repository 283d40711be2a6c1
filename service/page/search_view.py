"""Search: calls this process remembers, by everything known of them, or calls on record, however old."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from service.api.call_detail import UNKNOWN_TRACE
from service.api.call_records import record_place, recorded_calls
from service.api.call_search import Search, StateFilter, found_calls, search
from service.http.access import forbidden
from service.http.database import database_needed
from service.http.problems import ProblemError, invalid_request
from service.page.guard import CurrentSession, page_router
from service.page.rendering import call_page, with_query
from service.page.sessions import PageSessions
from service.page.viewing import PageName, View
from service.page.views import Pages
from service.page.whole import whole_page
from service.records.store import Wanted
from telemetry.recent.record import CallOutcome
from telemetry.recent.search import CallQuery
from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason

CALLS_LISTED: Final = 50
_Trace = Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")]


class SearchedIn(StrEnum):
    """The places that are searched."""

    MEMORY = "memory"
    RECORDS = "records"


_ALL_REASONS: Final = sorted(
    {reason.value for kind in (RejectionReason, UnansweredReason, EndReason) for reason in kind}
)
_RECORDED: Final = frozenset({"tenant_id", "outcome", "since", "until", "cursor", "where", "paused"})
"""The conditions that can be asked of records."""


def search_router(*, pages: Pages, sessions: PageSessions) -> APIRouter:
    """Return the route of the search."""
    router = page_router(sessions)

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
        asked = wanted or Search(CallQuery(), CALLS_LISTED, None)
        if access.tenants is not None and asked.query.tenant_id is None:
            return RedirectResponse(
                with_query("/search", dict(request.query_params), tenant_id=min(access.tenants)), HTTPStatus.SEE_OTHER
            )
        if not access.covers(asked.query.tenant_id):
            raise forbidden("The token you signed in with is not for this tenant.")
        if trace_id is not None:
            found = parts.telemetry.recent.by_trace(trace_id)
            if found is None or not access.covers(found.summary.tenant_id):
                raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_TRACE)
            return RedirectResponse(call_page(found.summary.call_id), HTTPStatus.SEE_OTHER)
        rows, cursor = await _found(pages, asked, where, request)
        view = View(PageName.SEARCH, access)
        return whole_page(
            request,
            "search.html",
            view,
            {"strip": await pages.strip(view)},
            title="Search",
            where=where.value,
            rows=rows,
            more=None if cursor is None else with_query("/search", dict(request.query_params), cursor=cursor),
            size=parts.telemetry.recent.size,
            tenants=sorted(access.tenants) if access.tenants is not None else None,
            outcomes=[outcome.value for outcome in CallOutcome],
            states=[state.value for state in StateFilter],
            reasons=_ALL_REASONS,
        )

    return router


async def _found(pages: Pages, asked: Search, where: SearchedIn, request: Request) -> tuple[object, str | None]:
    parts = pages.facts.parts
    if where is SearchedIn.MEMORY:
        page = found_calls(parts.telemetry.recent, Search(asked.query, CALLS_LISTED, asked.cursor), parts.urls)
        return page.calls, page.next_cursor
    surplus = sorted(name for name in request.query_params if name not in _RECORDED)
    if surplus:
        raise invalid_request(
            [{"loc": ("query", name), "msg": "is not kept on record; search in memory for it"} for name in surplus]
        )
    query = asked.query
    wanted = Wanted(
        tenant_id=query.tenant_id,
        outcome=query.outcome,
        since_ms=_milliseconds(query.since),
        until_ms=_milliseconds(query.until),
    )
    with database_needed():
        recorded = recorded_calls(await parts.pages.read(wanted, limit=CALLS_LISTED, after=record_place(asked.cursor)))
    return recorded.calls, recorded.next_cursor


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
