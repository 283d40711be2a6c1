"""``callscope call``: what happened in one call, drawn in the terminal.

Exit codes: 0 shown, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import re
from pathlib import Path
from typing import Annotated, Final, NoReturn
from urllib.parse import quote

import httpx2
import typer
from pydantic import ValidationError
from rich.console import Console

from service.http.security import HEADER
from service.timeline.detail import CallDetail
from service.timeline.serializer import CALLS, TRACES
from service.timeline.svg import render_svg
from service.timeline.terminal import render_terminal
from service.timeline.timeline import waterfall

PATIENCE_SECONDS: Final = 10.0
"""How long an answer may take."""
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


class RefusedError(Exception):
    """There is no answer; the message says why, in a sentence for people."""


class CallClient:
    """The admin endpoints of one service, as far as single calls go."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def call(self, name: str) -> CallDetail:
        """The call with this id, or with this trace id.

        Raises:
            RefusedError: if the service cannot be reached, refuses, knows no such call, or is another service.
        """
        path = f"{TRACES}/{name}" if _TRACE_ID.fullmatch(name) else f"{CALLS}/{quote(name, safe='')}"
        answer = self._get(path)
        if not answer.is_success:
            raise RefusedError(f"{answer.status_code}: {_told(answer)}")
        try:
            # A newer service may say more than this client knows.
            return CallDetail.model_validate_json(answer.content, extra="ignore")
        except ValidationError:
            raise RefusedError(f"{self._url} does not answer as this service does; is it another version?") from None

    def _get(self, path: str) -> httpx2.Response:
        try:
            return httpx2.get(self._url + path, headers={HEADER: self._token}, timeout=PATIENCE_SECONDS)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise RefusedError(f"cannot reach {self._url}: {str(error) or type(error).__name__}") from None


def _told(answer: httpx2.Response) -> str:
    """What the service said is wrong."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase or "no reason given"


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
