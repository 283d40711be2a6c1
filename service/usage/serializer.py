"""Usage and billed calls as JSON or CSV, written while they are read: no more in memory than one piece of each."""

import csv
import io
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from service.usage.documents import BilledCall
from service.usage.period import Dimension, Grouping, Period
from service.usage.query import Sums
from service.usage.report import UsageLine, seconds

Lines = AsyncGenerator[UsageLine, None]
"""Lines as they are read. They hold a snapshot of the database: whoever takes them closes them."""

PIECE: Final = 64 * 1024
"""About how many characters leave at a time."""
MINUTES_ROUNDING: Final = (
    "rounded_minutes is rounded_seconds / 60, half up to hundredths in each line; the total is the sum of the lines"
)
"""The one rounding of minutes, told in every form."""
_FIGURES: Final = (
    "calls",
    "answered_calls",
    "open_calls",
    "split_calls",
    "seconds",
    "rounded_seconds",
    "rounded_minutes",
)
_HUNDREDTH: Final = Decimal("0.01")
_RUN_BY_SPREADSHEETS: Final = re.compile(r"[=+\-@\t\r]")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class UsageHead:
    """The question a report answers, for its head."""

    period: Period
    grouping: Grouping
    tenant_id: str | None
    freezes: tuple[int, ...] = ()
    """Numbers of the freezes that cover a part of the period."""

    @property
    def file_name(self) -> str:
        """Name of the report as a file, by tenant and period, without an ending."""
        ends = (self.period.start, self.period.end)
        start, end = (f"{at:%Y-%m-%d}" if at.time() == time() else f"{at:%Y-%m-%dT%H%M%S}" for at in ends)
        tenant = re.sub(r"[^A-Za-z0-9_-]", "_", self.tenant_id) if self.tenant_id else "all"
        return f"usage_{tenant}_{start}_{end}"

    def as_dict(self) -> dict[str, Any]:
        """Return the head as plain values."""
        return {
            "from": self.period.start.isoformat(),
            "to": self.period.end.isoformat(),
            "tz": self.period.zone.key,
            "group_by": [dimension.value for dimension in self.grouping.dimensions],
            "tenant_id": self.tenant_id,
            "freezes": list(self.freezes),
            "minutes_rounding": MINUTES_ROUNDING,
        }


class UsageTotal:
    """Sums of lines and of their minutes, and how many lines there were."""

    def __init__(self) -> None:
        self.sums = Sums()
        self.minutes = Decimal("0.00")
        self.lines = 0

    def add(self, line: UsageLine) -> None:
        """Add a line."""
        self.sums.add(line.sums)
        self.minutes += minutes(line.sums.rounded_ms)
        self.lines += 1

    def figures(self) -> dict[str, int | str]:
        """Return the sums by name."""
        return figures(self.sums, self.minutes)


def minutes(milliseconds: int) -> Decimal:
    """Return milliseconds as minutes with two decimals, half up."""
    return (seconds(milliseconds) / 60).quantize(_HUNDREDTH, ROUND_HALF_UP)


def figures(sums: Sums, in_minutes: Decimal | None = None) -> dict[str, int | str]:
    """Return sums by name; seconds are decimal texts, since a JSON number would be read as a binary fraction."""
    values = (
        sums.calls,
        sums.answered,
        sums.still_open,
        sums.split_calls,
        str(seconds(sums.duration_ms)),
        str(seconds(sums.rounded_ms)),
        str(minutes(sums.rounded_ms) if in_minutes is None else in_minutes),
    )
    return dict(zip(_FIGURES, values, strict=True))


def columns(grouping: Grouping) -> list[str]:
    """Return the names of a line's values, in order."""
    return [*_keys(grouping), *_FIGURES, "rounding"]


def entry(line: UsageLine, grouping: Grouping) -> dict[str, Any]:
    """Return a line's values by name."""
    known = {
        **dict.fromkeys((Dimension.MONTH.value, Dimension.DAY.value, Dimension.HOUR.value), line.slot),
        "tenant_id": line.tenant_id,
        "outcome": line.outcome,
        "reason": line.reason,
    }
    keys = {name: known[name] for name in _keys(grouping)}
    return keys | figures(line.sums) | {"rounding": list(line.rounding)}


