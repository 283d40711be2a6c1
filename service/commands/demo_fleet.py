"""The demo as a fleet: several workers, a store, and traffic that comes to whichever of them takes it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final

from service.commands.printing import refuse_with
from service.commands.serve import check_database
from service.commands.workers import NotServingError, Workers, environment_of
from service.fleet.address import StoreAddress
from service.fleet.errors import StoreAwayError, StoreUnusableError
from service.fleet.store import FleetView, SlotStore
from service.server import address_of, ignore_signals, listen
from service.settings import Settings
from service.storage.database import Database
from service.tenants.spec import TenantSpec
from service.tenants.sql import SqlTenantRepository

PREFIX: Final = "callscope-demo"
"""Keeps the demo's slots apart from those of a fleet in the same store."""

SERVERS: Final = ("valkey-server", "redis-server")
"""Programs that are a store, looked for on this machine."""

START_SECONDS: Final = 10.0
"""Seconds such a program may take to start."""


@asynccontextmanager
async def a_store(settings: Settings) -> AsyncIterator[str]:
    """Give the address of the store: the one that is set, or of a server started for as long as this lasts.

    Raises:
        StoreUnusableError: if there is neither.
    """
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    program = next((found for name in SERVERS if (found := which(name))), None)
    if program is None:
        raise StoreUnusableError(
            f"REDIS_URL: several workers need a store, and neither {' nor '.join(SERVERS)} is on this machine; install"
            " one, or name a store"
        )
    with TemporaryDirectory(prefix="callscope-demo-") as folder:
        path = Path(folder) / "store.sock"
        options = ("--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder)
        # A group of its own, so that an interrupt from the keyboard reaches it last, from here.
        server = await asyncio.create_subprocess_exec(
            program, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not path.exists():  # noqa: ASYNC110 -- the program tells nobody
                    await asyncio.sleep(0.05)
            yield f"unix://{path}"
        finally:
            with suppress(ProcessLookupError):
                server.terminate()
            await server.wait()


class DemoFleet:
    """The workers of a demo, and what the store says of them."""

    def __init__(self, settings: Settings, count: int, store: str) -> None:
        self._settings = settings
        self._count = count
        self._store = store

    def environment(self) -> dict[str, str]:
        """Return what the workers' settings come from."""
        settings = self._settings
        key = settings.openai_api_key
        return environment_of(
            APP_ENV="dev",
            ADMIN_TOKEN=",".join(settings.admin_tokens),
            DATABASE_URL=settings.database_url.get_secret_value(),
            REDIS_URL=self._store,
            REDIS_PREFIX=PREFIX,
            OPENAI_API_KEY=key.get_secret_value() if key else "",
            OPENAI_BASE_URL=settings.openai_base_url,
            OPENAI_WEBHOOK_SECRET=",".join(settings.webhook_secrets),
            SPILL_FOLDER=str(settings.spill_folder),
            LOG_LEVEL=settings.log_level,
            MAX_CONCURRENT_CALLS=str(settings.max_concurrent_calls),
            FALLBACK_INSTRUCTIONS=settings.fallback_instructions or "",
            MAX_CALL_SECONDS=str(settings.max_call_seconds or ""),
            MAX_SILENCE_SECONDS=str(settings.max_silence_seconds or ""),
            HAND_OVER_CALLS="false",
        )

    @asynccontextmanager
    async def serving(
        self, tenants: Sequence[TenantSpec], tell: Callable[[str], object]
    ) -> AsyncIterator[tuple[str, Workers]]:
        """Serve with these tenants; gives the address and the workers."""
        await check_database(self._settings)
        async with Database.from_url(self._settings.database_url.get_secret_value()) as database:
            await SqlTenantRepository(database).import_all(tenants, actor="demo")
        with listen(self._settings.host, self._settings.port) as listening:
            workers = Workers(
                self._count,
                listening,
                self.environment(),
                drain_seconds=self._settings.drain_seconds,
                tell=tell,
            )
            try:
                await workers.start()
                yield address_of(listening), workers
            except NotServingError:
                refuse_with("Callscope could not start: a worker did not come to serve; it has said why")
            finally:
                ignore_signals()
                await workers.stop()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[SlotStore]:
        """Look at the store while the context is open."""
        # Here, as the demo alone needs it, and only with several workers: it loads redis.
        from service.fleet.connection import StoreConnection  # noqa: PLC0415

        async with AsyncExitStack() as until:
            connection = StoreConnection(StoreAddress.parse(self._store))
            until.push_async_callback(connection.close)
            yield SlotStore(connection, PREFIX)


async def fleet_lines(store: SlotStore) -> list[str]:
    """Return a line a worker, and one for the store if it is away."""
    try:
        return list(_lines(await store.look()))
    except StoreAwayError as error:
        return [f"the store is away: {error}"]


def _lines(view: FleetView) -> Iterator[str]:
    for process in view.processes:
        state = "alive" if process.beat_age_seconds is not None else f"gone {process.gone_seconds or 0:.0f} s"
        yield f"worker {process.info.get('pid', '?'):>8}  {state:10} {process.held:>4} calls"
    yield f"{'all':15}  {'':10} {view.in_use:>4} calls"
