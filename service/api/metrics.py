"""The live numbers of all tenants and of each, and the registry behind them."""

from http import HTTPStatus
from typing import Annotated, Protocol

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.api import capacity, tags
from service.api.admin import admin_router
from service.api.answers import (
    METRICS_HEADERS,
    Answers,
    answer,
    json_answer,
    metrics_headers,
)
from service.api.capacity import CapacityDebug, Rejected, capacity_debug
from service.consistency import Reconciler
from service.problems import ProblemError, declared, declared_invalid
from service.security import AdminCheck
from telemetry.attributes import OTHER, RejectionReason, TenantId
from telemetry.catalog import LIVE_FIELDS
from telemetry.gauges import Limits
from telemetry.live import LiveMetricsReader
from telemetry.live_store import LiveMetricsStore
from telemetry.slots import Selection
from telemetry.tracker import CallTracker

MAX_TENANT_ID = 200
"""Characters of a tenant's id that can be asked for."""

UNKNOWN = "There is no such tenant."

_PATH = "/api/v1/metrics"
_REJECTED = f"rejected_calls_{RejectionReason.CAPACITY}"
_NOTHING = dict.fromkeys(LIVE_FIELDS, 0) | {"minutes_processed": 0.0}


class DirectoryUnavailableError(Exception):
    """The tenants that are configured cannot be looked up now."""


class TenantDirectory(Protocol):
    """Knows which tenants are configured."""

    async def knows(self, tenant_id: str) -> bool:
        """Whether there is such a tenant, enabled or not; ``tenant_id`` is any text without control characters.

        Raises:
            DirectoryUnavailableError: if that cannot be found out now.
        """
        ...


class LiveMetrics(BaseModel):
    """What has been counted since the process started; the active calls are those of this moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    active_calls: int = Field(description="Calls whose media session runs now.")
    accepted_calls: int
    rejected_calls_capacity: int = Field(description="Turned away because a limit was reached.")
    rejected_calls_tenant_not_configured: int = Field(
        description="Turned away because the dialled number reaches no tenant, or a disabled one."
    )
    rejected_calls_instructions_missing: int = Field(
        description="Turned away because there were no instructions for the agent."
    )
    instructions_db_errors: int = Field(description="Instructions that could not be read from the database.")
    fallback_instructions_used: int = Field(description="Calls that were given the fallback instructions.")
    started_calls: int = Field(description="Calls whose media session began.")
    ended_calls: int = Field(description="Started calls that are over; `started_calls` less the active ones.")
    failed_calls: int = Field(description="Of the ended, those that ended with an error.")
    referred_calls: int = Field(description="Handed off to another destination.")
    minutes_processed: float = Field(description="Time calls ran; grows while they run.")


EXAMPLE = {
    "active_calls": 12,
    "accepted_calls": 1543,
    "rejected_calls_capacity": 45,
    "rejected_calls_tenant_not_configured": 8,
    "rejected_calls_instructions_missing": 2,
    "instructions_db_errors": 1,
    "fallback_instructions_used": 1,
    "started_calls": 1490,
    "ended_calls": 1478,
    "failed_calls": 5,
    "referred_calls": 23,
    "minutes_processed": 3842.5,
}
"""What the OpenAPI document shows."""

_LIVE: Answers = {200: answer(LiveMetrics, "The twelve numbers.", EXAMPLE, METRICS_HEADERS)}
_CAPACITY: Answers = {200: answer(CapacityDebug, "The registry of calls.", capacity.EXAMPLE, METRICS_HEADERS)}
_TENANT: Answers = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN),
        "There is no such tenant: it is not configured, and no call of it has been counted.",
        f"{_PATH}/live/nobody",
    ),
    422: declared_invalid(
        f"{_PATH}/live/\x00", "path.tenant_id", "String should match pattern '^[^\\x00-\\x1f\\x7f]+$'"
    ),
}

TenantInPath = Annotated[
    str,
    Path(
        description="A tenant's id; `_unknown` for calls that reached no tenant.",
        max_length=MAX_TENANT_ID,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        examples=["acme"],
    ),
]


def metrics_router(
    *, live: LiveMetricsReader, tracker: CallTracker, limits: Limits, tenants: TenantDirectory, admin: AdminCheck
) -> APIRouter:
    """The routes under ``/api/v1/metrics``; ``admin`` decides who may use them."""
    router = admin_router(tags.METRICS, admin, prefix=_PATH)
    reconciler = Reconciler(live, tracker)

    # The answers are written without the models, which the document alone needs: validating what has just been counted
    # would cost more than counting it.

    @router.get("/live", summary="Live metrics of all tenants", operation_id="liveMetrics", responses=_LIVE)
    async def live_metrics() -> Response:
        """Show everything recorded in this process before the request, or say in `X-Metrics-Age-Ms` how old it is."""
        age = await live.refreshed()
        return json_answer(live.store.live(), metrics_headers(age))

    @router.get(
        "/live/{tenant_id}",
        summary="Live metrics of one tenant",
        operation_id="liveMetricsOfTenant",
        responses=_LIVE | _TENANT,
    )
    async def live_metrics_of_tenant(tenant_id: TenantInPath) -> Response:
        """Show the same for one tenant; zeros if it is configured and has had no call."""
        age = await live.refreshed()
        numbers = live.store.live(tenant_id)
        if numbers is None:
            await demand_tenant(tenants, tenant_id)
        return json_answer(numbers or _NOTHING, metrics_headers(age))

    @router.get("/capacity/debug", summary="The registry of calls", operation_id="capacityDebug", responses=_CAPACITY)
    def capacity_of_calls() -> Response:
        """Show slots and open calls, and whether the live metrics agree with them.

        A difference is listed if it was the same in every one of several readings.
        """
        findings = reconciler.read()
        content = capacity_debug(findings, limits, _rejected(live.store))
        return json_answer(content.model_dump(mode="json"), metrics_headers(findings.live_age_seconds))

    return router


def _rejected(store: LiveMetricsStore) -> Rejected:
    """Calls refused for want of a slot. What counts under ``_other`` is nobody's, and only in the total."""
    tenants = [None, *map(TenantId, store.tenants())]
    counts = store.rows(Selection((_REJECTED,)), 0, len(tenants))
    rejected = {tenant_id: int(count) for tenant_id, (count,) in zip(tenants, counts, strict=True)}
    rejected.pop(TenantId(OTHER), None)
    return rejected


async def demand_tenant(tenants: TenantDirectory, tenant_id: str) -> None:
    """Raise a 404 problem unless there is such a tenant, or a 503 one if that cannot be found out now."""
    try:
        known = await tenants.knows(tenant_id)
    except DirectoryUnavailableError:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Whether there is such a tenant cannot be found out now.",
            headers={"Retry-After": "1"},
        ) from None
    if not known:
        raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN)