async def as_json(lines: Lines, head: UsageHead) -> AsyncIterator[bytes]:
    """Yield one JSON object: the head, the lines, and their sum."""
    buffer, total, separator = _Buffer(), UsageTotal(), ""
    buffer.write(json.dumps(head.as_dict())[:-1] + ', "lines": [')
    async with aclosing(lines):
        async for line in lines:
            total.add(line)
            buffer.write(separator + json.dumps(entry(line, head.grouping)))
            separator = ","
            if buffer.full:
                yield buffer.taken()
    buffer.write(f'], "total": {json.dumps(total.figures())}}}')
    yield buffer.taken()


async def as_csv(lines: Lines, head: UsageHead, *, bare: bool = False) -> AsyncIterator[bytes]:
    """Yield CSV (RFC 4180): a block that tells the period, the lines under their names, and a block with their sum.

    The last record is ``lines`` with their number, so that a cut file is seen. ``bare`` leaves both blocks out. Several
    rules in one line are separated by semicolons.
    """
    buffer, total = _Buffer(), UsageTotal()
    names = columns(head.grouping)
    writer = csv.writer(buffer)
    if not bare:
        writer.writerows(_shown_head(head))
        writer.writerow([])
    writer.writerow(names)
    async with aclosing(lines):
        async for line in lines:
            total.add(line)
            row = entry(line, head.grouping)
            row["rounding"] = ";".join(row["rounding"])
            writer.writerow([safe_cell(row[name]) for name in names])
            if buffer.full:
                yield buffer.taken()
    if not bare:
        writer.writerow([])
        writer.writerows(["total", name, value] for name, value in total.figures().items())
        writer.writerow(["lines", total.lines])
    yield buffer.taken()


CALL_COLUMNS: Final = ("call_id", "tenant_id", "calls", "answered_calls", "seconds", "rounded_seconds")


def call_entry(call: BilledCall) -> dict[str, Any]:
    """Return a billed call's values by name."""
    values = (
        call.call_id,
        call.tenant_id,
        call.calls,
        call.answered_calls,
        str(seconds(call.duration_ms)),
        str(seconds(call.rounded_ms)),
    )
    return dict(zip(CALL_COLUMNS, values, strict=True))


async def calls_as_csv(calls: AsyncGenerator[BilledCall, None], head: Mapping[str, object]) -> AsyncIterator[bytes]:
    """Yield the calls of a frozen period as CSV, with a block before and one after them as in :func:`as_csv`."""
    buffer, count, ran, rounded = _Buffer(), 0, 0, 0
    writer = csv.writer(buffer)
    writer.writerows([name, safe_cell(value)] for name, value in head.items())
    writer.writerow([])
    writer.writerow(CALL_COLUMNS)
    async with aclosing(calls):
        async for call in calls:
            count, ran, rounded = count + 1, ran + call.duration_ms, rounded + call.rounded_ms
            writer.writerow(map(safe_cell, call_entry(call).values()))
            if buffer.full:
                yield buffer.taken()
    writer.writerow([])
    writer.writerow(["total", "seconds", seconds(ran)])
    writer.writerow(["total", "rounded_seconds", seconds(rounded)])
    writer.writerow(["lines", count])
    yield buffer.taken()


def safe_cell(value: object) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula; a number stays one."""
    text = "" if value is None else str(value)
    return f"'{text}" if _RUN_BY_SPREADSHEETS.match(text) and not _NUMBER.fullmatch(text) else text


def _shown_head(head: UsageHead) -> Iterable[list[str]]:
    for name, value in head.as_dict().items():
        shown = ";".join(map(str, value)) if isinstance(value, list) else value
        yield [name, safe_cell(shown)]


class _Buffer(io.StringIO):
    """Text on its way out."""

    def __init__(self) -> None:
        # Lines end as the writer ends them, on every platform.
        super().__init__(newline="")

    @property
    def full(self) -> bool:
        """True if there is enough to leave."""
        return self.tell() > PIECE

    def taken(self) -> bytes:
        """Return the text and empty the buffer."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text.encode()


def _keys(grouping: Grouping) -> Iterator[str]:
    if grouping.unit is not None:
        yield grouping.unit.value
    if grouping.by_tenant:
        yield "tenant_id"
    if grouping.by_outcome:
        yield from (Dimension.OUTCOME.value, "reason")
