"""``callscope calls``: the calls of a running service, under way and lately over.

Exit codes: 0 shown, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import json
from typing import Annotated

import typer

from service.api.calls import CallSearchEntry, CallSearchPage, StateFilter
from service.commands.client import DEFAULT_URL, RefusedError, ServiceClient, Token, Url, refuse
from service.commands.printing import Sheet, console
from service.timeline.serializer import CALLS
from telemetry.recent.record import CallOutcome
from telemetry.terminal import printable

HEADS = ("call", "tenant", "status", "received", "seconds", "reason", "longest wait", "caller", "dialled")
NUMBERS = frozenset({"seconds", "longest wait"})


def calls(
    *,
    state: Annotated[StateFilter, typer.Option(help="Under way, over, or all.")] = StateFilter.ALL,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    outcome: Annotated[CallOutcome | None, typer.Option(help="That turned out so.")] = None,
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

    Exit codes: 0 shown, 1 refused with the reason on standard error.
    """
    client = ServiceClient(url, token)
    parameters = {
        "state": state.value,
        "tenant_id": tenant,
        "outcome": outcome.value if outcome else None,
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
        console().print(
            Sheet(HEADS, [_row(call) for call in found.calls], numbers=frozenset({"seconds", "longest wait"}))
        )
    else:
        typer.echo("No such calls.")


def _row(call: CallSearchEntry) -> tuple[str, ...]:
    cells = (
        call.call_id,
        call.tenant_id,
        call.outcome or call.status,
        f"{call.received_at:%Y-%m-%d %H:%M:%S}Z",
        f"{call.duration_seconds:.1f}",
        call.error_type or call.reason or "",
        f"{call.longest_wait_seconds:.2f}",
        call.caller or "",
        call.dialled or "",
    )
    return tuple(printable(cell) for cell in cells)
