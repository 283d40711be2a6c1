"""``callscope call``: what happened in one call, drawn in the terminal.

Exit codes: 0 shown, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from service.commands.client import DEFAULT_URL, RefusedError, ServiceClient, Token, Url, refuse
from service.commands.printing import UNLIMITED, console
from service.timeline.detail import CallDetail
from service.timeline.serializer import CALLS, TRACES
from service.timeline.svg import render_svg
from service.timeline.terminal import render_terminal
from service.timeline.timeline import waterfall

DRAWN: Final = 100
"""Characters of the drawing in a pipe or a file, where sentences are as long as they are."""

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


def call(
    call_id: Annotated[str, typer.Argument(help="The call's id, such as rtc_1; or its trace's id, 32 hex digits.")],
    *,
    url: Url = DEFAULT_URL,
    token: Token = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything known, as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the picture to this file instead.")] = None,
) -> None:
    """Show one call, under way or lately over: phases, speech, waits, interruptions, tools, errors.

    Exit codes: 0 shown, 1 refused with the reason on standard error.
    """
    path = f"{TRACES}/{call_id}" if _TRACE_ID.fullmatch(call_id) else f"{CALLS}/{quote(call_id, safe='')}"
    try:
        detail = ServiceClient(url, token).read(CallDetail, path)
    except RefusedError as error:
        refuse(error)
    if as_json:
        typer.echo(detail.model_dump_json(indent=2))
    elif svg is not None:
        _write(svg, detail)
    else:
        screen = console()
        screen.print(render_terminal(waterfall(detail), screen.width if screen.width < UNLIMITED else DRAWN))


def _write(path: Path, detail: CallDetail) -> None:
    try:
        path.write_text(render_svg(waterfall(detail)), encoding="utf-8")
    except OSError as error:
        refuse(RefusedError(f"--svg: cannot write {path}: {error.strerror or error}; name another file"))
    typer.echo(f"wrote {path}")
