"""``callscope serve``: the service.

Exit codes: 0 stopped in good order, 1 it could not start, 2 the command line itself is wrong.
"""

import socket
from typing import Annotated

import typer

from service.app import app_of
from service.commands.printing import refuse_with
from service.commands.workers import NotServingError, WorkerEnds, Workers, environment_of
from service.container import build_container
from service.records.spill import SpillFolderError
from service.server import Server, address_of, demand_address, ignore_signals, listen, run, server_for
from service.settings import Settings, SettingsError, load_settings
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.storage.url import DatabaseUrlError
from telemetry.export import InvalidVariableError

WRONG = (SettingsError, InvalidVariableError, DatabaseUrlError, ValueError)


def serve(
    host: Annotated[str | None, typer.Option(help="Instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of PORT; 0 takes any free one.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="So many processes behind one port; more than one needs REDIS_URL.")
    ] = 1,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the service until it is interrupted or terminated.

    Exit codes: 0 stopped in good order, 1 it could not start.
    """
    try:
        chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        settings = load_settings(**chosen)
        if worker is not None:
            run(_serve_for(settings, WorkerEnds.parse(worker)))
        elif workers > 1:
            run(_serve_by(settings, workers))
        else:
            run(_serve(settings))
    except WRONG as error:
        refuse_with(str(error))
    except OSError as error:
        refuse_with(f"HOST, PORT: cannot listen: {error.strerror or error}; choose another address or port")


async def _serve(settings: Settings) -> None:
    await check_database(settings)
    with listen(settings.host, settings.port) as listening:
        server = _server(settings)
        # Not on standard output: what is there is one JSON object a line.
        server.when_serving = lambda: _announce(listening, settings)
        await _run(server, listening)


async def _serve_by(settings: Settings, count: int) -> None:
    """Serve by several processes, and watch over them."""
    demand_store(settings)
    await check_database(settings)
    with listen(settings.host, settings.port) as listening:
        workers = Workers(count, listening, environment_of(), drain_seconds=settings.drain_seconds, tell=_say)
        try:
            await workers.start()
            _announce(listening, settings)
            await workers.run()
        except NotServingError:
            refuse_with("Callscope could not start: a worker did not come to serve; it has said why")
        finally:
            ignore_signals()
            clean = await workers.stop()
    if not clean:
        refuse_with("a worker did not stop in good order")


async def _serve_for(settings: Settings, ends: WorkerEnds) -> None:
    """Serve as one of several processes; whoever started them has checked the database and says where they answer."""
    server = _server(settings)
    server.when_serving = ends.serving
    ends.stop_with_parent(server.stop_soon)
    await _run(server, ends.listening)


def demand_store(settings: Settings) -> None:
    """Raise SettingsError unless there is a store: without one, each worker would keep to the limits alone."""
    if settings.redis_url is None:
        raise SettingsError("REDIS_URL: several workers share one limit in a store; set it, or run one worker")


def _server(settings: Settings) -> Server:
    container = build_container(settings)
    server = server_for(
        app_of(container), calls=settings.max_concurrent_calls, trusted_proxies=settings.trusted_proxies
    )
    server.has_process = True
    server.when_told, server.drain_seconds = container.leaving.set, settings.drain_seconds
    return server


async def _run(server: Server, listening: socket.socket) -> None:
    try:
        await server.serve([listening])
    except SystemExit:
        refuse_with(f"Callscope could not start: {start_problem(server.failure)}")
    finally:
        ignore_signals()


def start_problem(failure: Exception | None) -> str:
    """Return the cause of a start that failed, with the variable to change where there is one."""
    variable = "SPILL_FOLDER: " if isinstance(failure, SpillFolderError) else ""
    return f"{variable}{str(failure) or type(failure).__name__}"


async def check_database(settings: Settings) -> None:
    """Bring the schema up to date before anything listens; leave no new database where nothing can listen.

    Raises:
        OSError: if the service could not listen.
        DatabaseUrlError: if the database cannot be used, in one sentence.
    """
    demand_address(settings.host, settings.port)
    async with Database.from_url(settings.database_url.get_secret_value()) as database:
        await upgrade(database.engine)


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _announce(listening: socket.socket, settings: Settings) -> None:
    for sentence in settings.without_secrets:
        typer.echo(f"WARNING: {sentence}", err=True)
    covers = "" if settings.host != "::" else " (every IPv6 address of this machine; HOST=0.0.0.0 is every IPv4 one)"
    typer.echo(f"Callscope serves {address_of(listening)}{covers}", err=True)
