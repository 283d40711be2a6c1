"""The application: the container's parts behind their routes, alive for as long as the server runs."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import version

from fastapi import APIRouter, FastAPI

from service.api.call_detail import call_debugging_router
from service.api.call_records import call_records_router
from service.api.calls import calls_router
from service.api.exemplars import exemplars_router
from service.api.health import health_router
from service.api.metrics import metrics_router
from service.api.reconcile import reconcile_router
from service.api.summary import ranking_router, summary_router
from service.api.tenants.routes import tenants_router
from service.api.usage import usage_router
from service.api.usage_freezes import usage_freezes_router
from service.api.usage_roundings import usage_roundings_router
from service.api.webhooks import webhooks_router
from service.container import Container, build_container
from service.gateway.carriers.sip import DIALLED_HEADERS
from service.http.instrumentation import instrument
from service.http.problems import use_problem_details
from service.http.readiness import Readiness, database_reachable, export_information, not_draining, registry_has_room
from service.http.security import require_admin
from service.http.tags import OPENAPI_TAGS
from service.reconciliation.reconciliation import build_reconciliation
from service.records.pages import CallPages
from service.settings import Settings, load_settings
from service.tenants.repository import ConfiguredTenants
from service.timeline.serializer import TraceUrls
from service.usage.freezing import Freezer
from service.usage.report import UsageReader

DESCRIPTION = "Calls of many tenants, counted live, traced, and exported over OTLP."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application. Call it in the process that serves: uvicorn's ``factory`` does."""
    return app_of(build_container(settings or load_settings()))


def app_of(container: Container) -> FastAPI:
    """The application over parts already built."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with instrumentation, container.logging():
            try:
                await container.start()
                yield
            finally:
                await container.stop()

    app = FastAPI(
        title="Callscope",
        version=version("callscope"),
        description=DESCRIPTION,
        openapi_tags=OPENAPI_TAGS,
        lifespan=lifespan,
    )
    use_problem_details(app)
    instrumentation = instrument(
        app,
        tracers=container.telemetry.pipelines.tracer_provider,
        meters=container.telemetry.pipelines.meter_provider,
        engine=container.database.engine,
        client=container.carrier_http,
    )
    for router in _routers(container):
        app.include_router(router)
    return app


def _routers(container: Container) -> Iterator[APIRouter]:
    telemetry, tracker = container.telemetry, container.telemetry.tracker
    admin = require_admin(container.admin_tokens, container.admin_attempts)
    tenants = ConfiguredTenants(container.tenants)
    urls = TraceUrls(container.settings.trace_url_template)
    yield webhooks_router(
        carrier=container.carrier if container.takes_calls else None,
        manager=container.manager,
        tracker=tracker,
        region=container.settings.default_region,
        dialled_headers=container.settings.dialled_headers or DIALLED_HEADERS,
    )
    yield metrics_router(
        live=telemetry.live,
        tracker=tracker,
        limits=container.limits,
        tenants=tenants,
        admin=admin,
    )
    yield summary_router(
        live=telemetry.live, history=container.history, clock=tracker.clock, tenants=tenants, admin=admin
    )
    yield ranking_router(live=telemetry.live, history=container.history, clock=tracker.clock, admin=admin)
    yield reconcile_router(
        reconciliation=build_reconciliation(
            container.settings, telemetry, container.database, container.records, container.instance_id
        ),
        admin=admin,
    )
    yield exemplars_router(live=telemetry.live, recent=telemetry.recent, tenants=tenants, urls=urls, admin=admin)
    yield calls_router(tracker=tracker, traces=telemetry.traces, recent=telemetry.recent, urls=urls, admin=admin)
    yield call_debugging_router(recent=telemetry.recent, urls=urls, admin=admin, past=container.records)
    yield tenants_router(tenants=container.tenants, changed=container.limits_follower.changed, admin=admin)
    yield call_records_router(pages=CallPages(container.database), admin=admin)
    yield usage_freezes_router(
        freezer=Freezer(container.database, tracker.clock, key=container.settings.seal_key), admin=admin
    )
    yield usage_roundings_router(database=container.database, clock=tracker.clock, admin=admin)
    yield usage_router(usage=UsageReader(container.database), admin=admin)
    yield health_router(readiness=_readiness(container))


def _readiness(container: Container) -> Readiness:
    return Readiness(
        {
            "database": database_reachable(container.database),
            "draining": not_draining(lambda: container.manager.draining),
            "registry": registry_has_room(container.telemetry.tracker),
        },
        {
            "export": export_information(container.telemetry.pipelines.health),
            "records": lambda: asdict(container.records.health()),
            "sampling": lambda: asdict(container.sampler.health()),
        },
    )
