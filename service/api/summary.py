"""What operators otherwise compute by hand: rates, shares, percentiles and use of capacity over several windows."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
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
from service.api.metrics import UNKNOWN, TenantDirectory, TenantInPath, demand_tenant
from service.api.summary_shapes import EXAMPLE_WINDOW, MetricsSummary, shown
from service.problems import ProblemError, declared, declared_invalid
from service.security import AdminCheck
from service.text import writable
from telemetry.clock import Clock
from telemetry.history.history import History
from telemetry.history.past import WindowName
from telemetry.live import LiveMetricsReader

PATH: Final = "/api/v1/metrics/summary"

_EXAMPLE: Final = {
    "as_of": "2026-11-22T20:00:00Z",
    "scope": MetricsScope.PROCESS,
    "tenant_id": "acme",
    "windows": {name.value: EXAMPLE_WINDOW for name in WindowName},
}

_SUMMARY: Answers = {200: answer(MetricsSummary, "The derived figures of each window.", _EXAMPLE, METRICS_HEADERS)}
_TENANT: Answers = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN),
        "There is no such tenant: it is not configured, and no call of it has been counted.",
        f"{PATH}/nobody",
    ),
    422: declared_invalid(f"{PATH}/\x00", "path.tenant_id", "String should match pattern '^[^\\x00-\\x1f\\x7f]+$'"),
}


def summary_router(
    *, live: LiveMetricsReader, history: History, clock: Clock, tenants: TenantDirectory, admin: AdminCheck
) -> APIRouter:
    """The routes under ``/api/v1/metrics/summary``; ``admin`` decides who may use them."""
    router = admin_router(tags.METRICS, admin)

    async def answered(tenant_id: str | None, age_seconds: float) -> Response:
        content = await asyncio.to_thread(_summary, history, clock, tenant_id)
        return json_answer(content, metrics_headers(age_seconds))

    @router.get(PATH, summary="Derived figures of all tenants", operation_id="metricsSummary", responses=_SUMMARY)
    async def summary_of_all() -> Response:
        """Show rates, shares, percentiles and use of capacity since the start, and over 5 minutes, 1 and 24 hours.

        A window is exact over the seconds it says it covers, and reaches up to now. What cannot be computed is `null`.
        """
        return await answered(None, await live.refreshed())

    @router.get(
        f"{PATH}/{{tenant_id}}",
        summary="Derived figures of one tenant",
        operation_id="metricsSummaryOfTenant",
        responses=_SUMMARY | _TENANT,
    )
    async def summary_of_tenant(tenant_id: TenantInPath) -> Response:
        """Show the same for one tenant; zeros and nulls if it is configured and has had no call."""
        age = await live.refreshed()
        if live.store.position(tenant_id) is None:
            await demand_tenant(tenants, tenant_id)
        return await answered(tenant_id, age)

    return router


def _summary(history: History, clock: Clock, tenant_id: str | None) -> dict[str, Any]:
    now = clock.now()
    return {
        "as_of": stamp(now),
        "scope": MetricsScope.PROCESS,
        "tenant_id": None if tenant_id is None else writable(tenant_id),
        "windows": {name.value: shown(window) for name, window in history.of(now, tenant_id).items()},
    }
