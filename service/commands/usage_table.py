"""Usage as a table for people."""

from contextlib import aclosing
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from service.usage.report import seconds
from service.usage.splitting import Sums
from service.usage.writing import Asked, Lines, entry

_NUMBERS = ("calls", "answered_calls", "open_calls", "seconds", "rounded_seconds", "rounded minutes")


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A report in memory; give it a grouping that a person would read to the end."""

    asked: Asked
    table: Table
    total: Sums

    @classmethod
    async def of(cls, lines: Lines, asked: Asked) -> "UsageTable":
        """The table of a report."""
        total = Sums()
        table = Table(show_footer=True)
        names: list[str] = []
        async with aclosing(lines):
            async for line in lines:
                cells = entry(line, asked.grouping) | {"rounding": ", ".join(line.rounding)}
                cells = _with_minutes(cells, line.sums)
                names = names or _columns(table, cells)
                table.add_row(*(str(cells[name] if cells[name] is not None else "") for name in names))
                total.add(line.sums)
        _foot(table, names, total)
        return cls(asked, table, total)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        period = self.asked.period
        yield f"{period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} ({period.zone.key})"
        yield self.table if self.table.columns else "No calls."


def minutes(milliseconds: int) -> Decimal:
    """Milliseconds as minutes with two decimals, rounded half up for the eye; seconds beside it are exact."""
    return (seconds(milliseconds) / 60).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _with_minutes(cells: dict[str, object], sums: Sums) -> dict[str, object]:
    rounding = cells.pop("rounding")
    return cells | {"rounded minutes": minutes(sums.rounded_ms), "rounding": rounding}


def _columns(table: Table, cells: dict[str, object]) -> list[str]:
    for name in cells:
        table.add_column(name.replace("_", " "), justify="right" if name in _NUMBERS else "left")
    return list(cells)


def _foot(table: Table, names: list[str], total: Sums) -> None:
    figures = (
        total.calls,
        total.answered,
        total.still_open,
        seconds(total.duration_ms),
        seconds(total.rounded_ms),
        minutes(total.rounded_ms),
    )
    for name, figure in zip(_NUMBERS, figures, strict=True):
        if name in names:
            table.columns[names.index(name)].footer = str(figure)
