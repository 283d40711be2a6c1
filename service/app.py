"""The application: the container's parts behind their routes, alive for as long as the server runs."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI

from service.api.call_detail import CallLookup
from service.api.call_records import RecordedPast, call_records_router
from service.api.calls import own_open_calls
from service.api.capacity import alone
from service.api.documentation import documentation_router
from service.api.fleet import (
    counts_information,
    counts_sent,
    fleet_information,
    fleet_router,
    mail_information,
    store_reachable,
)
from service.api.fleet_calls import FleetCalls, OwnCalls
from service.api.fleet_exemplars import ToldExamples
from service.api.fleet_registry import StoredFleetRegistry
from service.api.hang_up import HangUps
from service.api.health import health_router
from service.api.live import TenantCheck
from service.api.mounting import FleetParts, mount_admin
from service.api.reconcile import reconcile_router
from service.api.scope import MetricsScopes
from service.api.search_elsewhere import own_found
from service.api.tenants.changes import TenantChanges
from service.api.tenants.routes import tenants_router
from service.api.usage import usage_router
from service.api.usage_freezes import usage_freezes_router
from service.api.usage_roundings import usage_roundings_router
from service.api.webhooks import webhooks_router
from service.container import Container, build_container
from service.fleet.live.sums import StoredSums
from service.fleet.sessions import SessionStore
from service.gateway.carriers.sip import DIALLED_HEADERS
from service.http.database import database_reachable
from service.http.errors import TrailingSlashes, use_problem_details
from service.http.instrumentation import instrument
from service.http.openapi import OPENAPI_TAGS
from service.http.readiness import (
    Readiness,
    export_information,
    not_draining,
    nothing_missing,
    records_kept,
    registry_has_room,
)
from service.http.security import AdminCheck, require_admin
from service.page.examination import WAIT_SECONDS, Examination
from service.page.facts import PageParts
from service.page.guard import shown_to_people
from service.page.mounting import LivePage
from service.page.sessions import IDLE_SECONDS, MAX_SECONDS, MAX_SESSIONS, LocalSessions, PageSessions
from service.page.shared_sessions import SharedSessions
from service.page.system_view import SystemFacts
from service.reconciliation.reconciliation import build_reconciliation
from service.records.calls import RecordsState
from service.records.directory import SeenTenants
from service.records.store import CallPages
from service.settings import Settings, load_settings
from service.timeline.serializer import TraceUrls
from service.usage.freezing import Freezer
from service.usage.report import UsageReader
from telemetry.doctor import ExportFinding, diagnose

DESCRIPTION = "Calls of many tenants, counted live, traced, and exported over OTLP."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service as an ASGI application. Call it in the process that serves: uvicorn's ``factory`` does."""
    return app_of(build_container(settings or load_settings()))


def app_of(container: Container) -> FastAPI:
    """Return the application over parts already built."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with instrumentation, container.logging():
            try:
                await container.start()
                yield
            finally:
                await page.stop()
                await container.stop()

    app = FastAPI(
        title="Callscope",
        version=version("callscope"),
        description=DESCRIPTION,
        openapi_tags=OPENAPI_TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,  # these are routes of our own, see documentation_router
        docs_url=None,
        redoc_url=None,
    )
    use_problem_details(app, shown_to_people)
    app.add_middleware(TrailingSlashes)
    instrumentation = instrument(
        app,
        tracers=container.telemetry.pipelines.tracer_provider,
        meters=container.telemetry.pipelines.meter_provider,
        engine=container.database.engine,
        client=container.carrier_http,
    )
    admin = require_admin(container.admin_tokens, container.admin_attempts)
    calls = _calls(container)
    app.include_router(
        webhooks_router(
            carrier=container.carrier if container.takes_calls else None,
            manager=container.manager,
            tracker=container.telemetry.tracker,
            region=container.settings.default_region,
            dialled_headers=container.settings.dialled_headers or DIALLED_HEADERS,
        )
    )
    mount_admin(
        app,
        container.telemetry,
        admin,
        limits=container.limits,
        tenants=SeenTenants(container.tenants, CallPages(container.database)),
        history=container.history,
        past=RecordedPast(container.records),
        urls=TraceUrls(container.settings.trace_url_template),
        mode=alone if container.fleet is None else container.fleet.mode,
        fleet=calls.fleet,
    )
    readiness = _readiness(container)
    for router in _routers(container, readiness, admin, calls.scopes):
        app.include_router(router)
    page = _page(container, readiness, calls)
    page.mount(app, admin)
    if container.mailbox is not None:
        page.tell(container.mailbox)
    return app


@dataclass(frozen=True, slots=True)
class _Calls:
    """The parts that routes and pages share of calls."""

    lookup: CallLookup
    hang_ups: HangUps
    elsewhere: FleetCalls | None
    """Those of other processes; None without a fleet."""
    fleet: FleetParts | None
    """Everything that the processes of a fleet know together; likewise."""
    scopes: MetricsScopes
    """The rule by which the fleet or this process answers."""


def _calls(container: Container) -> _Calls:
    telemetry, past = container.telemetry, RecordedPast(container.records)
    urls = TraceUrls(container.settings.trace_url_template)
    hang_up = container.manager.hang_up
    if container.fleet is None or container.mailbox is None or container.counting is None:
        hang_ups = HangUps(telemetry.tracker, container.tenants, past, hang_up)
        scopes = MetricsScopes(telemetry.live, clock=telemetry.tracker.clock)
        return _Calls(CallLookup(telemetry.recent, past, urls), hang_ups, None, None, scopes)
    own = OwnCalls(
        open_calls=partial(own_open_calls, telemetry.tracker, telemetry.traces),
        left=lambda: container.recovery.left,
        search=partial(own_found, telemetry.recent, urls),
        call=CallLookup(telemetry.recent, past, urls).own,
        hang_up=HangUps(telemetry.tracker, container.tenants, past, hang_up).perform,
    )
    pages = CallPages(container.database)
    scopes = MetricsScopes(telemetry.live, container.counting.numbers, clock=telemetry.tracker.clock)
    elsewhere = FleetCalls(container.fleet, container.mailbox, own, pages, telemetry.tracker.clock)
    return _Calls(
        CallLookup(telemetry.recent, past, urls, elsewhere),
        HangUps(telemetry.tracker, container.tenants, past, hang_up, elsewhere),
        elsewhere,
        FleetParts(
            scopes,
            elsewhere,
            StoredFleetRegistry(container.fleet.store, elsewhere, container.mailbox),
            ToldExamples(elsewhere, container.mailbox),
        ),
        scopes,
    )


def _page(container: Container, readiness: Readiness, calls: _Calls) -> LivePage:
    """Return the live page over the container's parts."""
    settings, urls = container.settings, TraceUrls(container.settings.trace_url_template)
    parts = PageParts(
        telemetry=container.telemetry,
        limits=container.limits,
        history=container.history,
        readiness=readiness,
        records=container.records.health,
        tenants=container.tenants,
        lookup=calls.lookup,
        scopes=calls.scopes,
        elsewhere=calls.elsewhere,
        pages=CallPages(container.database),
        usage=UsageReader(container.database),
        urls=urls,
    )
    sessions = _sessions(container)
    system = SystemFacts(
        settings,
        container.instance_id,
        container.database.engine.dialect.name,
        examination=Examination(_examining()),
        sessions=sessions.health,
        spill_room=container.records.spill_room,
        fleet=container.fleet,
    )
    return LivePage(
        parts,
        system,
        TenantChanges(container.tenants, container.limits_follower.changed),
        calls.hang_ups,
        tokens=container.admin_tokens,
        attempts=container.admin_attempts,
        sessions=sessions,
    )


