"""The picture of what calls, tenants and processes cost: lines on logarithmic axes, as SVG without anything else."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, Final
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

_PANELS: Final = (
    ("calls", "Cost over talking calls", "calls at once"),
    ("tenants", "Cost over tenants, in milliseconds", "tenants"),
    ("fleet", "The numbers of a fleet, in milliseconds", "processes"),
)
# A plot's name, its title, and its axis.
TITLE: Final = "Cost over talking calls, over tenants, and over the processes of a fleet"
"""What the picture shows."""
_WIDTH: Final = 420
_HEIGHT: Final = 300
_LEFT: Final = 60
_TOP: Final = 40
_INNER: Final = (320, 190)
_COLOURS: Final = ("#2563eb", "#c2410c", "#15803d", "#7e22ce")
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#666}.title{font-size:14px}"
    ".grid{stroke:#999;stroke-opacity:.3}.line{fill:none;stroke-width:2}"
)


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the SVG of all points among the rows; a panel without points is left empty.

    Raises:
        ValueError: for points that no panel shows.
    """
    nowhere = {row["plot"] for row in rows if "plot" in row} - {name for name, _, _ in _PANELS}
    if nowhere:
        raise ValueError(f"no panel shows {', '.join(sorted(nowhere))}")
    panels = "".join(
        f'<g transform="translate({_WIDTH * number},0)">{"".join(_panel(rows, *panel))}</g>'
        for number, panel in enumerate(_PANELS)
    )
    size = f'width="{_WIDTH * len(_PANELS)}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH * len(_PANELS)} {_HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f"<title>{TITLE}</title><style>{_STYLE}</style>{panels}</svg>\n"
    )


def _panel(rows: Sequence[Mapping[str, Any]], name: str, title: str, axis: str) -> Iterator[str]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get("plot") == name and row["value"] > 0:
            lines.setdefault(row["series"], []).append((row["at"], row["value"]))
    yield f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>'
    yield f'<text x="{_LEFT + _INNER[0] / 2}" y="{_TOP + _INNER[1] + 36}" text-anchor="middle">{escape(axis)}</text>'
    points = [point for line in lines.values() for point in line]
    if not points:
        return
    across, upwards = _Axis(point[0] for point in points), _Axis(point[1] for point in points)
    for decade in upwards.decades:
        y = _TOP + _INNER[1] * (1 - upwards.share(decade))
        yield f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _INNER[0]}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{decade:g}</text>'
    for decade in across.decades:
        x = _LEFT + _INNER[0] * across.share(decade)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _INNER[1]}"/>'
        yield f'<text x="{x:.1f}" y="{_TOP + _INNER[1] + 18}" text-anchor="middle">{decade:,g}</text>'
    for number, (series, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = " ".join(
            f"{_LEFT + _INNER[0] * across.share(x):.1f},{_TOP + _INNER[1] * (1 - upwards.share(y)):.1f}"
            for x, y in sorted(line)
        )
        yield f'<polyline class="line" stroke="{colour}" points="{drawn}"/>'
        yield f'<text x="{_LEFT + 8}" y="{_TOP + 14 + 15 * number}" style="fill:{colour}">{escape(series)}</text>'


class _Axis:
    """A logarithmic axis that covers these values in whole decades."""

    def __init__(self, values: Iterator[float]) -> None:
        known = list(values)
        self._low = floor(log10(min(known)))
        self._high = max(ceil(log10(max(known))), self._low + 1)

    @property
    def decades(self) -> Iterator[float]:
        return (10.0**exponent for exponent in range(self._low, self._high + 1))

    def share(self, value: float) -> float:
        """Return the place of a value, from 0 to 1."""
        return (log10(value) - self._low) / (self._high - self._low)
