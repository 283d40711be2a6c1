"""``callscope fleet``: the processes that share one limit, as one of them sees them.

Exit codes: 0 all fits together, 1 refused, or something disagrees, 2 the command line itself is wrong.
"""

import json
from typing import Annotated

import typer

from service.api.fleet import PATH, FleetProcess, FleetState
from service.commands.client import DEFAULT_URL, RefusedError, ServiceClient, Token, Url, refuse
from service.commands.printing import Sheet, console
from telemetry.terminal import printable

HEADS = ("process", "epoch", "state", "beat", "slots", "calls", "decides", "version", "host", "pid")
NUMBERS = frozenset({"beat", "slots", "calls", "pid"})


def fleet(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show every process of the fleet: its last heartbeat, its slots and calls, its epoch, and what disagrees.

    Exit codes: 0 all fits together, 1 refused, or something disagrees.
    """
    try:
        state = ServiceClient(url, token).read(FleetState, PATH)
    except RefusedError as error:
        cause = str(error)
        refuse(RefusedError(f"{cause} Is REDIS_URL set there?") if cause.startswith("404") else error)
    if as_json:
        typer.echo(json.dumps(state.model_dump(mode="json"), indent=2))
    else:
        console().print(Sheet(HEADS, [_row(process) for process in state.processes], numbers=NUMBERS))
        typer.echo(f"{state.in_use} slots in use; decided upon: {state.mode}; on an outage: {state.on_outage}")
        for sentence in state.disagreements:
            typer.echo(printable(f"! {sentence}"))
    if state.disagreements:
        raise typer.Exit(1)


def _row(process: FleetProcess) -> tuple[str, ...]:
    beat = process.beat_age_seconds
    return (
        printable(process.instance_id) + (" *" if process.this_process else ""),
        str(process.epoch),
        "alive" if process.alive else f"gone {process.gone_seconds or 0:.0f} s",
        "" if beat is None else f"{beat:.1f} s",
        str(process.slots),
        _shown(process.calls),
        _shown(process.mode),
        printable(_shown(process.version)),
        printable(_shown(process.host)),
        _shown(process.pid),
    )


def _shown(value: object) -> str:
    return "" if value is None else str(value)
