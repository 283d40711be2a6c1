"""A gateway of one's own with Callscope's metrics and admin endpoints in it.

Run it with `ADMIN_TOKEN=secret uvicorn --factory examples.own_gateway:create_app`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.api.mounting import mount_admin
from service.http.errors import use_problem_details
from service.http.tokens import AdminTokens
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import EndReason
from telemetry.setup import start_telemetry


class Tenants:
    """The tenants you have configured; yours come from wherever you keep them."""

    async def knows(self, tenant_id: str) -> bool:
        """Return True if there is such a tenant."""
        return tenant_id in {"acme", "globex"}


def create_app() -> FastAPI:
    """Build the app; uvicorn calls this in the process that serves."""
    tokens = AdminTokens.parse(os.environ["ADMIN_TOKEN"], required=True)
    telemetry = start_telemetry()
    tracker = telemetry.tracker

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with telemetry:
            yield

    app = FastAPI(title="My gateway", lifespan=lifespan)
    use_problem_details(app)
    mount_admin(app, telemetry, tokens, limits=CallLimits(total=100, per_tenant=10), tenants=Tenants())

    @app.post("/my/calls/{call_id}")
    async def call_comes_in(call_id: str) -> None:  # your own call code reports what happens, and nothing else
        call = tracker.received(call_id, "acme")
        call.accepted()
        call.started()

    @app.delete("/my/calls/{call_id}")
    async def call_is_over(call_id: str) -> None:
        tracker.call(call_id).ended(EndReason.HANGUP)

    return app
