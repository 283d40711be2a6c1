"""A gateway's admin side: the test kit's pipeline behind the routers."""

from dataclasses import dataclass, field

from fastapi import FastAPI

from service.api.call_detail import call_debugging_router
from service.api.calls import calls_router
from service.api.capacity import capacity_router
from service.api.exemplars import exemplars_router
from service.api.health import health_router
from service.api.live import TenantCheck, live_router
from service.api.ranking import ranking_router
from service.api.summary import summary_router
from service.http.errors import use_problem_details
from service.http.openapi import OPENAPI_TAGS
from service.http.readiness import Readiness
from service.http.security import AdminAttempts, require_admin
from service.http.tokens import AdminTokens
from service.tenants.directory import DirectoryUnavailableError
from service.tenants.limits import CallLimits
from service.timeline.serializer import TraceUrls
from telemetry.metrics.history import History
from telemetry.testing import TelemetryKit

TOKEN = "correct horse"


@dataclass
class FakeTenants:
    """Knows the tenants it is told of, until it is broken."""

    known: set[str] = field(default_factory=lambda: {"acme", "globex"})
    broken: bool = False
    asked: list[str] = field(default_factory=list)

    async def knows(self, tenant_id: str) -> bool:
        self.asked.append(tenant_id)
        if self.broken:
            raise DirectoryUnavailableError
        return tenant_id in self.known


@dataclass
class FakeParts:
    """What the readiness of the app under test depends on."""

    reasons: dict[str, str | None] = field(default_factory=lambda: {"database": None, "draining": None})
    exporting: dict[str, object] = field(default_factory=lambda: {"failing": False})
    degrading: set[str] = field(default_factory=set)

    def readiness(self) -> Readiness:
        async def database() -> str | None:
            return self.reasons["database"]

        async def draining() -> str | None:
            return self.reasons["draining"]

        return Readiness(
            {"database": database, "draining": draining},
            {"export": lambda: self.exporting},
            degrading=lambda: self.degrading,
        )


@dataclass
class Gateway:
    """The app under test, and all that stands behind it."""

    kit: TelemetryKit
    limits: CallLimits = field(default_factory=lambda: CallLimits(100, 10))
    tenants: FakeTenants = field(default_factory=FakeTenants)
    parts: FakeParts = field(default_factory=FakeParts)
    attempts: AdminAttempts = field(default_factory=AdminAttempts)
    tokens: AdminTokens = field(default_factory=lambda: AdminTokens([TOKEN]))
    history: History = field(init=False)

    def __post_init__(self) -> None:
        kit = self.kit
        self.history = History(kit.store, kit.tracker, self.limits, kit.clock.now())

    def app(self) -> FastAPI:
        """The routers in an app of their own."""
        admin = require_admin(self.tokens, self.attempts)
        app = FastAPI(title="Under test", openapi_tags=OPENAPI_TAGS)
        use_problem_details(app)
        app.include_router(
            capacity_router(live=self.kit.reader, tracker=self.kit.tracker, limits=self.limits, admin=admin)
        )
        app.include_router(live_router(live=self.kit.reader, tenants=self.tenants, admin=admin))
        live, history, clock = self.kit.reader, self.history, self.kit.clock
        app.include_router(summary_router(live=live, history=history, clock=clock, tenants=self.tenants, admin=admin))
        app.include_router(ranking_router(live=live, history=history, clock=clock, admin=admin))
        urls = TraceUrls("https://traces.example/trace/{trace_id}")
        app.include_router(
            exemplars_router(live=self.kit.reader, recent=self.kit.recent, tenants=self.tenants, urls=urls, admin=admin)
        )
        app.include_router(
            calls_router(
                tracker=self.kit.tracker,
                traces=self.kit.traces,
                recent=self.kit.recent,
                tenants=TenantCheck(self.kit.reader, self.tenants),
                urls=urls,
                admin=admin,
            )
        )
        app.include_router(call_debugging_router(recent=self.kit.recent, urls=urls, admin=admin))
        app.include_router(health_router(readiness=self.parts.readiness()))
        return app
