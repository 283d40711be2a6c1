"""The search for calls over a whole fleet: each process's latest, merged by the moment of their reception."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pydantic import TypeAdapter

from service.api.call_search import CallSearchEntry, CallSearchPage, CallSearchStatus, Search, search_entry
from service.api.elsewhere import CallsElsewhere, Coverage, FoundCalls
from service.http.parameters import Position, cursor_in_query, write_cursor
from service.http.problems import writable
from service.http.tokens import Access
from service.records.record import StoredCall
from service.timeline.past import remembered, source_of
from service.timeline.serializer import TraceUrls
from telemetry.calls.lifecycle import CallState
from telemetry.recent.calls import RecentCalls
from telemetry.recent.search import OVER, CallQuery, Reception

_PLACE: Final = TypeAdapter(tuple[Position, str])

_Placed = tuple[Reception, CallSearchEntry]


async def found_in_fleet(
    recent: RecentCalls, elsewhere: CallsElsewhere, wanted: Search, access: Access, urls: TraceUrls
) -> tuple[CallSearchPage, Coverage]:
    """Return the page that was asked for, and which processes it covers.

    Raises:
        ProblemError: 422, if the cursor is not that of a fleet's page.
    """
    before = None if wanted.cursor is None else Reception(*cursor_in_query(wanted.cursor, _PLACE))
    query, most = of_fleet(wanted.query), wanted.limit + 1
    found = await elsewhere.search(query, most, before)
    page = await asyncio.to_thread(_page, recent, query, before, found, wanted.limit, access, urls)
    return page, found.coverage


def of_fleet(query: CallQuery) -> CallQuery:
    """Return the query as a process answers it to others: a call that was handed over is not over for the fleet."""
    return replace(query, states=OVER - {CallState.HANDED_OVER}) if query.states == OVER else query


def own_found(
    recent: RecentCalls, urls: TraceUrls, query: CallQuery, limit: int, before: Reception | None
) -> Sequence[tuple[Reception, CallSearchEntry]]:
    """Return the latest calls of this process that match, each with its place."""
    found = recent.latest(query, limit=limit, before=before)
    return [(place, search_entry(call, urls)) for place, call in found]


def _page(
    recent: RecentCalls,
    query: CallQuery,
    before: Reception | None,
    found: FoundCalls,
    limit: int,
    access: Access,
    urls: TraceUrls,
) -> CallSearchPage:
    own = recent.latest(query, limit=limit + 1, before=before)
    rows: list[_Placed] = [(place, search_entry(call, urls)) for place, call in own]
    rows += found.calls
    rows += [_recorded(row, urls) for row in found.recorded]
    once = _once(row for row in rows if access.covers(row[1].tenant_id))
    shown, further = once[:limit], len(once) > limit
    return CallSearchPage(
        calls=tuple(call for _, call in shown),
        pending_call_ids=tuple(call.call_id for _, call in shown if call.status is CallSearchStatus.PENDING),
        next_cursor=write_cursor(shown[-1][0]) if further else None,
    )


def _recorded(row: StoredCall, urls: TraceUrls) -> _Placed:
    call = remembered(row).summary
    return Reception.of(writable(row.call_id), call.received), search_entry(call, urls, source_of(row))


def _once(rows: Iterable[_Placed]) -> list[_Placed]:
    """Return each call once, the latest received first; not as the process has it that handed it over."""
    by_id: dict[str, _Placed] = {}
    for row in rows:
        before = by_id.get(row[1].call_id)
        if before is None or before[1].status is CallSearchStatus.HANDED_OVER:
            by_id[row[1].call_id] = row
    return sorted(by_id.values(), key=lambda row: row[0], reverse=True)
