"""``callscope serve``: the service.

Exit codes: 0 stopped in good order, 1 it could not start, 2 the command line itself is wrong.
"""

import socket
from typing import Annotated

import typer

from service.app import app_of
from service.commands.printing import refuse_with
from service.container import build_container
from service.records.spill import SpillFolderError
from service.server import address_of, ignore_signals, listen, run, server_for
from service.settings import Settings, SettingsError, load_settings
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.storage.url import DatabaseUrlError
from telemetry.export import InvalidVariableError

WRONG = (SettingsError, InvalidVariableError, DatabaseUrlError, ValueError)


def serve(
    host: Annotated[str | None, typer.Option(help="Instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of PORT; 0 takes any free one.")] = None,
) -> None:
    """Run the service until it is interrupted or terminated.

    Exit codes: 0 stopped in good order, 1 it could not start.
    """
    try:
        chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        run(_serve(load_settings(**chosen)))
    except WRONG as error:
        refuse_with(str(error))
    except OSError as error:
        refuse_with(f"HOST, PORT: cannot listen: {error.strerror or error}; choose another address or port")


async def _serve(settings: Settings) -> None:
    await check_database(settings)
    with listen(settings.host, settings.port) as listening:
        app = app_of(build_container(settings))
        calls, proxies = settings.max_concurrent_calls, settings.trusted_proxies
        server = server_for(app, calls=calls, trusted_proxies=proxies)
        # Not on standard output: what is there is one JSON object a line.
        server.when_serving = lambda: _announce(listening, settings)
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
    """Bring the schema up to date before anything listens.

    Raises:
        DatabaseUrlError: if the database cannot be used, in one sentence.
    """
    async with Database.from_url(settings.database_url.get_secret_value()) as database:
        await upgrade(database.engine)


def _announce(listening: socket.socket, settings: Settings) -> None:
    for sentence in settings.without_secrets:
        typer.echo(f"WARNING: {sentence}", err=True)
    covers = "" if settings.host != "::" else " (every IPv6 address of this machine; HOST=0.0.0.0 is every IPv4 one)"
    typer.echo(f"Callscope serves {address_of(listening)}{covers}", err=True)
