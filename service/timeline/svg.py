"""Draws a call as SVG: light, legible in a ticket, and understandable without its colours."""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from service.timeline.timeline import Bar, Paint, Panel, Sign, TimelineMark, Track, Waterfall

_STEPS: Final = (
    *(base * 10.0**power for power in range(-4, 1) for base in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)
# Seconds between two ticks: round in milliseconds, then in minutes and hours.
_MINUTE: Final = 60
_HOUR: Final = 3600


def ticks(end: float, most: int = 8) -> tuple[float, ...]:
    """Return at most ``most`` moments from 0 to ``end``, in seconds, evenly apart."""
    step = next((step for step in _STEPS if end / step <= most - 1), _STEPS[-1])
    return tuple(round(step * index, 9) for index in range(min(most, int(end / step + 1e-9) + 1)))


def tick_label(seconds: float, end: float) -> str:
    """Return a moment's label on an axis that ends at ``end``."""
    if end < 1:
        return f"{seconds * 1000:.0f} ms" if end >= 0.01 else f"{seconds * 1000:.1f} ms"  # noqa: PLR2004 -- 10 ms
    if end < _MINUTE:
        return f"{round(seconds, 2):g} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if end < _HOUR:
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02d}:{rest:02d}"


_NOT_XML: Final = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# XML 1.0 §2.2: what is not a Char.


_DIRECTION: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


