"""Tenants ranked by any derived figure, page by page."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, Self

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field, FiniteFloat, TypeAdapter
from starlette.responses import Response

from service.api.scope import (
    NUMBERS_HEADERS,
    Answered,
    AskedScope,
    FleetNumbers,
    MetricsScopes,
    unanswered_response,
)
from service.api.summary import EXAMPLE_WINDOW, WindowSummary, for_people, shown
from service.fleet.live.counts import Coverage
from service.http.openapi import Responses, Tag, declared_invalid, success
from service.http.parameters import InvalidCursorError, read_cursor, write_cursor, wrong_cursor
from service.http.problems import writable
from service.http.responses import MetricsScope, admin_router
from service.http.schemas import FrozenSchema, moment
from service.http.security import AdminCheck
from telemetry.clock import Clock
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.figures import FIGURES, Window
from telemetry.metrics.history import History, Ranked, Ranking
from telemetry.metrics.past import WindowName
from telemetry.metrics.reader import LiveMetricsReader


class RankedTenant(FrozenSchema):
    """A tenant, the figure it is ranked by, and all the others."""

    tenant_id: str
    value: float | None = Field(description="The figure; tenants for which it is `null` come last.")
    summary: WindowSummary


class RankedTenants(FrozenSchema):
    """A page of tenants in the order of a figure."""

    as_of: datetime
    scope: MetricsScope = Field(description="What the numbers cover.")
    sort: str
    order: str
    window: WindowName
    tenants: tuple[RankedTenant, ...]
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; `null` on the last.")


MAX_CURSOR: Final = 4_000
"""Characters of a cursor; a tenant's id has at most 200, each at most 16 characters here."""


class Ordering(NamedTuple):
    """The ranking that a cursor is a place in."""

    sort: str
    order: str
    window: str


_PLACE: Final = TypeAdapter(tuple[str, str, str, str, FiniteFloat | None])


def to_cursor(ordering: Ordering, last: Ranked) -> str:
    """Return the place behind a tenant, as text."""
    return write_cursor((*ordering, *last))


def from_cursor(ordering: Ordering, text: str) -> Ranked:
    """Return the tenant a text stands for; raise :class:`InvalidCursorError`, also for a place in another ranking."""
    *of, tenant_id, value = read_cursor(text, _PLACE)
    if of != [*ordering]:
        raise InvalidCursorError("is that of another sort, order or window")
    return Ranked(tenant_id, value)


RANKING_PATH: Final = "/api/v1/metrics/tenants"
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
"""Tenants on a page, each with all its figures."""


class Order(StrEnum):
    """The end that comes first."""

    DESCENDING = "desc"
    ASCENDING = "asc"


def _known_figure(name: str) -> str:
    if name not in FIGURES:
        raise ValueError(f"must be one of {', '.join(FIGURES)}")
    return name


