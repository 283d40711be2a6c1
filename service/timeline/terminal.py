"""Draws a call in a terminal: the same panels and tracks, a character a slice of time."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.timeline.svg import tick_label, ticks
from service.timeline.timeline import Paint, Panel, Sign, TimelineMark, Track, Waterfall
from telemetry.terminal import printable

LABELS: Final = 16
"""Characters for the tracks' names."""

NARROWEST: Final = 30
"""Characters of an axis, however small the terminal."""

_BARS: Final = {
    Paint.SETUP: ("░", "white"),
    Paint.SESSION: ("▒", "white"),
    Paint.PHASE: ("█", "bright_black"),
    Paint.CALLER: ("█", "blue"),
    Paint.AGENT: ("█", "cyan"),
    Paint.WAIT: ("▒", "yellow"),
    Paint.SILENCE: ("·", "white"),
    Paint.TOOL: ("█", "magenta"),
    Paint.LEFT_OUT: ("╌", "dim"),
    Paint.FAILED: ("█", "red"),
}
# A bar's character and colour: what is not told by the track's name is told by the shade.

_SIGNS: Final = {
    Sign.STEP: ("│", "bold"),
    Sign.INTERRUPTION: ("▼", "bold red"),
    Sign.TALKED_OVER: ("▲", "bold red"),
    Sign.ERROR: ("◆", "bold red"),
}

Cells = list[tuple[str, str]]
"""Characters and their styles."""

_NAMED: Final = frozenset({Sign.STEP, Sign.ERROR})

_EMPTY: Final = (" ", "")


def render_terminal(timeline: Waterfall, width: int) -> RenderableType:
    """Return the timeline in ``width`` characters; what came from outside is text, never markup or control codes."""
    axis = max(NARROWEST, width - LABELS - 3)
    parts: list[RenderableType] = [
        Text(printable(timeline.title), style="bold"),
        Text(printable(timeline.explanation)),
        Padding(_facts(timeline), (1, 0), expand=False),
    ]
    parts.extend(_panel(panel, axis) for panel in timeline.panels)
    parts.extend(_words(timeline))
    return Group(*parts)


def _facts(timeline: Waterfall) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for name, value in timeline.facts:
        table.add_row(Text(printable(name)), Text(printable(value)))
    return table


def _words(timeline: Waterfall) -> list[RenderableType]:
    end = timeline.panels[-1].end
    lines: list[RenderableType] = []
    for moment in timeline.moments:
        at = tick_label(moment.at, end).rjust(LABELS)
        lines.append(Text.assemble((at, "dim"), "  ", printable(moment.text)))
    lines.extend(
        Padding(Text(printable(note), style="italic dim"), (0, 0, 0, LABELS + 2), expand=False)
        for note in timeline.notes
    )
    return lines


def _panel(panel: Panel, axis: int) -> RenderableType:
    lines = [Text.assemble((panel.title.ljust(LABELS), "bold"), "  ", (_ruler(panel, axis), "dim"))]
    for track in panel.tracks:
        line = Text(printable(track.label)[:LABELS].rjust(LABELS) + "  ", style="dim")
        for character, style in _cells(track, panel, axis):
            line.append(character, style)
        lines.append(line)
    return Padding(Group(*lines), (0, 0, 1, 0), expand=False)


def _ruler(panel: Panel, axis: int) -> str:
    cells = [" "] * axis
    taken = 0
    for tick in ticks(panel.end):
        label = tick_label(tick, panel.end)
        at = _cell(tick, panel, axis)
        at = min(at, axis - len(label))
        if at >= taken:
            cells[at : at + len(label)] = label
            taken = at + len(label) + 1
    return "".join(cells)


def _cells(track: Track, panel: Panel, axis: int) -> Cells:
    cells: Cells = [_EMPTY] * axis
    for bar in track.bars:
        first, last = _cell(bar.start, panel, axis), _cell(bar.end, panel, axis)
        for at in range(first, max(first + 1, last)):
            cells[at] = _BARS[bar.paint]
        if bar.open:
            cells[axis - 1] = ("▶", _BARS[bar.paint][1])
    places = [(_cell(mark.at, panel, axis), mark) for mark in track.marks]
    for at, mark in places:
        cells[at] = _SIGNS[mark.sign]
    return _named(cells, places)


Place = tuple[int, TimelineMark]
"""A mark with its cell."""


def _named(cells: Cells, places: Sequence[Place]) -> Cells:
    """Return the cells with the marks' texts beside them, as many as have room.

    Steps in one cell, or so close to each other that a text has no room, share one text in their order.
    """
    places = sorted((place for place in places if place[1].sign in _NAMED), key=lambda place: place[1].at)
    steps = all(mark.sign is Sign.STEP for _, mark in places)
    groups = [list(group) for _, group in groupby(places, key=lambda place: place[0] if steps else id(place))]
    best, named = cells, 0
    while True:
        written = list(cells)
        cramped = [at for at, group in enumerate(groups) if not _written(written, group)]
        count = len(places) - sum(len(groups[at]) for at in cramped)
        if count > named:
            best, named = written, count
        if not (cramped and steps and len(groups) > 1):
            return best
        later = max(cramped[0], 1)
        groups[later - 1 : later + 1] = [groups[later - 1] + groups[later]]


def _written(cells: Cells, group: Sequence[Place]) -> bool:
    """Write the texts of marks on the right of the last or on the left of the first; returns False without room."""
    said = ", ".join(dict.fromkeys(printable(mark.text) for _, mark in group))
    style = _SIGNS[group[0][1].sign][1]
    after, before = group[-1][0] + 1, group[0][0] - len(said)
    for first, guard in ((after, after + len(said)), (before, before - 1)):
        room = range(first, first + len(said))
        wanted = [*room, guard] if 0 <= guard < len(cells) else [*room]
        if first >= 0 and room.stop <= len(cells) and all(cells[cell] == _EMPTY for cell in wanted):
            cells[room.start : room.stop] = [(character, style) for character in said]
            return True
    return False


def _cell(seconds: float, panel: Panel, axis: int) -> int:
    return min(axis - 1, max(0, int(seconds / panel.end * axis)))
