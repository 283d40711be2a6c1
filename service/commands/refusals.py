"""The end of a command that cannot do what it was asked for."""

from typing import NoReturn

import typer

from telemetry.terminal import printable


def refuse_with(*reasons: str) -> NoReturn:
    """End the command with code 1 and each reason on a line of standard error."""
    for reason in reasons:
        typer.echo(printable(reason), err=True)
    raise typer.Exit(1)
