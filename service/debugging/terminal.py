"""A call's drawing in a terminal: the same panels and tracks, a character a slice of time."""

from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.debugging.axis import tick_label, ticks
from service.debugging.waterfall import Mark, Paint, Panel, Sign, Track, Waterfall

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
    Paint.TOOL: ("█", "magenta"),
    Paint.LEFT_OUT: ("╌", "dim"),
    Paint.FAILED: ("█", "red"),
}
# A bar's character and colour: what is not told by the track's name is told by the shade.

_SIGNS: Final = {Sign.STEP: ("│", "bold"), Sign.INTERRUPTION: ("▼", "bold red"), Sign.ERROR: ("◆", "bold red")}

Cells = list[tuple[str, str]]
"""Characters and their styles."""


def render_terminal(drawing: Waterfall, width: int) -> RenderableType:
    """The drawing in ``width`` characters; what came from outside is text, never markup or control codes."""
    axis = max(NARROWEST, width - LABELS - 3)
    parts: list[RenderableType] = [
        Text(_shown(drawing.title), style="bold"),
        Text(_shown(drawing.explanation)),
        Padding(_facts(drawing), (1, 0)),
    ]
    parts.extend(_panel(panel, axis) for panel in drawing.panels)
    parts.extend(_words(drawing))
    return Group(*parts)


def _facts(drawing: Waterfall) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for name, value in drawing.facts:
        table.add_row(name, Text(_shown(value)))
    return table


def _words(drawing: Waterfall) -> list[RenderableType]:
    end = drawing.panels[-1].end
    lines: list[RenderableType] = []
    for moment in drawing.moments:
        at = tick_label(round(moment.at, 2), end).rjust(LABELS)
        lines.append(Text.assemble((at, "dim"), "  ", _shown(moment.text)))
    lines.extend(Padding(Text(_shown(note), style="italic dim"), (0, 0, 0, LABELS + 2)) for note in drawing.notes)
    return lines


def _panel(panel: Panel, axis: int) -> RenderableType:
    lines = [Text.assemble((panel.title.ljust(LABELS), "bold"), "  ", (_ruler(panel, axis), "dim"))]
    for track in panel.tracks:
        line = Text(_shown(track.label)[:LABELS].rjust(LABELS) + "  ", style="dim")
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
    cells: Cells = [(" ", "")] * axis
    for bar in track.bars:
        first, last = _cell(bar.start, panel, axis), _cell(bar.end, panel, axis)
        for at in range(first, max(first + 1, last)):
            cells[at] = _BARS[bar.paint]
        if bar.open:
            cells[axis - 1] = ("▶", _BARS[bar.paint][1])
    taken = 0
    for mark in track.marks:
        taken = _mark(cells, mark, _cell(mark.at, panel, axis), taken)
    return cells


def _mark(cells: Cells, mark: Mark, at: int, taken: int) -> int:
    """Put a mark in its cell, and its text beside it where there is room; answers the first cell that is free."""
    cells[at] = _SIGNS[mark.sign]
    said = _shown(mark.text)
    if mark.sign is Sign.INTERRUPTION:
        return at + 1
    if at >= taken and at + 1 + len(said) < len(cells):
        first = at + 1
    elif at - len(said) >= taken:
        first = at - len(said)
    else:
        return max(taken, at + 1)
    style = _SIGNS[mark.sign][1]
    cells[first : first + len(said)] = [(character, style) for character in said]
    return first + len(said) + 1


def _cell(seconds: float, panel: Panel, axis: int) -> int:
    return min(axis - 1, max(0, int(seconds / panel.end * axis)))


def _shown(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in text)
