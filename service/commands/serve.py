"""``callscope serve``: the service.

Exit codes: 0 stopped in good order, 1 it could not start, 2 the command line itself is wrong.
"""

from typing import Annotated

import typer

from service.app import app_of
from service.container import build_container
from service.server import address_of, listen, run, server_for
from service.settings import Settings, SettingsError, load_settings
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
        refuse(str(error))
    except OSError as error:
        refuse(f"cannot listen: {error.strerror or error}")


async def _serve(settings: Settings) -> None:
    with listen(settings.host, settings.port) as listening:
        # Not on standard output: what is there is one JSON object a line.
        typer.echo(f"Callscope serves {address_of(listening)}", err=True)
        await server_for(app_of(build_container(settings)), calls=settings.max_concurrent_calls).serve([listening])


def refuse(reason: str) -> None:
    """End the command with code 1 and the reason on standard error."""
    typer.echo(reason, err=True)
    raise typer.Exit(1)
