"""``callscope call``: what happened in one call, drawn in the terminal.

Exit codes: 0 shown, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from service.debugging.client import CallClient, RefusedError
from service.debugging.detail import CallDetail
from service.debugging.drawing import waterfall
from service.debugging.svg import render_svg
from service.debugging.terminal import render_terminal

_DEFAULT_URL = "http://127.0.0.1:8000"


def call(
    call_id: Annotated[str, typer.Argument(help="The call's id, such as rtc_1; or its trace's id, 32 hex digits.")],
    *,
    url: Annotated[str, typer.Option(envvar="CALLSCOPE_URL", help="Where the service answers.")] = _DEFAULT_URL,
    token: Annotated[
        str, typer.Option(envvar=["CALLSCOPE_TOKEN", "ADMIN_TOKEN"], help="An admin token.", show_envvar=True)
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything known, as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the picture to this file instead.")] = None,
) -> None:
    """Show one call, under way or lately over: phases, speech, waits, interruptions, tools, errors.

    Exit codes: 0 shown, 1 refused with the reason on standard error.
    """
    # Several tokens may be configured while one is rotated out; any of them will do.
    client = CallClient(url, token.split(",", maxsplit=1)[0].strip())
    try:
        detail = client.call(call_id)
    except RefusedError as error:
        _refuse(str(error))
    if as_json:
        typer.echo(detail.model_dump_json(indent=2))
    elif svg is not None:
        _write(svg, detail)
    else:
        console = Console()
        console.print(render_terminal(waterfall(detail), console.width))


def _write(path: Path, detail: CallDetail) -> None:
    try:
        path.write_text(render_svg(waterfall(detail)), encoding="utf-8")
    except OSError as error:
        _refuse(f"cannot write {path}: {error.strerror or error}")
    typer.echo(f"wrote {path}")


def _refuse(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(1)