def _examining() -> Callable[[], Sequence[ExportFinding]]:
    """Return what examines the exports, by the variables as they are now."""
    environ, attributes = dict(os.environ), {"service.version": version("callscope")}
    return lambda: diagnose(environ, attributes, wait_seconds=WAIT_SECONDS)


def _sessions(container: Container) -> PageSessions:
    """Return the sessions of people: the fleet's where there is one, else this process's."""
    if container.store is None:
        return LocalSessions(container.admin_tokens)
    store = SessionStore(
        container.store,
        container.settings.redis_prefix,
        idle_seconds=IDLE_SECONDS,
        longest_seconds=MAX_SECONDS,
        most=MAX_SESSIONS,
    )
    return SharedSessions(container.admin_tokens, store)


def _routers(
    container: Container, readiness: Readiness, admin: AdminCheck, scopes: MetricsScopes
) -> Iterator[APIRouter]:
    """Return the routes that need the service's database, and the public ones."""
    clock, database = container.telemetry.tracker.clock, container.database
    seen = SeenTenants(container.tenants, CallPages(container.database))
    known = TenantCheck(container.telemetry.live, seen, scopes)
    yield reconcile_router(
        reconciliation=build_reconciliation(
            container.settings,
            container.telemetry,
            database,
            container.records,
            container.instance_id,
            None if container.counting is None else StoredSums(container.counting.numbers),
        ),
        tenants=known,
        admin=admin,
    )
    yield tenants_router(tenants=container.tenants, changed=container.limits_follower.changed, admin=admin)
    yield call_records_router(pages=CallPages(database), tenants=known, admin=admin)
    yield usage_freezes_router(freezer=Freezer(database, clock, key=container.settings.seal_key), admin=admin)
    yield usage_roundings_router(database=database, clock=clock, admin=admin)
    yield usage_router(usage=UsageReader(database), admin=admin)
    if container.fleet is not None:
        yield fleet_router(fleet=container.fleet, admin=admin)
    yield health_router(readiness=readiness)
    yield documentation_router(admin=admin if container.settings.app_env == "prod" else None)


def _readiness(container: Container) -> Readiness:
    settings = container.settings
    secrets = {"OPENAI_API_KEY": settings.openai_api_key, "OPENAI_WEBHOOK_SECRET": settings.openai_webhook_secret}

    def degrading() -> set[str]:
        # Tenants that are remembered are served without the database, and records wait on disk. Past their grace
        # every call would be turned away, and is better sent where there is a database.
        served = container.started.is_set() and container.tenant_cache.answers_alone
        always = {"secrets", "records", "fleet", "counts"}
        return always | {"database"} if served else always

    return Readiness(
        {
            "database": database_reachable(container.database),
            **({} if container.fleet is None else {"fleet": store_reachable(container.fleet)}),
            **({} if container.counting is None else {"counts": counts_sent(container.counting)}),
            "draining": not_draining(lambda: container.leaving.is_set() or container.manager.draining),
            "registry": registry_has_room(container.telemetry.tracker),
            "records": records_kept(
                lambda: container.records.health().state is RecordsState.SPILLING,
                lambda: container.records.health().state is RecordsState.REFUSING,
            ),
            "secrets": nothing_missing([name for name, secret in secrets.items() if not secret]),
        },
        {
            "export": export_information(container.telemetry.pipelines.health),
            "records": lambda: asdict(container.records.health()),
            "sampling": lambda: asdict(container.sampler.health()),
            **({} if container.fleet is None else {"fleet": fleet_information(container.fleet)}),
            **({} if container.counting is None else {"counts": counts_information(container.counting)}),
            **({} if container.mailbox is None else {"mail": mail_information(container.mailbox)}),
        },
        degrading=degrading,
    )
