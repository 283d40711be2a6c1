"""The application: the world's parts behind their routes, alive for as long as the server runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from service.api.webhooks import webhooks_router
from service.problems import use_problem_details
from service.settings import Settings, load_settings
from service.world import World, build_world

DESCRIPTION = "Calls of many tenants, counted live, traced, and exported over OTLP."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application. Call it in the process that serves: uvicorn's ``factory`` does."""
    return app_of(build_world(settings or load_settings()))


def app_of(world: World) -> FastAPI:
    """The application over parts already built."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await world.start()
            yield
        finally:
            await world.stop()

    app = FastAPI(title="Callscope", version=version("callscope"), description=DESCRIPTION, lifespan=lifespan)
    use_problem_details(app)
    app.include_router(
        webhooks_router(
            carrier=world.carrier if world.takes_calls else None,
            manager=world.manager,
            tracker=world.telemetry.tracker,
        )
    )
    return app
