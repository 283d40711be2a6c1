"""Draws a call in a terminal: the same panels and tracks, a character a slice of time."""

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

_EMPTY: Final = (" ", "")


def render_terminal(timeline: Waterfall, width: int) -> RenderableType:
    """Return the timeline in ``width`` characters; what came from outside is text, never markup or control codes."""
    axis = max(NARROWEST, width - LABELS - 3)
    parts: list[RenderableType] = [
        Text(printable(timeline.title), style="bold"),
        Text(printable(timeline.explanation)),
        Padding(_facts(timeline), (1, 0)),
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
    lines.extend(Padding(Text(printable(note), style="italic dim"), (0, 0, 0, LABELS + 2)) for note in timeline.notes)
    return lines


def _panel(panel: Panel, axis: int) -> RenderableType:
    lines = [Text.assemble((panel.title.ljust(LABELS), "bold"), "  ", (_ruler(panel, axis), "dim"))]
    for track in panel.tracks:
        line = Text(printable(track.label)[:LABELS].rjust(LABELS) + "  ", style="dim")
        for character, style in _cells(track, panel, axis):
            line.append(character, style)
        lines.append(line)
    return Padding(Group(*lines), (0, 0, 1, 0))


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
    for at, mark in places:
        _name(cells, mark, at)
    return cells


def _name(cells: Cells, mark: TimelineMark, at: int) -> None:
    """Write a mark's text beside it, if nothing else is there."""
    said = printable(mark.text)
    if mark.sign in (Sign.INTERRUPTION, Sign.TALKED_OVER):
        return
    for first, guard in ((at + 1, at + 1 + len(said)), (at - len(said), at - len(said) - 1)):
        room = range(first, first + len(said))
        wanted = [*room, guard] if 0 <= guard < len(cells) else [*room]
        if first >= 0 and room.stop <= len(cells) and all(cells[cell] == _EMPTY for cell in wanted):
            cells[room.start : room.stop] = [(character, _SIGNS[mark.sign][1]) for character in said]
            return


def _cell(seconds: float, panel: Panel, axis: int) -> int:
    return min(axis - 1, max(0, int(seconds / panel.end * axis)))
