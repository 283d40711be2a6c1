"""The ``callscope`` command: the list of commands, each in its module of :mod:`service.commands`."""

import io
import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from service.commands.loading import load, package_version


class ListedCommand(NamedTuple):
    """A command as the list shows it."""

    target: str
    """``module:name`` of the function, or of the group of commands."""
    help: str
    """Its purpose in a few words."""


class LazyGroup(TyperGroup):
    """Shows ``listed``, and imports the one that is asked for."""

    listed: ClassVar[Mapping[str, ListedCommand]] = {}

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 -- the base class's
        super().__init__(**options)
        # What stands in the list, until a command is chosen.
        self.commands = {
            name: TyperCommand(name, callback=None, help=command.help) for name, command in self.listed.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 -- typer moved these types about
        """Return the command's name, the command itself and the rest of the arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if command is None else self._loaded(str(name)), rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- the same
        """Return what the command returns; what is wrong with an option is told without pydantic's own words."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise

    def _loaded(self, name: str) -> Any:  # noqa: ANN401 -- the same
        found = load(self.listed[name].target)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        return command


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
    "watch": ListedCommand("service.commands.watch:watch", "Watch what runs and what is wrong, in the terminal."),
    "call": ListedCommand("service.commands.calls:call", "Show one call: phases, speech, waits, tools, errors."),
    "calls": ListedCommand("service.commands.calls:calls", "List calls, under way and lately over."),
    "fleet": ListedCommand("service.commands.fleet:fleet", "Show the processes that share one limit."),
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
