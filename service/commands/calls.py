"""Calls, under way and lately over: the list of them, and one in detail."""

import json
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from service.api.call_search import CallSearchEntry, CallSearchPage, StateFilter
from service.commands.client import DEFAULT_URL, RefusedError, ServiceClient, Token, Url, refuse
from service.commands.printing import UNLIMITED, Sheet, console
from service.timeline.detail import CallDetail
from service.timeline.serializer import CALLS, TRACES
from service.timeline.svg import render_svg
from service.timeline.terminal import render_terminal
from service.timeline.timeline import waterfall
from telemetry.recent.record import CallFlag, CallOutcome
from telemetry.semconv.attributes import Fault
from telemetry.terminal import printable

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


HEADS = ("call", "tenant", "status", "received", "seconds", "reason", "longest wait", "caller", "dialled")
NARROW_HEADS = ("UTC", "call", "tenant", "seconds", "status")
NUMBERS = frozenset({"seconds", "longest wait"})


def calls(
    *,
    state: Annotated[StateFilter, typer.Option(help="Under way, over, or all.")] = StateFilter.ALL,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    outcome: Annotated[CallOutcome | None, typer.Option(help="That turned out so.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Turned away, not answered, or ended for this reason, such as capacity.")
    ] = None,
    fault: Annotated[Fault | None, typer.Option(help="Whose end was this party's fault.")] = None,
    flag: Annotated[CallFlag | None, typer.Option(help="Worth a look for this.")] = None,
    slower_than: Annotated[float | None, typer.Option(help="In which somebody waited longer, in seconds.")] = None,
    since: Annotated[str | None, typer.Option(help="Received at this moment or later; UTC unless it says so.")] = None,
    until: Annotated[str | None, typer.Option(help="Received before this moment.")] = None,
    caller_ends_with: Annotated[str | None, typer.Option(help="The last digits of the caller's number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="So many of the latest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """List the calls of a running service, the latest first; `callscope call` draws one of them.

    Exit codes: 0 shown, 1 refused with the reason on standard error, 2 the command line itself is wrong.
    """
    client = ServiceClient(url, token)
    parameters = {
        "state": state.value,
        "tenant_id": tenant,
        "outcome": outcome.value if outcome else None,
        "reason": reason,
        "fault": fault.value if fault else None,
        "flag": flag.value if flag else None,
        "slower_than": slower_than,
        "since": since,
        "until": until,
        "caller_ends_with": caller_ends_with,
        "limit": limit,
    }
    try:
        client.demand_tenant(tenant)
        found = client.read(CallSearchPage, CALLS, parameters)
    except RefusedError as error:
        refuse(error)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), indent=2))
    elif found.calls:
        narrow = Sheet(NARROW_HEADS, [_narrow_row(call) for call in found.calls], NUMBERS)
        console().print(Sheet(HEADS, [_row(call) for call in found.calls], NUMBERS, narrow=narrow))
    else:
        typer.echo("No such calls.")


def _why(call: CallSearchEntry) -> str:
    """Return the reason of the call's outcome; empty if the outcome says as much."""
    why = call.error_type or call.reason or ""
    return "" if why == call.outcome else why


def _narrow_row(call: CallSearchEntry) -> tuple[str, ...]:
    outcome, why = call.outcome or call.status, _why(call)
    cells = (
        f"{call.received_at:%H:%M:%S}",
        call.call_id,
        call.tenant_id,
        f"{call.duration_seconds:.1f}",
        f"{outcome} ({why})" if why else outcome,
    )
    return tuple(printable(cell) for cell in cells)


def _row(call: CallSearchEntry) -> tuple[str, ...]:
    cells = (
        call.call_id,
        call.tenant_id,
        call.outcome or call.status,
        f"{call.received_at:%Y-%m-%d %H:%M:%S}Z",
        f"{call.duration_seconds:.1f}",
        _why(call),
        "" if call.longest_wait_seconds is None else f"{call.longest_wait_seconds:.2f}",
        call.caller or "",
        call.dialled or "",
    )
    return tuple(printable(cell) for cell in cells)
