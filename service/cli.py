"""The ``callscope`` command."""

from typing import Annotated

import typer

from service.app import app_of
from service.commands.call import call
from service.commands.demo import DemoOptions, run_demo
from service.commands.doctor import doctor
from service.commands.reconcile import reconcile
from service.commands.simulate import simulate
from service.commands.tenants import app as tenants
from service.commands.usage import usage
from service.container import build_container
from service.server import address_of, listen, run, server_for
from service.settings import Settings, SettingsError, load_settings
from service.storage.url import DatabaseUrlError
from telemetry.export import InvalidVariableError

app = typer.Typer(
    help="OpenTelemetry-native observability for multi-tenant voice calls.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.add_typer(tenants, name="tenants")
app.command()(simulate)
app.command()(doctor)
app.command()(call)
app.command()(usage)
app.command()(reconcile)

_WRONG = (SettingsError, InvalidVariableError, DatabaseUrlError, ValueError)


@app.command()
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
    except _WRONG as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"cannot listen: {error.strerror or error}")


@app.command()
def demo(
    calls_per_second: Annotated[float, typer.Option(help="Calls begun a second, on average.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
    time_scale: Annotated[float, typer.Option(help="Real seconds that a second of conversation takes.")] = 1.0,
) -> None:
    """Run the service with three tenants and simulated calls, and print where to look."""
    options = DemoOptions(calls_per_second, seed, time_scale)
    try:
        run(run_demo(options, tell=typer.echo))
    except _WRONG as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"cannot listen: {error.strerror or error}; set PORT to another port")


def main() -> None:
    """The entry point of the command."""
    app()


async def _serve(settings: Settings) -> None:
    with listen(settings.host, settings.port) as listening:
        # Not on standard output: what is there is one JSON object a line.
        typer.echo(f"Callscope serves {address_of(listening)}", err=True)
        await server_for(app_of(build_container(settings)), calls=settings.max_concurrent_calls).serve([listening])


def _refuse(reason: str) -> None:
    typer.echo(reason, err=True)
    raise typer.Exit(1)
