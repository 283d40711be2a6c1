"""The window that ledgers are compared over."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Scope(StrEnum):
    """The calls that are compared."""

    PROCESS = "process"
    """Those of the process that answers, since it started: what its live counters cover."""
    FLEET = "fleet"
    """Those of all processes, in the window asked about: what records and a backend cover."""


@dataclass(frozen=True, slots=True)
class ReconcileQuery:
    """The query. Moments are milliseconds since 1970 UTC; the end does not belong to the window."""

    scope: Scope
    start_ms: int
    end_ms: int
    tenant_id: str | None = None
    """Of this tenant alone."""


class Interval(NamedTuple):
    """From a moment, which belongs to it, up to one that does not, in milliseconds."""

    start_ms: int
    end_ms: int


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time without overlaps."""
    result: list[Interval] = []
    for interval in sorted(i for i in intervals if i.start_ms < i.end_ms):
        if result and interval.start_ms <= result[-1].end_ms:
            result[-1] = Interval(result[-1].start_ms, max(result[-1].end_ms, interval.end_ms))
        else:
            result.append(interval)
    return result
