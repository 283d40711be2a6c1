"""A gateway of one's own with Callscope's metrics and admin endpoints in it.

Run it with `ADMIN_TOKEN=secret uvicorn --factory examples.own_gateway:create_app`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.api.call_detail import call_debugging_router
from service.api.calls import calls_router
from service.api.metrics import metrics_router
from service.http.problems import use_problem_details
from service.http.security import AdminAttempts, AdminTokens, require_admin
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import EndReason
from telemetry.setup import start_telemetry


class Tenants:
    """The tenants you have configured; yours come from wherever you keep them."""

    async def knows(self, tenant_id: str) -> bool:
        """Whether there is such a tenant."""
        return tenant_id in {"acme", "globex"}


def create_app() -> FastAPI:
    """Build the app; uvicorn calls this in the process that serves."""
    admin = require_admin(AdminTokens.parse(os.environ["ADMIN_TOKEN"], required=True), AdminAttempts())
    telemetry = start_telemetry()
    tracker, limits = telemetry.tracker, CallLimits(total=100, per_tenant=10)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with telemetry:
            yield

    app = FastAPI(title="My gateway", lifespan=lifespan)
    use_problem_details(app)
    app.include_router(
        metrics_router(live=telemetry.live, tracker=tracker, limits=limits, tenants=Tenants(), admin=admin)
    )
    app.include_router(calls_router(tracker=tracker, traces=telemetry.traces, recent=telemetry.recent, admin=admin))
    app.include_router(call_debugging_router(recent=telemetry.recent, admin=admin))

    @app.post("/my/calls/{call_id}")
    async def call_comes_in(call_id: str) -> None:  # your own call code reports what happens, and nothing else
        call = tracker.received(call_id, "acme")
        call.accepted()
        call.started()

    @app.delete("/my/calls/{call_id}")
    async def call_is_over(call_id: str) -> None:
        tracker.call(call_id).ended(EndReason.HANGUP)

    return app
