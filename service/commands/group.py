"""A group of commands that lists them without importing them."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from service.commands.loading import load


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

    def _loaded(self, name: str) -> Any:  # noqa: ANN401 -- the same
        found = load(self.listed[name].target)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        return command
