"""Usage as JSON or CSV, written while it is read: never more in memory than one piece of the answer."""

import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from service.usage.period import Dimension, Grouping, Period
from service.usage.query import Sums
from service.usage.report import UsageLine, seconds

Lines = AsyncGenerator[UsageLine, None]
"""Lines as they are read. They hold a snapshot of the database, so whoever takes them closes them."""

PIECE = 64 * 1024
"""About how many characters leave at a time."""

_FIGURES = ("calls", "answered_calls", "open_calls", "seconds", "rounded_seconds")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is about, for its head."""

    period: Period
    grouping: Grouping
    tenant_id: str | None


def figures(sums: Sums) -> dict[str, int | str]:
    """Sums by name; seconds are decimal texts, since a JSON number would be read as a binary fraction."""
    values = (
        sums.calls,
        sums.answered,
        sums.still_open,
        str(seconds(sums.duration_ms)),
        str(seconds(sums.rounded_ms)),
    )
    return dict(zip(_FIGURES, values, strict=True))


def columns(grouping: Grouping) -> list[str]:
    """What each line has, in order."""
    return [*_keys(grouping), *_FIGURES, "rounding"]


def entry(line: UsageLine, grouping: Grouping) -> dict[str, Any]:
    """A line by name."""
    known = {
        "day": line.slot,
        "hour": line.slot,
        "tenant_id": line.tenant_id,
        "outcome": line.outcome,
        "reason": line.reason,
    }
    keys = {name: known[name] for name in _keys(grouping)}
    return keys | figures(line.sums) | {"rounding": list(line.rounding)}


async def as_json(lines: Lines, asked: Asked) -> AsyncIterator[bytes]:
    """One JSON object: what was asked, the lines, and their sum."""
    buffer, total, separator = _Buffer(), Sums(), ""
    buffer.write(json.dumps(_head(asked))[:-1] + ', "lines": [')
    async with aclosing(lines):
        async for line in lines:
            total.add(line.sums)
            buffer.write(separator + json.dumps(entry(line, asked.grouping)))
            separator = ","
            if buffer.full:
                yield buffer.taken()
    buffer.write(f'], "total": {json.dumps(figures(total))}}}')
    yield buffer.taken()


async def as_csv(lines: Lines, asked: Asked) -> AsyncIterator[bytes]:
    """A head line and one line each, as RFC 4180 has it; the last column separates several rules by semicolons."""
    buffer = _Buffer()
    writer = csv.DictWriter(buffer, columns(asked.grouping))
    writer.writeheader()
    async with aclosing(lines):
        async for line in lines:
            row = entry(line, asked.grouping)
            writer.writerow(row | {"rounding": ";".join(row["rounding"])})
            if buffer.full:
                yield buffer.taken()
    yield buffer.taken()


class _Buffer(io.StringIO):
    """Text on its way out."""

    @property
    def full(self) -> bool:
        """Whether there is enough to leave."""
        return self.tell() > PIECE

    def taken(self) -> bytes:
        """What there is, which leaves."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text.encode()


def _head(asked: Asked) -> dict[str, Any]:
    return {
        "from": asked.period.start.isoformat(),
        "to": asked.period.end.isoformat(),
        "tz": asked.period.zone.key,
        "group_by": [dimension.value for dimension in asked.grouping.dimensions],
        "tenant_id": asked.tenant_id,
    }


def _keys(grouping: Grouping) -> Iterator[str]:
    if grouping.unit is not None:
        yield grouping.unit.value
    if grouping.by_tenant:
        yield "tenant_id"
    if grouping.by_outcome:
        yield from (Dimension.OUTCOME.value, "reason")