def undirected(text: str) -> str:
    r"""Return text with embeddings, overrides and isolates spelled out, such as ``\u202e`` (UAX #9 §2).

    In a sentence of ours such a mark of a name from outside would turn around what follows the name.
    """
    return _DIRECTION.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def text_of(text: str) -> str:
    """Return text as an element's content."""
    return escape(_NOT_XML.sub("", undirected(text)))


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """Return one element around content that is markup already; ``_`` in an attribute's name stands for ``-``."""
    written = "".join(f" {key.strip('_').replace('_', '-')}={_quoted(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def titled(name: str, title: str, **attributes: str | float) -> str:
    """Return one element with a tooltip."""
    return element(name, element("title", text_of(title)), **attributes)


def _quoted(value: str | float) -> str:
    text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
    return quoteattr(_NOT_XML.sub("", text))


WIDTH: Final = 1000.0
MARGIN: Final = 24.0
LABELS: Final = 130.0
"""Room for the tracks' names."""
TRACK: Final = 26.0
"""Height of a track with the gap below it."""
BAR: Final = 18.0
AXIS: Final = 24.0
LINE: Final = 19.0
"""Height of a line of text."""
LETTER: Final = 6.6
"""About the width of a letter at the size of text used."""
FACT_COLUMNS: Final = 3
LEFT: Final = MARGIN + LABELS
RIGHT: Final = WIDTH - MARGIN
SPAN: Final = RIGHT - LEFT
COLOURS: Final = {
    Paint.SETUP: "#cbd5e1",
    Paint.SESSION: "#94a3b8",
    Paint.PHASE: "#64748b",
    Paint.CALLER: "#2563eb",
    Paint.AGENT: "#0d9488",
    Paint.WAIT: "#fbbf24",
    Paint.SILENCE: "#e7e5e4",
    Paint.TOOL: "#7c3aed",
    Paint.LEFT_OUT: "url(#left-out)",
    Paint.FAILED: "#dc2626",
}
"""Of equal meaning in grey: light for waiting and setup, dark for what acts."""
_ON_LIGHT: Final = frozenset({Paint.SETUP, Paint.SESSION, Paint.WAIT, Paint.SILENCE, Paint.LEFT_OUT})
_INK: Final = "#0f172a"
_SOFT: Final = "#475569"
_RULE: Final = "#e2e8f0"
_ALARM: Final = "#b91c1c"
FONT_STYLE: Final = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px"


def render_svg(timeline: Waterfall) -> str:
    """Return the picture as a document of its own."""
    parts: list[str] = []
    y = MARGIN + 14
    y = _heading(parts, timeline, y)
    for panel in timeline.panels:
        y = _panel(parts, panel, y)
    y = _words(parts, timeline, y)
    y = _legend(parts, timeline, y)
    height = y + MARGIN
    body = [
        element("title", text_of(timeline.title), id="title"),
        element("desc", text_of(_description(timeline)), id="desc"),
        _PATTERNS,
        element("rect", width=WIDTH, height=height, fill="#ffffff"),
        *parts,
    ]
    return element(
        "svg",
        "\n".join(body),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        width=WIDTH,
        height=height,
        role="img",
        aria_labelledby="title desc",
        style=FONT_STYLE,
    )


_PATTERNS: Final = element(
    "defs",
    element(
        "linearGradient",
        element("stop", offset="0", stop_color="#ffffff", stop_opacity="0")
        + element("stop", offset="1", stop_color="#ffffff", stop_opacity="1"),
        id="open",
    )
    + element(
        "pattern",
        element("rect", width=8, height=8, fill="#f8fafc") + element("path", d="M0 8L8 0", stroke="#cbd5e1"),
        id="left-out",
        width=8,
        height=8,
        patternUnits="userSpaceOnUse",
    ),
)


def _description(timeline: Waterfall) -> str:
    """Return the picture in words, for those who cannot see it."""
    facts = "; ".join(f"{name}: {value}" for name, value in timeline.facts)
    moments = " ".join(f"At {moment.at:.1f} s: {moment.text}." for moment in timeline.moments)
    return f"{timeline.explanation} {facts}. {moments} {' '.join(timeline.notes)}".strip()


# Words ----------------------------------------------------------------------------------------------------------------
def _text(x: float, y: float, said: str, *, fill: str = _INK, **attributes: str | float) -> str:
    return element("text", text_of(said), x=x, y=y, fill=fill, **attributes)


def _heading(parts: list[str], timeline: Waterfall, y: float) -> float:
    parts.append(_text(MARGIN, y, timeline.title, font_size="17px", font_weight="600"))
    y += LINE + 3
    for line in _wrapped(timeline.explanation, WIDTH - 2 * MARGIN):
        parts.append(_text(MARGIN, y, line, font_size="13px"))
        y += LINE
    y += 4
    column = (WIDTH - 2 * MARGIN) / FACT_COLUMNS
    for index, (name, value) in enumerate(timeline.facts):
        x = MARGIN + column * (index % FACT_COLUMNS)
        row = y + LINE * (index // FACT_COLUMNS)
        parts.append(_text(x, row, name, fill=_SOFT))
        parts.append(_text(x + 84, row, _fitting(value, column - 92)))
    return y + LINE * -(-len(timeline.facts) // FACT_COLUMNS) + 10


def _words(parts: list[str], timeline: Waterfall, y: float) -> float:
    end = timeline.panels[-1].end
    y += 8
    for moment in timeline.moments:
        parts.append(_text(LEFT - 10, y, tick_label(moment.at, end), fill=_SOFT, text_anchor="end"))
        parts.append(_text(LEFT, y, _fitting(moment.text, SPAN)))
        y += LINE
    for note in timeline.notes:
        for line in _wrapped(note, SPAN):
            parts.append(_text(LEFT, y, line, fill=_SOFT, font_style="italic"))
            y += LINE
    return y + 4


def _wrapped(said: str, width: float) -> Iterable[str]:
    line = ""
    for word in said.split():
        if line and (len(line) + 1 + len(word)) * LETTER > width:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    if line:
        yield _fitting(line, width)


def _fitting(said: str, width: float) -> str:
    most = max(1, int(width / LETTER))
    return said if len(said) <= most else said[: most - 1] + "…"


# Panels ---------------------------------------------------------------------------------------------------------------
def _panel(parts: list[str], panel: Panel, y: float) -> float:
    top = y + AXIS
    bottom = top + TRACK * len(panel.tracks)
    if panel.title:
        parts.append(_text(MARGIN, y + 14, panel.title, font_weight="600"))
    for tick in ticks(panel.end):
        x = _x(tick, panel)
        parts.append(element("line", x1=x, x2=x, y1=top - 4, y2=bottom, stroke=_RULE))
        anchor = "end" if x > RIGHT - 30 else "middle"
        parts.append(_text(x, top - 9, tick_label(tick, panel.end), fill=_SOFT, text_anchor=anchor, font_size="11px"))
    for index, track in enumerate(panel.tracks):
        _track(parts, track, panel, top + TRACK * index)
    return bottom + 14


def _track(parts: list[str], track: Track, panel: Panel, top: float) -> None:
    parts.append(_text(LEFT - 10, top + 13, _fitting(track.label, LABELS - 10), fill=_SOFT, text_anchor="end"))
    for bar in track.bars:
        _bar(parts, bar, panel, top)
    free = LEFT
    places = [_x(mark.at, panel) for mark in track.marks]
    for mark, (x, limit) in zip(track.marks, pairwise([*places, RIGHT]), strict=True):
        free = _mark(parts, mark, x, top, (free, limit))


def _bar(parts: list[str], bar: Bar, panel: Panel, top: float) -> None:
    x, width = _x(bar.start, panel), max(1.0, _x(bar.end, panel) - _x(bar.start, panel))
    parts.append(
        titled("rect", bar.text, x=x, y=top, width=width, height=BAR, rx=min(2.0, width / 2), fill=COLOURS[bar.paint])
    )
    if bar.open:
        fade = min(width, 40.0)
        parts.append(element("rect", x=x + width - fade, y=top, width=fade, height=BAR, fill="url(#open)"))
    room = width - 10 - (20 if bar.open else 0)
    if len(bar.text) * LETTER <= room:
        ink = _INK if bar.paint in _ON_LIGHT else "#ffffff"
        parts.append(_text(x + 5, top + 13, bar.text, fill=ink, font_size="11px", pointer_events="none"))


Room = tuple[float, float]
"""From where to where a line of a track is free."""


def _mark(parts: list[str], mark: TimelineMark, x: float, top: float, room: Room) -> float:
    """Draw a mark, and its text beside it where it fits; return from which x on the line is free."""
    if mark.sign is Sign.STEP:
        parts.append(titled("line", mark.text, x1=x, x2=x, y1=top, y2=top + BAR, stroke=_INK, stroke_width=1.5))
        return _beside(parts, mark.text, x, top, room, _INK)
    shape = _SHAPES[mark.sign](x, top)
    parts.append(titled("path", mark.text, d=shape, fill=_ALARM, stroke="#ffffff", stroke_width=0.8))
    return _beside(parts, mark.text, x, top, room, _ALARM) if mark.sign is Sign.ERROR else x


def _beside(parts: list[str], said: str, x: float, top: float, room: Room, ink: str) -> float:
    """Write to the right of a mark, else to its left, else nowhere."""
    free, limit = room
    width = len(said) * LETTER
    if x + 8 + width < limit:
        parts.append(_text(x + 8, top + 13, said, fill=ink, font_size="11px"))
        return x + 12 + width
    if x - 12 - width > free:
        parts.append(_text(x - 8, top + 13, said, fill=ink, font_size="11px", text_anchor="end"))
    return x


def _diamond(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"


def _wedge(x: float, y: float) -> str:
    return f"M{x - 5:.1f} {y:.1f}h10l-5 9z"


def _upward(x: float, y: float) -> str:
    return f"M{x - 5:.1f} {y:.1f}h10l-5 -9z"


_SHAPES: Final[dict[Sign, Callable[[float, float], str]]] = {
    Sign.INTERRUPTION: lambda x, top: _wedge(x, top - 4),
    Sign.TALKED_OVER: lambda x, top: _upward(x, top + BAR + 4),
    Sign.ERROR: lambda x, top: _diamond(x, top + BAR / 2),
}


def _x(seconds: float, panel: Panel) -> float:
    return LEFT + SPAN * min(1.0, max(0.0, seconds / panel.end))


# Legend ---------------------------------------------------------------------------------------------------------------
_MEANINGS: Final = {
    Paint.CALLER: "caller speaks",
    Paint.AGENT: "agent speaks",
    Paint.WAIT: "caller waits for the answer",
    Paint.SILENCE: "silence",
    Paint.TOOL: "tool",
    Paint.FAILED: "failed",
    Paint.LEFT_OUT: "left out",
}


_SIGNS: Final[dict[Sign, tuple[Callable[[float, float], str], str]]] = {
    Sign.INTERRUPTION: (lambda x, y: _wedge(x + 5, y - 9), "interruption"),
    Sign.TALKED_OVER: (lambda x, y: _upward(x + 5, y), "agent talks over the caller"),
    Sign.ERROR: (lambda x, y: _diamond(x + 6, y - 4), "error"),
}


def _legend(parts: list[str], timeline: Waterfall, y: float) -> float:
    tracks = [track for panel in timeline.panels for track in panel.tracks]
    paints = {bar.paint for track in tracks for bar in track.bars}
    signs = {mark.sign for track in tracks for mark in track.marks}
    x = LEFT
    for paint, meaning in _MEANINGS.items():
        if paint in paints:
            parts.append(element("rect", x=x, y=y - 10, width=12, height=12, rx=2, fill=COLOURS[paint], stroke=_RULE))
            x = _meaning(parts, x, y, meaning)
    for sign, (shape, meaning) in _SIGNS.items():
        if sign in signs:
            parts.append(element("path", d=shape(x, y), fill=_ALARM))
            x = _meaning(parts, x, y, meaning)
    return y + 4 if x > LEFT else y


def _meaning(parts: list[str], x: float, y: float, meaning: str) -> float:
    parts.append(_text(x + 17, y, meaning, fill=_SOFT, font_size="11px"))
    return x + 17 + len(meaning) * LETTER + 18
