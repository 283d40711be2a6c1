"""Output for people: plain help, tables with no name or number cut, and the reasons for which a command was refused."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from telemetry.terminal import printable


def refuse_with(*reasons: str) -> NoReturn:
    """End the command with code 1 and each reason on a line of standard error."""
    for reason in reasons:
        typer.echo(printable(reason), err=True)
    raise typer.Exit(1)


def group(purpose: str) -> typer.Typer:
    """Return a group of commands that explains itself as plainly as the rest; ``callscope`` alone has completions."""
    return typer.Typer(help=purpose, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


UNLIMITED: Final = 10_000
"""Columns where nobody looks at a screen: a pipe or a file gets every line whole."""


def console() -> Console:
    """Return a console as wide as the terminal; without one, wide enough to cut nothing."""
    shown = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if shown else UNLIMITED)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows under heads; where they do not fit beside each other, each row becomes lines of ``head: cell``."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    """The heads whose cells are aligned right."""
    foot: Sequence[str] = ()
    """A last row, of sums."""
    title: str | None = None
    marked: frozenset[int] = frozenset()
    """Rows that are printed in red."""
    narrow: "Sheet | None" = None
    """A sheet that says less, without lines, where this one does not fit; its last column may be broken."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.table()
        if Measurement.get(console, options.update(max_width=UNLIMITED), table).maximum <= options.max_width:
            yield table
            return
        if self.narrow is not None:
            table = self.narrow.table(bare=True)
            if Measurement.get(console, options.update(max_width=UNLIMITED), table).minimum <= options.max_width:
                yield table
                return
        yield from self._stacked()

    def table(self, *, bare: bool = False) -> Table:
        """Return the rows as a table; a bare one has no lines, and its last column may be broken."""
        table = Table(title=self.title, title_justify="left", show_footer=bool(self.foot))
        if bare:
            table.box, table.padding, table.pad_edge = None, (0, 2, 0, 0), False
        for number, head in enumerate(self.heads):
            table.add_column(
                Text(head),
                footer=Text(self.foot[number]) if self.foot else "",
                justify="right" if head in self.numbers else "left",
                no_wrap=not bare or number < len(self.heads) - 1,
            )
        for number, row in enumerate(self.rows):
            table.add_row(*map(Text, row), style="bold red" if number in self.marked else None)
        return table

    def _stacked(self) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, style="italic")
        width = max(map(len, self.heads)) + 1
        last = [("all", self.foot)] if self.foot else []
        for label, row in [*(("", row) for row in self.rows), *last]:
            yield Text()
            if label:
                yield Text(label)
            for head, cell in zip(self.heads, row, strict=True):
                for number, line in enumerate(cell.split("\n") if cell else ()):
                    yield Text(f"{head + ':' if not number else '':{width}} {line}", overflow="fold")
