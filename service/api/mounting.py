"""All admin routes that an application's parts allow, in one call."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from service.api.call_detail import NO_PAST, call_debugging_router
from service.api.calls import calls_router
from service.api.capacity import CapacityModes, FleetRegistry, alone, capacity_router
from service.api.elsewhere import CallsElsewhere
from service.api.exemplars import exemplars_router
from service.api.live import TenantCheck, live_router
from service.api.summary import ranking_router, summary_router
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
    elsewhere: CallsElsewhere | None = None,
    registry: FleetRegistry | None = None,
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
        elsewhere: The calls of a fleet's other processes; None for a process alone.
        registry: The slots of the fleet; likewise.
    """
    check = require_admin(admin, AdminAttempts()) if isinstance(admin, AdminTokens) else admin
    if limits is not None and history is None:
        clock = telemetry.tracker.clock
        history = History(telemetry.live.store, telemetry.tracker, limits, clock.now())
        _sample_while_serving(app, Sampler(telemetry.live, history, clock))
    directory = tenants or SeenTenants()
    for router in _routers(telemetry, check, directory, past, urls, elsewhere):
        app.include_router(router)
    if limits is not None and history is not None:
        for router in _derived(telemetry, check, directory, limits, history, mode, registry):
            app.include_router(router)


def _routers(
    telemetry: Telemetry,
    admin: AdminCheck,
    tenants: TenantDirectory,
    past: PastCalls,
    urls: TraceUrls,
    elsewhere: CallsElsewhere | None,
) -> Iterator[APIRouter]:
    live, recent = telemetry.live, telemetry.recent
    yield live_router(live=live, tenants=tenants, admin=admin)
    yield exemplars_router(live=live, recent=recent, tenants=tenants, urls=urls, admin=admin)
    known = TenantCheck(live, tenants)
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
    registry: FleetRegistry | None,
) -> Iterator[APIRouter]:
    live, tracker = telemetry.live, telemetry.tracker
    yield capacity_router(live=live, tracker=tracker, limits=limits, admin=admin, mode=mode, fleet=registry)
    yield summary_router(live=live, history=history, clock=tracker.clock, tenants=tenants, admin=admin)
    yield ranking_router(live=live, history=history, clock=tracker.clock, admin=admin)


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
