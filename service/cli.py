"""The ``callscope`` command: the list of commands, each in its module of :mod:`service.commands`."""

import io
import sys
from typing import Annotated, Final

import typer

from service.commands.group import LazyGroup, ListedCommand
from service.commands.loading import package_version


class _Forgiving(io.FileIO):
    """A file whose reader may go away: what is written after that is dropped."""

    def write(self, data: object, /) -> int:
        """Return how many bytes were taken."""
        try:
            return super().write(data)  # type: ignore[arg-type] # any buffer, as the base class has it
        except BrokenPipeError:
            return memoryview(data).nbytes  # type: ignore[arg-type] # the same


def use_forgiving_output() -> None:
    r"""Replace standard output for the rest of the process.

    A command's work and its exit code must not depend on who reads along: ``callscope reconcile | head`` still says by
    its code whether the ledgers agree. What the encoding lacks is written as an escape such as ``\u2260``.
    """
    before = sys.stdout
    try:
        number = before.fileno()
        before.flush()
    except (AttributeError, OSError, ValueError):
        return  # closed, or none of the operating system's
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(number, "w", closefd=False)),
        encoding=before.encoding,
        errors="backslashreplace",
        line_buffering=before.isatty() or bool(before.line_buffering),
    )


COMMANDS: Final = {
    "serve": ListedCommand("service.commands.serve:serve", "Run the service until it is told to stop."),
    "demo": ListedCommand("service.commands.demo:demo", "Run the service with tenants and simulated calls."),
    "simulate": ListedCommand(
        "service.commands.simulate:simulate", "Be the carrier of a gateway, and report what happened."
    ),
    "doctor": ListedCommand("service.commands.doctor:doctor", "Send test telemetry, and say what arrived or why not."),
    "call": ListedCommand("service.commands.calls:call", "Show one call: phases, speech, waits, tools, errors."),
    "calls": ListedCommand("service.commands.calls:calls", "List calls, under way and lately over."),
    "usage": ListedCommand("service.commands.usage:usage", "Show how long calls ran, exact and rounded."),
    "billing": ListedCommand("service.commands.billing:app", "Freeze periods, settle differences, agree on roundings."),
    "reconcile": ListedCommand(
        "service.commands.reconcile:reconcile", "Compare counters, registry, records and backend."
    ),
    "tenants": ListedCommand("service.commands.tenants:app", "Manage tenants, their numbers and instructions."),
}


class CallscopeGroup(LazyGroup):
    """The commands of ``callscope``."""

    listed = COMMANDS


app = typer.Typer(
    cls=CallscopeGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help needs no rich, which takes longer to import than the rest
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(package_version())
        raise typer.Exit


@app.callback()
def callscope(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """OpenTelemetry-native observability for multi-tenant voice calls."""


def main() -> None:
    """Run the command line."""
    use_forgiving_output()
    app(prog_name="callscope")
