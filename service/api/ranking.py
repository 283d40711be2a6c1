"""Tenants ranked by any derived figure: who has the most errors, the slowest turns, the least room left."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import AfterValidator
from starlette.responses import Response

from service.api import tags
from service.api.admin import admin_router
from service.api.answers import (
    METRICS_HEADERS,
    Answers,
    MetricsScope,
    answer,
    json_answer,
    metrics_headers,
    stamp,
)
from service.api.ranking_cursor import MAX_CURSOR, InvalidCursorError, Ordering, from_cursor, to_cursor
from service.api.summary_shapes import EXAMPLE_WINDOW, RankedTenants, shown
from service.problems import declared_invalid, invalid_request
from service.security import AdminCheck
from service.text import writable
from telemetry.clock import Clock
from telemetry.history.figures import FIGURES
from telemetry.history.history import History
from telemetry.history.past import WindowName
from telemetry.history.ranking import Ranked, Ranking
from telemetry.live import LiveMetricsReader
from telemetry.turns import in_turns

PATH: Final = "/api/v1/metrics/tenants"

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
"""Tenants on a page, each with all its figures."""


class Order(StrEnum):
    """Which end comes first."""

    DESCENDING = "desc"
    ASCENDING = "asc"


def _known_figure(name: str) -> str:
    if name not in FIGURES:
        raise ValueError(f"must be one of {', '.join(FIGURES)}")
    return name


_EXAMPLE: Final = {
    "as_of": "2026-11-22T20:00:00Z",
    "scope": MetricsScope.PROCESS,
    "sort": "error_rate",
    "order": Order.DESCENDING,
    "window": WindowName.HOUR,
    "tenants": [{"tenant_id": "acme", "value": EXAMPLE_WINDOW["error_rate"], "summary": EXAMPLE_WINDOW}],
    "next_cursor": None,
}

_RANKED: Answers = {
    200: answer(RankedTenants, "A page of the ranking.", _EXAMPLE, METRICS_HEADERS),
    422: declared_invalid(f"{PATH}?sort=luck", "query.sort", "must be one of received, started, ended, …"),
}

_Sort = Annotated[
    str,
    AfterValidator(_known_figure),
    Query(
        description="The figure to rank by: its path in a summary.",
        json_schema_extra={"enum": list(FIGURES)},
        examples=["error_rate", "turn_latency_seconds.p95"],
    ),
]
_Order = Annotated[Order, Query(description="Which end comes first; tenants without a figure come last in any case.")]
_Window = Annotated[WindowName, Query(description="How far back to look.")]
_Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most tenants on a page.")]
_Cursor = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR,
        description="The `next_cursor` of the page before. Figures move on between pages: a tenant that changes its "
        "place meanwhile may come twice or not at all.",
    ),
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page of a ranking."""

    ordering: Ordering
    limit: int
    after: Ranked | None

    @property
    def ranking(self) -> Ranking:
        sort, order, window = self.ordering
        return Ranking(FIGURES[sort], WindowName(window), descending=order == Order.DESCENDING)


def ranking_router(*, live: LiveMetricsReader, history: History, clock: Clock, admin: AdminCheck) -> APIRouter:
    """The route ``/api/v1/metrics/tenants``; ``admin`` decides who may use it."""
    router = admin_router(tags.METRICS, admin)
    # A ranking is the one answer whose cost grows with the tenants: however many ask, they take one processor at most.
    turn = asyncio.Lock()

    @router.get(PATH, summary="Tenants ranked", operation_id="rankedTenants", responses=_RANKED)
    async def ranked_tenants(
        sort: _Sort = "error_rate",
        order: _Order = Order.DESCENDING,
        window: _Window = WindowName.HOUR,
        limit: _Limit = DEFAULT_LIMIT,
        cursor: _Cursor = None,
    ) -> Response:
        """Rank the tenants that have had calls by any derived figure, with all the other figures beside it.

        Equal tenants are ordered by their ids.
        """
        ordering = Ordering(sort, order.value, window.value)
        asked = _Asked(ordering, limit, None if cursor is None else _place(ordering, cursor))
        async with turn:
            age = await live.refreshed()
            content = await asyncio.to_thread(_page, history, clock, asked)
        return json_answer(content, metrics_headers(age))

    return router


def _place(ordering: Ordering, cursor: str) -> Ranked:
    try:
        return from_cursor(ordering, cursor)
    except InvalidCursorError as error:
        raise invalid_request([{"loc": ("query", "cursor"), "msg": str(error)}]) from None


def _page(history: History, clock: Clock, asked: _Asked) -> dict[str, Any]:
    now, ranking = clock.now(), asked.ranking
    # One more than fits tells whether there is a page behind this one.
    found = ranking.first(asked.limit + 1, history, now, asked.after)
    page = found[: asked.limit]
    tenants = [
        {
            "tenant_id": writable(one.tenant_id),
            "value": one.value,
            "summary": shown(history.of(now, one.tenant_id)[ranking.window]),
        }
        for one in in_turns(page)
    ]
    return {
        "as_of": stamp(now),
        "scope": MetricsScope.PROCESS,
        **asked.ordering._asdict(),
        "tenants": tenants,
        "next_cursor": to_cursor(asked.ordering, page[-1]) if len(found) > len(page) else None,
    }
