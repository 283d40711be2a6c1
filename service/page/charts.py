"""Charts as SVG made on this side: no script draws them, and their colours come from the style sheet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from service.timeline.explain import span_of_time
from service.timeline.svg import element, text_of
from telemetry.metrics.history import HistoryStretch

SPARK_WIDTH: Final = 120.0
SPARK_HEIGHT: Final = 22.0
WIDTH: Final = 640.0
HEIGHT: Final = 150.0
LEFT: Final = 64.0
BOTTOM: Final = 20.0
TOP: Final = 10.0
GRID_LINES: Final = 3

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class ChartPart:
    """One part of a chart's time, and its values, one a series; None where there is nothing to show."""

    start: float
    """Seconds before now."""
    end: float
    values: Values


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart."""

    title: str
    names: tuple[str, ...]
    """Of the series; the first one is filled."""
    parts: tuple[ChartPart, ...]
    written: Callable[[float], str]
    """Writes a value for people."""
    seconds: float
    """Length of the whole window; what is before the first part is not known."""

    def highest(self) -> float:
        """Return the largest value there is; 0 without any."""
        return max((value for part in self.parts for value in part.values if value is not None), default=0.0)


def parts_of(course: Sequence[HistoryStretch], value: Callable[[HistoryStretch], Values]) -> tuple[ChartPart, ...]:
    """Return the parts of a chart; a part too short to tell a rate of is left out."""
    return tuple(ChartPart(part.start, part.end, value(part)) for part in course if part.seconds >= 1)


def sparkline(parts: Sequence[ChartPart], seconds: float, what: str) -> Markup:
    """Return the first series as bars over the window, with its last and its highest value in words."""
    known = [part for part in parts if part.values[0] is not None]
    highest = max((part.values[0] or 0.0 for part in known), default=0.0)
    if not known:
        return Markup('<span class="unknown">&ndash;<span class="hidden"> (nothing yet)</span></span>')
    shape = "".join(_bar(part, seconds, highest) for part in known)
    said = f"{what}: now {known[-1].values[0] or 0.0:.1f}, at most {highest:.1f}"
    drawn = element("title", text_of(said)) + element("path", d=f"M0 {SPARK_HEIGHT:g}h{SPARK_WIDTH:g}", class_="rule")
    if shape:
        drawn += element("path", d=shape, class_="bar")
    box = f"0 0 {SPARK_WIDTH:g} {SPARK_HEIGHT + 1:g}"
    # Everything in it is a number or escaped.
    return Markup(element("svg", drawn, viewBox=box, role="img", class_="spark"))  # noqa: S704


def _bar(part: ChartPart, seconds: float, highest: float) -> str:
    value = part.values[0]
    if not value or not highest:
        return ""
    x = SPARK_WIDTH * (1 - min(part.start, seconds) / seconds)
    end = SPARK_WIDTH * (1 - part.end / seconds)
    top = SPARK_HEIGHT * (1 - value / highest)
    width = max(1.0, end - x - 0.6)
    return f"M{x:.1f} {SPARK_HEIGHT:g}V{top:.1f}h{width:.1f}V{SPARK_HEIGHT:g}z"


def draw(chart: Chart) -> Markup:
    """Return a chart over its window, with a scale and marks of time; its cursor is the script's."""
    highest = _round_up(chart.highest())
    drawn = [element("title", text_of(chart.title))]
    for index in range(GRID_LINES + 1):
        value = highest * index / GRID_LINES
        y = _y(value, highest)
        drawn.append(element("path", d=f"M{LEFT:g} {y:.1f}H{WIDTH:g}", class_="rule"))
        drawn.append(_label(LEFT - 6, y + 4, chart.written(value), "end"))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        ago = chart.seconds * (1 - share)
        said = "now" if not ago else f"{span_of_time(ago).removesuffix(' 00 min').removesuffix(' 00 s')} ago"
        drawn.append(_label(LEFT + (WIDTH - LEFT) * share, HEIGHT - 4, said, anchor))
    drawn += [_series(chart, number, highest) for number in range(len(chart.names))]
    box = f"0 0 {WIDTH:g} {HEIGHT:g}"
    return Markup(element("svg", "".join(drawn), viewBox=box, role="img", class_="chart"))  # noqa: S704 -- as above


def _series(chart: Chart, number: int, highest: float) -> str:
    line = fill = ""
    joined = False
    for part in chart.parts:
        value = part.values[number]
        if value is None:
            joined = False
            continue
        x, end, y = _x(part.start, chart.seconds), _x(part.end, chart.seconds), _y(value, highest)
        line += f"{'L' if joined else 'M'}{x:.1f} {y:.1f}H{end:.1f}"
        fill += f"M{x:.1f} {_y(0, highest):.1f}V{y:.1f}H{end:.1f}V{_y(0, highest):.1f}z"
        joined = True
    if not line:
        return ""
    filled = element("path", d=fill, class_="area") if number == 0 else ""
    return filled + element("path", d=line, class_=f"line line-{number}")


def _label(x: float, y: float, said: str, anchor: str) -> str:
    return element("text", text_of(said), x=x, y=y, text_anchor=anchor)


def _x(ago: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT) * (1 - min(ago, seconds) / seconds)


def _y(value: float, highest: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value / highest if highest else 0.0))


def _round_up(value: float) -> float:
    """Return the next number above that divides well: 3, 6, 12, 15, 30, 60, …; 1 for 0."""
    if value <= 0:
        return 1.0
    step = 0.003
    factors = (1, 2, 4, 5)
    while True:
        for factor in factors:
            if step * factor >= value:
                return step * factor
        step *= 10
