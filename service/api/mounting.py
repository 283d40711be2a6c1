"""All admin routes that an application's parts allow, in one call."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI

from service.api.call_detail import NO_PAST, call_debugging_router
from service.api.calls import calls_router
from service.api.capacity import CapacityModes, FleetRegistry, alone, capacity_router
from service.api.elsewhere import CallsElsewhere
from service.api.exemplars import FleetExamples, exemplars_router
from service.api.live import TenantCheck, live_router
from service.api.ranking import ranking_router
from service.api.scope import MetricsScopes
from service.api.summary import summary_router
from service.http.security import AdminAttempts, AdminCheck, require_admin
from service.http.tokens import AdminTokens
from service.sampling import Sampler
from service.tenants.directory import TenantDirectory
from service.timeline.past import PastCalls
from service.timeline.serializer import NO_BACKEND, TraceUrls
from telemetry.metrics.gauges import Limits
from telemetry.metrics.history import History
from telemetry.setup import Telemetry


class SeenTenants:
    """The directory of an application that has none: tenants are known by their calls alone."""

    __slots__ = ()

    async def knows(self, tenant_id: str) -> bool:  # noqa: ARG002 -- the protocol's signature
        """Return False: a tenant without a call is unknown."""
        return False


@dataclass(frozen=True, slots=True)
class FleetParts:
    """The facts that the processes of a fleet know together."""

    scopes: MetricsScopes
    """The rule by which the fleet or this process answers."""
    elsewhere: CallsElsewhere
    """The calls of the other processes."""
    registry: FleetRegistry
    """The slots of all."""
    examples: FleetExamples
    """Example calls of the other processes."""


def mount_admin(
    app: FastAPI,
    telemetry: Telemetry,
    admin: AdminTokens | AdminCheck,
    *,
    limits: Limits | None = None,
    tenants: TenantDirectory | None = None,
    history: History | None = None,
    past: PastCalls = NO_PAST,
    urls: TraceUrls = NO_BACKEND,
    mode: CapacityModes = alone,
    fleet: FleetParts | None = None,
) -> None:
    """Mount every admin route that these parts allow under ``/api/v1`` of ``app``.

    Args:
        app: The application; its lifespan also takes the samples that derived figures need, unless ``history`` is
            given, which somebody samples already.
        telemetry: What the calls are reported to.
        admin: The tokens that are taken, or a FastAPI dependency of one's own that raises unless a request may pass.
        limits: Calls allowed at once. Without them there are no capacity, summary and ranking routes.
        tenants: The tenants that are configured. Without them a tenant is unknown until it has a call.
        history: What derived figures are computed from.
        past: The records of calls that this process does not remember.
        urls: Links to a trace backend.
        mode: Where a fleet decides about slots; None for a process alone.
        fleet: What a fleet's processes know together; None for a process alone.
    """
    check = require_admin(admin, AdminAttempts()) if isinstance(admin, AdminTokens) else admin
    if limits is not None and history is None:
        clock = telemetry.tracker.clock
        history = History(telemetry.live.store, telemetry.tracker, limits, clock.now())
        _sample_while_serving(app, Sampler(telemetry.live, history, clock))
    directory = tenants or SeenTenants()
    scopes = MetricsScopes(telemetry.live, clock=telemetry.tracker.clock) if fleet is None else fleet.scopes
    for router in _routers(telemetry, check, directory, past, urls, scopes, fleet):
        app.include_router(router)
    if limits is not None and history is not None:
        for router in _derived(telemetry, check, directory, limits, history, mode, scopes, fleet):
            app.include_router(router)


def _routers(
    telemetry: Telemetry,
    admin: AdminCheck,
    tenants: TenantDirectory,
    past: PastCalls,
    urls: TraceUrls,
    scopes: MetricsScopes,
    fleet: FleetParts | None,
) -> Iterator[APIRouter]:
    live, recent = telemetry.live, telemetry.recent
    elsewhere = None if fleet is None else fleet.elsewhere
    yield live_router(live=live, tenants=tenants, admin=admin, scopes=scopes)
    yield exemplars_router(
        live=live,
        recent=recent,
        tenants=tenants,
        urls=urls,
        admin=admin,
        scopes=scopes,
        fleet=None if fleet is None else fleet.examples,
    )
    known = TenantCheck(live, tenants, scopes)
    yield calls_router(
        tracker=telemetry.tracker,
        traces=telemetry.traces,
        recent=recent,
        tenants=known,
        urls=urls,
        admin=admin,
        elsewhere=elsewhere,
    )
    yield call_debugging_router(recent=recent, urls=urls, admin=admin, past=past, elsewhere=elsewhere)


def _derived(
    telemetry: Telemetry,
    admin: AdminCheck,
    tenants: TenantDirectory,
    limits: Limits,
    history: History,
    mode: CapacityModes,
    scopes: MetricsScopes,
    fleet: FleetParts | None,
) -> Iterator[APIRouter]:
    live, tracker = telemetry.live, telemetry.tracker
    registry = None if fleet is None else fleet.registry
    yield capacity_router(
        live=live, tracker=tracker, limits=limits, admin=admin, mode=mode, scopes=scopes, fleet=registry
    )
    yield summary_router(live=live, history=history, clock=tracker.clock, tenants=tenants, admin=admin, scopes=scopes)
    yield ranking_router(live=live, history=history, clock=tracker.clock, admin=admin, scopes=scopes)


def _sample_while_serving(app: FastAPI, sampler: Sampler) -> None:
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def sampled(serving: Any) -> AsyncIterator[Any]:  # noqa: ANN401 -- as Starlette has it
        sampler.start()
        try:
            async with lifespan(serving) as state:
                yield state
        finally:
            await sampler.stop()

    app.router.lifespan_context = sampled
