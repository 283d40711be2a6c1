"""``callscope watch``: the first page of the live page, in a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.commands.client import DEFAULT_URL, RefusedError, ServiceClient, Token, Url, refuse
from service.commands.printing import console
from service.page.facts import Overview
from service.page.overview import PATH
from service.page.rendering import clock
from service.page.verdicts import VerdictState, percent
from service.timeline.explain import span_of_time
from telemetry.terminal import printable

EVERY_SECONDS: Final = 1.0

_SIGNS: Final = {
    VerdictState.ATTENTION: ("!", "bold yellow"),
    VerdictState.UNKNOWN: ("·", "dim"),
    VerdictState.WELL: ("✓", "green"),
}
_UNKNOWN: Final = "-"


def watch(
    *,
    tenant: Annotated[str | None, typer.Option(help="This tenant alone.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once; a pipe gets no more anyway.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Show what runs, what is well and what is not, and which calls need attention, once a second until Ctrl-C.

    Exit codes: 0 shown, 1 refused with the reason on standard error, 2 there is no such tenant.
    """
    client = ServiceClient(url, token)
    try:
        client.demand_tenant(tenant)

        def read() -> Overview:
            return client.read(Overview, PATH, {"tenant_id": tenant})

        screen = console()
        if once or not sys.stdout.isatty():
            screen.print(drawn(read()))
        else:
            follow(screen, read)
    except RefusedError as error:
        refuse(error)
    except KeyboardInterrupt:
        raise typer.Exit from None


def follow(screen: Console, read: Callable[[], Overview], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show one reading after another in place; while the service does not answer, the last one and why.

    Raises:
        RefusedError: if the first reading is refused.
    """
    shown = drawn(read())
    with Live(shown, console=screen, screen=True, auto_refresh=False) as live:
        while True:
            live.update(shown, refresh=True)
            sleep(EVERY_SECONDS)
            try:
                shown = drawn(read())
            except RefusedError as error:
                lost = Text(f"Not connected: {printable(str(error))}", style="bold red")
                live.update(Group(lost, shown), refresh=True)


def drawn(found: Overview) -> RenderableType:
    """Return a reading as a terminal shows it."""
    return Group(*_parts(found))


def _parts(found: Overview) -> Iterator[RenderableType]:
    yield _strip(found)
    yield Text()
    for state in (VerdictState.ATTENTION, VerdictState.UNKNOWN, VerdictState.WELL):
        for one in found.verdicts:
            if one.state is state:
                sign, style = _SIGNS[state]
                yield Text.assemble((f" {sign} ", style), printable(one.text))
    yield Text()
    yield _running(found)
    yield Text()
    yield _attention(found)
    by = "by this process " if found.own else ""
    since = f"{found.since:%Y-%m-%d %H:%M:%S}"
    yield Text(f"\nof {found.as_of:%H:%M:%S} UTC, counted {by}since {since} UTC", style="dim")


def _strip(found: Overview) -> Table:
    strip, whose = found.strip, ", this process" if found.own else ""
    table = Table(box=None, padding=(0, 3, 0, 0))
    rate = _UNKNOWN if strip.calls_per_minute is None else f"{strip.calls_per_minute:.1f}"
    figures = {
        "running": f"{strip.running} of {strip.limit}",
        f"calls a minute{whose}": rate,
        f"failed{whose}": _UNKNOWN if strip.failed_share is None else percent(strip.failed_share),
        f"answer p95{whose}": _UNKNOWN if strip.turn_p95_seconds is None else span_of_time(strip.turn_p95_seconds),
        "processes": f"{strip.processes.answering} of {strip.processes.known}, {strip.age_seconds:.1f} s old",
    }
    if found.tenant_id is not None:
        figures = {"tenant": found.tenant_id, **figures}
    for name in figures:
        table.add_column(name, header_style="dim", style="bold", no_wrap=True)
    table.add_row(*map(_text, figures.values()))
    return table


def _text(text: str) -> Text:
    """Return what others named as it is: in brackets, rich would see its own marks."""
    return Text(printable(text))


def _running(found: Overview) -> RenderableType:
    if not found.running:
        return Text("No call is running.", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title=f"{found.running_count} running")
    for head in ("call", "tenant", "last sign of life", "age"):
        numeric = head in ("last sign of life", "age")
        table.add_column(head, header_style="dim", justify="right" if numeric else "left", no_wrap=True)
    for call in found.running:
        silent = f"{call.last_seen_seconds:.1f} s ago"
        table.add_row(_text(call.call_id), _text(call.tenant_id), silent, clock(call.age_seconds))
    return table


def _attention(found: Overview) -> RenderableType:
    if not found.attention:
        return Text("No call of the last hour needs attention.", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title="need attention")
    for head in ("call", "tenant", "why"):
        table.add_column(head, header_style="dim", no_wrap=head != "why")
    for call in found.attention:
        table.add_row(_text(call.call_id), _text(call.tenant_id), _text("; ".join(call.reasons)))
    return table