_RANKING_EXAMPLE: Final = {
    "as_of": "2026-11-22T20:00:00Z",
    "scope": MetricsScope.PROCESS,
    "sort": "error_rate",
    "order": Order.DESCENDING,
    "window": WindowName.HOUR,
    "tenants": [{"tenant_id": "acme", "value": EXAMPLE_WINDOW["error_rate"], "summary": EXAMPLE_WINDOW}],
    "next_cursor": None,
}
_RANKED: Responses = unanswered_response(RANKING_PATH) | {
    200: success(RankedTenants, "A page of the ranking.", _RANKING_EXAMPLE, NUMBERS_HEADERS),
    422: declared_invalid(f"{RANKING_PATH}?sort=luck", "query.sort", "must be one of received, started, ended, …"),
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
class RankingPage:
    """A page of a ranking."""

    ordering: Ordering
    limit: int
    after: Ranked | None

    @classmethod
    def at(cls, ordering: Ordering, limit: int, cursor: str | None) -> Self:
        """Return the page behind a cursor; raise a 422 problem for one that is none, or of another ranking."""
        return cls(ordering, limit, None if cursor is None else _place(ordering, cursor))

    @property
    def ranking(self) -> Ranking:
        """The ranking that this is a page of."""
        sort, order, window = self.ordering
        return Ranking(FIGURES[sort], WindowName(window), descending=order == Order.DESCENDING)


class RankingAnswers:
    """Pages of rankings, for routes and pages alike.

    Args:
        history: the last day of this process.
        clock: the source of time.
        scopes: whose numbers answer.
    """

    __slots__ = ("_clock", "_history", "_scopes", "_turn")

    def __init__(self, history: History, clock: Clock, scopes: MetricsScopes) -> None:
        self._history, self._clock, self._scopes = history, clock, scopes
        # A ranking is the one answer whose cost grows with the tenants: however many ask, they take one processor at
        # most.
        self._turn = asyncio.Lock()

    async def page(self, scope: MetricsScope | None, wanted: RankingPage) -> Answered[RankedTenants]:
        """Return a page of a ranking.

        Raises:
            ProblemError: 503 if ``scope`` is the fleet's and it cannot be answered.
        """

        async def of_fleet(fleet: FleetNumbers) -> tuple[RankedTenants, Coverage]:
            # One more than fits tells whether there is a page behind this one.
            found = await fleet.ranked(wanted.ranking, wanted.limit + 1, wanted.after)
            page = await asyncio.to_thread(self._page, MetricsScope.FLEET, wanted, found.ranked, found.windows)
            return page, found.coverage

        async def of_process() -> RankedTenants:
            async with self._turn:
                return await asyncio.to_thread(made)

        def made() -> RankedTenants:
            now, ranking = self._clock.now(), wanted.ranking
            found = ranking.first(wanted.limit + 1, self._history, now, wanted.after)
            names = [one.tenant_id for one in found[: wanted.limit]]
            windows = {name: self._history.of(now, name)[ranking.window] for name in yielding(names)}
            return self._page(MetricsScope.PROCESS, wanted, found, windows)

        return await self._scopes.answer(scope, of_fleet, of_process)

    def _page(
        self, scope: MetricsScope, wanted: RankingPage, found: Sequence[Ranked], windows: Mapping[str, Window]
    ) -> RankedTenants:
        page = found[: wanted.limit]
        tenants = [
            {
                "tenant_id": writable(one.tenant_id),
                "value": for_people(one.value),
                "summary": shown(windows[one.tenant_id]),
            }
            for one in yielding(page)
        ]
        return RankedTenants.model_validate(
            {
                "as_of": moment(self._clock.now()),
                "scope": scope,
                **wanted.ordering._asdict(),
                "tenants": tenants,
                "next_cursor": to_cursor(wanted.ordering, page[-1]) if len(found) > len(page) else None,
            }
        )


def ranking_router(
    *,
    live: LiveMetricsReader,
    history: History,
    clock: Clock,
    admin: AdminCheck,
    scopes: MetricsScopes | None = None,
) -> APIRouter:
    """Return the route ``/api/v1/metrics/tenants``.

    Args:
        live: what this process counts.
        history: its last day.
        clock: the source of time.
        admin: decides who may use it.
        scopes: whose numbers answer; None for a process alone.
    """
    router = admin_router(Tag.METRICS, admin)
    answers = RankingAnswers(history, clock, scopes or MetricsScopes(live))

    @router.get(RANKING_PATH, summary="Tenants ranked", operation_id="rankedTenants", responses=_RANKED)
    async def ranked_tenants(
        sort: _Sort = "error_rate",
        order: _Order = Order.DESCENDING,
        window: _Window = WindowName.HOUR,
        limit: _Limit = DEFAULT_LIMIT,
        cursor: _Cursor = None,
        scope: AskedScope = None,
        *,
        response: Response,
    ) -> RankedTenants:
        """Rank the tenants that have had calls by any derived figure, with all the other figures beside it.

        Equal tenants are ordered by their ids.
        """
        ordering = Ordering(sort, order.value, window.value)
        answered = await answers.page(scope, RankingPage.at(ordering, limit, cursor))
        response.headers.update(answered.extent.headers())
        return answered.body

    return router


def _place(ordering: Ordering, cursor: str) -> Ranked:
    try:
        return from_cursor(ordering, cursor)
    except InvalidCursorError as error:
        raise wrong_cursor(str(error)) from None
