"""Derived figures: rates, shares, percentiles and use of capacity over several windows."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service.api.live import UNKNOWN, TenantInPath, demand_tenant
from service.api.scope import (
    NUMBERS_HEADERS,
    Answered,
    AskedScope,
    FleetNumbers,
    MetricsScopes,
    unanswered_response,
)
from service.fleet.live.counts import Coverage
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.problems import ProblemError, writable
from service.http.responses import MetricsScope, admin_router
from service.http.schemas import FrozenSchema, moment
from service.http.security import AdminCheck
from service.tenants.directory import TenantDirectory
from service.timeline.serializer import rounded
from telemetry.clock import Clock
from telemetry.metrics.figures import DISTRIBUTIONS, FIGURES, PERCENTILES, Value, Window, summary
from telemetry.metrics.history import History
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

    seconds: float = Field(description="How long the window really is; less than its name while counting is young.")
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


def shown(window: Window) -> dict[str, Any]:
    """Return a window's figures as responses have them: a dot in a figure's name stands for a level of nesting."""
    return _nested({"seconds": round(window.seconds, 3), **summary(window)})


def _nested(values: dict[str, Value]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, part = name.partition(".")
        if dot:
            nested.setdefault(group, {})[part] = for_people(value)
        else:
            nested[name] = for_people(value)
    return nested


def for_people(value: Value) -> Value:
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
_SUMMARY: Responses = unanswered_response(PATH) | {
    200: success(MetricsSummary, "The derived figures of each window.", _EXAMPLE, NUMBERS_HEADERS)
}
_TENANT: Responses = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN),
        "There is no such tenant: it is not configured, and no call of it is known.",
        f"{PATH}/nobody",
    ),
    422: declared_invalid(f"{PATH}/\x00", "path.tenant_id", "String should match pattern '^[^\\x00-\\x1f\\x7f]+$'"),
}


class SummaryAnswers:
    """Derived figures, for routes and pages alike.

    Args:
        live: what this process counts.
        history: its last day.
        clock: the source of time.
        tenants: the tenants that are configured.
        scopes: whose numbers answer.
    """

    __slots__ = ("_clock", "_history", "_live", "_scopes", "_tenants")

    def __init__(
        self,
        live: LiveMetricsReader,
        history: History,
        clock: Clock,
        tenants: TenantDirectory,
        scopes: MetricsScopes,
    ) -> None:
        self._live, self._history, self._clock = live, history, clock
        self._tenants, self._scopes = tenants, scopes

    async def of(self, scope: MetricsScope | None, tenant_id: str | None = None) -> Answered[MetricsSummary]:
        """Return the figures of one tenant, or of all together.

        Raises:
            ProblemError: 404 for a tenant neither configured nor seen; 503 if that cannot be found out now, or
                ``scope`` is the fleet's and it cannot be answered.
        """

        async def of_fleet(fleet: FleetNumbers) -> tuple[MetricsSummary, Coverage]:
            counts, windows = await fleet.windows(tenant_id)
            if tenant_id is not None and not counts.seen:
                await demand_tenant(self._tenants, tenant_id)
            return self._summary(MetricsScope.FLEET, tenant_id, windows), counts.coverage

        async def of_process() -> MetricsSummary:
            if tenant_id is not None and self._live.store.position(tenant_id) is None:
                await demand_tenant(self._tenants, tenant_id)
            return await asyncio.to_thread(made)

        def made() -> MetricsSummary:
            windows = self._history.of(self._clock.now(), tenant_id)
            return self._summary(MetricsScope.PROCESS, tenant_id, windows)

        return await self._scopes.answer(scope, of_fleet, of_process)

    def _summary(
        self, scope: MetricsScope, tenant_id: str | None, windows: Mapping[WindowName, Window]
    ) -> MetricsSummary:
        return MetricsSummary.model_validate(
            {
                "as_of": moment(self._clock.now()),
                "scope": scope,
                "tenant_id": None if tenant_id is None else writable(tenant_id),
                "windows": {name.value: shown(window) for name, window in windows.items()},
            }
        )


def summary_router(
    *,
    live: LiveMetricsReader,
    history: History,
    clock: Clock,
    tenants: TenantDirectory,
    admin: AdminCheck,
    scopes: MetricsScopes | None = None,
) -> APIRouter:
    """Return the routes under ``/api/v1/metrics/summary``.

    Args:
        live: what this process counts.
        history: its last day.
        clock: the source of time.
        tenants: the tenants that are configured.
        admin: decides who may use them.
        scopes: whose numbers answer; None for a process alone.
    """
    router = admin_router(Tag.METRICS, admin)
    answers = SummaryAnswers(live, history, clock, tenants, scopes or MetricsScopes(live))

    @router.get(PATH, summary="Derived figures of all tenants", operation_id="metricsSummary", responses=_SUMMARY)
    async def summary_of_all(response: Response, scope: AskedScope = None) -> MetricsSummary:
        """Show rates, shares, percentiles and use of capacity since the start, and over 5 minutes, 1 and 24 hours.

        A window is exact over the seconds it says it covers, and reaches up to now. What cannot be computed is `null`.
        """
        answered = await answers.of(scope)
        response.headers.update(answered.extent.headers())
        return answered.body

    @router.get(
        f"{PATH}/{{tenant_id}}",
        summary="Derived figures of one tenant",
        operation_id="metricsSummaryOfTenant",
        responses=_SUMMARY | _TENANT,
    )
    async def summary_of_tenant(
        tenant_id: TenantInPath, response: Response, scope: AskedScope = None
    ) -> MetricsSummary:
        """Show the same for one tenant; zeros and nulls if it is configured and has had no call."""
        answered = await answers.of(scope, tenant_id)
        response.headers.update(answered.extent.headers())
        return answered.body

    return router
