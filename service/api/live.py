"""The live numbers of all tenants and of each."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

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
from service.http.parameters import ONE_LINE
from service.http.problems import ProblemError
from service.http.responses import MetricsScope, admin_router, json_response
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck
from service.tenants.directory import DirectoryUnavailableError, TenantDirectory
from service.timeline.serializer import rounded
from telemetry.metrics.live_table import TIME
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT
from telemetry.semconv.catalogue import LIVE_FIELDS

MAX_TENANT_ID = 200
"""Characters of a tenant's id in a request."""
UNKNOWN = "There is no such tenant."
_PATH = "/api/v1/metrics"
_NOTHING: Mapping[str, float] = dict.fromkeys(LIVE_FIELDS, 0) | {TIME: 0.0}


class LiveMetrics(FrozenSchema):
    """Counts since the moment in `X-Metrics-Since`; the active calls are those of now."""

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
"""The example in the OpenAPI document."""
_LIVE: Responses = unanswered_response(f"{_PATH}/live") | {
    200: success(LiveMetrics, "The twelve numbers.", EXAMPLE, NUMBERS_HEADERS)
}
_NO_SUCH_TENANT = "There is no such tenant: it is not configured, and no call of it is known."
_TENANT: Responses = {
    404: declared(ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN), _NO_SUCH_TENANT, f"{_PATH}/live/nobody"),
    422: declared_invalid(
        f"{_PATH}/live/\x00", "path.tenant_id", "String should match pattern '^[^\\x00-\\x1f\\x7f]+$'"
    ),
}
TenantInPath = Annotated[
    str,
    Path(
        description="A tenant's id; `_unknown` for calls that reached no tenant.",
        max_length=MAX_TENANT_ID,
        pattern=ONE_LINE,
        examples=["acme"],
    ),
]


class LiveAnswers:
    """The twelve numbers, for routes and pages alike.

    Args:
        live: what this process counts.
        tenants: the tenants that are configured.
        scopes: whose numbers answer.
    """

    __slots__ = ("_live", "_scopes", "_tenants")

    def __init__(self, live: LiveMetricsReader, tenants: TenantDirectory, scopes: MetricsScopes) -> None:
        self._live, self._tenants, self._scopes = live, tenants, scopes

    async def of(self, scope: MetricsScope | None, tenant_id: str | None = None) -> Answered[dict[str, float]]:
        """Return the numbers of one tenant, zeros if it is configured and has had no call, or of all together.

        Raises:
            ProblemError: 404 for a tenant neither configured nor seen; 503 if that cannot be found out now, or
                ``scope`` is the fleet's and it cannot be answered.
        """

        async def of_fleet(fleet: FleetNumbers) -> tuple[dict[str, float], Coverage]:
            counts = await fleet.counts(tenant_id)
            if tenant_id is not None and not counts.seen:
                await demand_tenant(self._tenants, tenant_id)
            numbers = counts.numbers()
            return live_numbers({name: numbers[name] for name in LIVE_FIELDS}), counts.coverage

        async def of_process() -> dict[str, float]:
            numbers = self._live.store.live(tenant_id)
            if numbers is None and tenant_id is not None:
                await demand_tenant(self._tenants, tenant_id)
            return live_numbers(numbers)

        return await self._scopes.answer(scope, of_fleet, of_process)


def live_router(
    *, live: LiveMetricsReader, tenants: TenantDirectory, admin: AdminCheck, scopes: MetricsScopes | None = None
) -> APIRouter:
    """Return the routes under ``/api/v1/metrics/live``.

    Args:
        live: what this process counts.
        tenants: the tenants that are configured.
        admin: decides who may use them.
        scopes: whose numbers answer; None for a process alone.
    """
    router = admin_router(Tag.METRICS, admin, prefix=_PATH)
    answers = LiveAnswers(live, tenants, scopes or MetricsScopes(live))

    # The live numbers are written without their model, which the document alone needs: a dashboard asks for them every
    # second, and validating what has just been counted would cost more than counting it.

    @router.get("/live", summary="Live metrics of all tenants", operation_id="liveMetrics", responses=_LIVE)
    async def live_metrics(scope: AskedScope = None) -> Response:
        """Show everything recorded before the request, or say in `X-Metrics-Age-Ms` how old it is.

        Of a fleet, what this process recorded is shown at once, what the others did within a second.
        """
        answered = await answers.of(scope)
        return json_response(answered.body, answered.extent.headers())

    @router.get(
        "/live/{tenant_id}",
        summary="Live metrics of one tenant",
        operation_id="liveMetricsOfTenant",
        responses=_LIVE | _TENANT,
    )
    async def live_metrics_of_tenant(tenant_id: TenantInPath, scope: AskedScope = None) -> Response:
        """Show the same for one tenant; zeros if it is configured and has had no call."""
        answered = await answers.of(scope, tenant_id)
        return json_response(answered.body, answered.extent.headers())

    return router


def live_numbers(numbers: Mapping[str, float] | None) -> dict[str, float]:
    """Return the twelve fields as they are shown; zeros for a tenant that has counted nothing."""
    known = numbers or _NOTHING
    return {**known, TIME: rounded(known[TIME])}


def tenant_filtered(path: str) -> Responses:
    """Return the response of a route that a filter by tenant asks about one that there is not."""
    return {404: declared(ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN), _NO_SUCH_TENANT, f"{path}?tenant_id=acmee")}


class TenantCheck:
    """The check of a filter by tenant: a mistyped name finds nothing, and nothing looks like good news."""

    __slots__ = ("_live", "_scopes", "_tenants")

    def __init__(self, live: LiveMetricsReader, tenants: TenantDirectory, scopes: MetricsScopes | None = None) -> None:
        self._live, self._tenants, self._scopes = live, tenants, scopes

    async def demand(self, tenant_id: str | None) -> None:
        """Raise a 404 problem for a tenant that is neither configured nor seen; 503 if that cannot be found out now.

        None is every tenant; names that begin with an underscore are those of calls that reached none.
        """
        if tenant_id is None or tenant_id in (UNKNOWN_TENANT, OTHER):
            return
        await self._live.refreshed()
        if self._live.store.live(tenant_id) is not None:
            return
        if self._scopes is None or not await self._scopes.fleet_has_seen(tenant_id):
            await demand_tenant(self._tenants, tenant_id)


async def demand_tenant(tenants: TenantDirectory, tenant_id: str) -> None:
    """Raise a 404 problem unless there is such a tenant, or a 503 one if that cannot be found out now."""
    try:
        known = await tenants.knows(tenant_id)
    except DirectoryUnavailableError:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database does not answer now, and without it nobody knows if there is such a tenant.",
            headers={"Retry-After": "1"},
        ) from None
    if not known:
        raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN)
