"""Derived figures: rates, shares, percentiles and use of capacity over several windows, and tenants ranked by them."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Final, NamedTuple, Self

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field, FiniteFloat, TypeAdapter
from starlette.responses import Response

from service.api.live import UNKNOWN, TenantInPath, demand_tenant
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.parameters import InvalidCursorError, read_cursor, write_cursor, wrong_cursor
from service.http.problems import ProblemError, writable
from service.http.responses import METRICS_HEADERS, MetricsScope, admin_router, metrics_headers
from service.http.schemas import FrozenSchema, moment
from service.http.security import AdminCheck
from service.tenants.directory import TenantDirectory
from service.timeline.serializer import rounded
from telemetry.clock import Clock
from telemetry.metrics.cooperative import yielding
from telemetry.metrics.figures import DISTRIBUTIONS, FIGURES, PERCENTILES, Value, Window, summary
from telemetry.metrics.history import History, Ranked, Ranking
from telemetry.metrics.past import WindowName
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import RejectionReason, UnansweredReason

Share = float | None


def _meaning(name: str) -> Any:  # noqa: ANN401 -- what pydantic's own Field answers
    return Field(description=FIGURES[name].meaning)


class RejectionShares(FrozenSchema):
    """Calls rejected for each reason, of all that were accepted or rejected; `null` if there were none."""

    capacity: Share
    tenant_not_configured: Share
    tenant_lookup_failed: Share
    instructions_missing: Share
    carrier_error: Share


class UnansweredReasons(FrozenSchema):
    """Calls that were never answered, by reason."""

    canceled: int | None
    busy: int | None
    no_answer: int | None
    declined: int | None
    unreachable: int | None


class Interruptions(FrozenSchema):
    """Interruptions, by whom."""

    caller: int | None = _meaning("interruptions.caller")
    agent: int | None = _meaning("interruptions.agent")


class Percentiles(FrozenSchema):
    """Values in seconds that so many percent of the measurements do not exceed; `null` without measurements.

    Interpolated linearly inside the histogram's bucket that holds them, as PromQL's `histogram_quantile` does.
    """

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class CapacityUse(FrozenSchema):
    """The used part of the calls allowed at once.

    The limit holds for a whole fleet: with scope `process`, use is what the one process that answers used of it.
    """

    limit: int | None = Field(description="Calls allowed at once, now; `null` for `_unknown` and `_other`.")
    peak_in_use: int | None = Field(
        description="The most slots held at once; an hour's and a day's may begin 5 minutes early. `null` if unknown."
    )
    mean_active: float | None = _meaning("capacity.mean_active")
    peak_utilization: Share = _meaning("capacity.peak_utilization")
    mean_utilization: Share = _meaning("capacity.mean_utilization")


class WindowSummary(FrozenSchema):
    """Derived figures of one window; `null` wherever there is nothing to compute from.

    Counts are `null` for a tenant that counts under `_other`, because there are more than are kept apart.
    """

    seconds: float = Field(description="How long the window really is; less than its name while the process is young.")
    received: int | None = _meaning("received")
    unanswered: int | None = _meaning("unanswered")
    started: int | None = _meaning("started")
    ended: int | None = _meaning("ended")
    failed: int | None = _meaning("failed")
    minutes: float | None = _meaning("minutes")
    error_rate: Share = _meaning("error_rate")
    answer_rate: Share = _meaning("answer_rate")
    rejection_rate: Share = _meaning("rejection_rate")
    rejection_shares: RejectionShares
    unanswered_reasons: UnansweredReasons
    taken_over: int | None = _meaning("taken_over")
    handed_over: int | None = _meaning("handed_over")
    interruptions: Interruptions
    setup_seconds: Percentiles = Field(description="Received until accepted or rejected.")
    turn_latency_seconds: Percentiles = Field(description="End of the caller's speech until the answer's first audio.")
    time_to_first_audio_seconds: Percentiles = Field(description="Received until the caller hears the agent.")
    dead_air_seconds: Percentiles = Field(description="Silences of three seconds and more.")
    talk_over_seconds: Percentiles = Field(description="Stretches in which both parties spoke.")
    duration_seconds: Percentiles = Field(description="Started until ended.")
    capacity: CapacityUse


class Windows(FrozenSchema):
    """The same figures over several stretches of time, each up to now."""

    since_start: WindowSummary
    five_minutes: WindowSummary = Field(alias="5m")
    hour: WindowSummary = Field(alias="1h")
    day: WindowSummary = Field(alias="24h")


class MetricsSummary(FrozenSchema):
    """Derived figures of one tenant, or of all together."""

    as_of: datetime
    scope: MetricsScope = Field(description="What the numbers cover.")
    tenant_id: str | None = Field(description="`null`: all tenants together.")
    windows: Windows


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


def shown(window: Window) -> dict[str, Any]:
    """Return a window's figures as responses have them: a dot in a figure's name stands for a level of nesting."""
    return _nested({"seconds": round(window.seconds, 3), **summary(window)})


def _nested(values: dict[str, Value]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, part = name.partition(".")
        if dot:
            nested.setdefault(group, {})[part] = _for_people(value)
        else:
            nested[name] = _for_people(value)
    return nested


def _for_people(value: Value) -> Value:
    """Return a figure with the decimal places that mean anything."""
    return rounded(value) if isinstance(value, float) else value


_PERCENTILES = dict(zip(PERCENTILES, (0.31, 0.46, 0.55, 0.72), strict=True))
EXAMPLE_WINDOW: Final[dict[str, Any]] = {
    "seconds": 3570.0,
    "received": 40,
    "unanswered": 0,
    "started": 36,
    "ended": 32,
    "failed": 2,
    "minutes": 142.8,
    "error_rate": 0.0625,
    "answer_rate": 0.9,
    "rejection_rate": 0.1,
    "rejection_shares": {reason.value: 0.0 for reason in RejectionReason} | {"capacity": 0.1},
    "unanswered_reasons": {reason.value: 0 for reason in UnansweredReason},
    "taken_over": 0,
    "handed_over": 0,
    "interruptions": {"caller": 7, "agent": 1},
    **dict.fromkeys(DISTRIBUTIONS, _PERCENTILES),
    "duration_seconds": {"p50": 210.0, "p90": 540.0, "p95": 780.0, "p99": 1260.0},
    "turn_latency_seconds": dict.fromkeys(PERCENTILES),
    "capacity": {
        "limit": 10,
        "peak_in_use": 6,
        "mean_active": 2.4,
        "peak_utilization": 0.6,
        "mean_utilization": 0.24,
    },
}
"""The example of a window in the OpenAPI document."""
PATH: Final = "/api/v1/metrics/summary"
_EXAMPLE: Final = {
    "as_of": "2026-11-22T20:00:00Z",
    "scope": MetricsScope.PROCESS,
    "tenant_id": "acme",
    "windows": {name.value: EXAMPLE_WINDOW for name in WindowName},
}
_SUMMARY: Responses = {200: success(MetricsSummary, "The derived figures of each window.", _EXAMPLE, METRICS_HEADERS)}
_TENANT: Responses = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN),
        "There is no such tenant: it is not configured, and no call of it is known.",
        f"{PATH}/nobody",
    ),
    422: declared_invalid(f"{PATH}/\x00", "path.tenant_id", "String should match pattern '^[^\\x00-\\x1f\\x7f]+$'"),
}


def summary_router(
    *, live: LiveMetricsReader, history: History, clock: Clock, tenants: TenantDirectory, admin: AdminCheck
) -> APIRouter:
    """Return the routes under ``/api/v1/metrics/summary``; ``admin`` decides who may use them."""
    router = admin_router(Tag.METRICS, admin)

    async def summarised(tenant_id: str | None, age_seconds: float, response: Response) -> MetricsSummary:
        response.headers.update(metrics_headers(age_seconds))
        return await asyncio.to_thread(metrics_summary, history, clock, tenant_id)

    @router.get(PATH, summary="Derived figures of all tenants", operation_id="metricsSummary", responses=_SUMMARY)
    async def summary_of_all(response: Response) -> MetricsSummary:
        """Show rates, shares, percentiles and use of capacity since the start, and over 5 minutes, 1 and 24 hours.

        A window is exact over the seconds it says it covers, and reaches up to now. What cannot be computed is `null`.
        """
        return await summarised(None, await live.refreshed(), response)

    @router.get(
        f"{PATH}/{{tenant_id}}",
        summary="Derived figures of one tenant",
        operation_id="metricsSummaryOfTenant",
        responses=_SUMMARY | _TENANT,
    )
    async def summary_of_tenant(tenant_id: TenantInPath, response: Response) -> MetricsSummary:
        """Show the same for one tenant; zeros and nulls if it is configured and has had no call."""
        age = await live.refreshed()
        if live.store.position(tenant_id) is None:
            await demand_tenant(tenants, tenant_id)
        return await summarised(tenant_id, age, response)

    return router


def metrics_summary(history: History, clock: Clock, tenant_id: str | None) -> MetricsSummary:
    """Return the derived figures of one tenant, or of all together; bring the live numbers up to date before."""
    now = clock.now()
    return MetricsSummary.model_validate(
        {
            "as_of": moment(now),
            "scope": MetricsScope.PROCESS,
            "tenant_id": None if tenant_id is None else writable(tenant_id),
            "windows": {name.value: shown(window) for name, window in history.of(now, tenant_id).items()},
        }
    )


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
_RANKED: Responses = {
    200: success(RankedTenants, "A page of the ranking.", _RANKING_EXAMPLE, METRICS_HEADERS),
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


def ranking_router(*, live: LiveMetricsReader, history: History, clock: Clock, admin: AdminCheck) -> APIRouter:
    """Return the route ``/api/v1/metrics/tenants``; ``admin`` decides who may use it."""
    router = admin_router(Tag.METRICS, admin)
    # A ranking is the one answer whose cost grows with the tenants: however many ask, they take one processor at most.
    turn = asyncio.Lock()

    @router.get(RANKING_PATH, summary="Tenants ranked", operation_id="rankedTenants", responses=_RANKED)
    async def ranked_tenants(
        sort: _Sort = "error_rate",
        order: _Order = Order.DESCENDING,
        window: _Window = WindowName.HOUR,
        limit: _Limit = DEFAULT_LIMIT,
        cursor: _Cursor = None,
        *,
        response: Response,
    ) -> RankedTenants:
        """Rank the tenants that have had calls by any derived figure, with all the other figures beside it.

        Equal tenants are ordered by their ids.
        """
        ordering = Ordering(sort, order.value, window.value)
        wanted = RankingPage.at(ordering, limit, cursor)
        async with turn:
            age = await live.refreshed()
            response.headers.update(metrics_headers(age))
            return await asyncio.to_thread(ranked_page, history, clock, wanted)

    return router


def _place(ordering: Ordering, cursor: str) -> Ranked:
    try:
        return from_cursor(ordering, cursor)
    except InvalidCursorError as error:
        raise wrong_cursor(str(error)) from None


def ranked_page(history: History, clock: Clock, wanted: RankingPage) -> RankedTenants:
    """Return a page of the ranking. It takes a while: call it from a thread, after the live numbers are up to date."""
    now, ranking = clock.now(), wanted.ranking
    # One more than fits tells whether there is a page behind this one.
    found = ranking.first(wanted.limit + 1, history, now, wanted.after)
    page = found[: wanted.limit]
    tenants = [
        {
            "tenant_id": writable(one.tenant_id),
            "value": _for_people(one.value),
            "summary": shown(history.of(now, one.tenant_id)[ranking.window]),
        }
        for one in yielding(page)
    ]
    return RankedTenants.model_validate(
        {
            "as_of": moment(now),
            "scope": MetricsScope.PROCESS,
            **wanted.ordering._asdict(),
            "tenants": tenants,
            "next_cursor": to_cursor(wanted.ordering, page[-1]) if len(found) > len(page) else None,
        }
    )
