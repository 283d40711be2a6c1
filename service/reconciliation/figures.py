"""The figures that ledgers are compared by, each with the range in which its ledger knows the truth; the window."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple, Self

from telemetry.semconv.attributes import OTHER


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
    """Return the same time without overlaps."""
    result: list[Interval] = []
    for interval in sorted(i for i in intervals if i.start_ms < i.end_ms):
        if result and interval.start_ms <= result[-1].end_ms:
            result[-1] = Interval(result[-1].start_ms, max(result[-1].end_ms, interval.end_ms))
        else:
            result.append(interval)
    return result


class Field(StrEnum):
    """The figures of a ledger, in the order they are shown."""

    RECEIVED = "received"
    """Calls announced and not taken over from another process; so are accepted and started ones."""
    ACCEPTED = "accepted"
    REJECTED_CAPACITY = "rejected_capacity"
    REJECTED_TENANT = "rejected_tenant_not_configured"
    REJECTED_LOOKUP = "rejected_tenant_lookup_failed"
    REJECTED_INSTRUCTIONS = "rejected_instructions_missing"
    REJECTED_CARRIER = "rejected_carrier_error"
    UNANSWERED_CANCELED = "unanswered_canceled"
    UNANSWERED_BUSY = "unanswered_busy"
    UNANSWERED_NO_ANSWER = "unanswered_no_answer"
    UNANSWERED_DECLINED = "unanswered_declined"
    UNANSWERED_UNREACHABLE = "unanswered_unreachable"
    STARTED = "started"
    ENDED = "ended"
    """Started calls whose end was seen: not those that went stale or were left when their process stopped."""
    FAILED = "failed"
    REFERRED = "referred"
    STALE = "stale"
    """Ended at their last activity."""
    SHUTDOWN = "shutdown"
    """Ended because their process stopped."""
    TAKEN_OVER = "taken_over"
    """Gone on with here after another process had let go of them."""
    HANDED_OVER = "handed_over"
    """Left to another process. A record tells of it only until another process has the call, so it is not compared."""
    MINUTES = "minutes"
    """Call time, up to the last heartbeat of calls that run."""
    ACTIVE = "active"
    PENDING = "pending"


COUNTED = tuple(field for field in Field if field not in (Field.HANDED_OVER, Field.ACTIVE, Field.PENDING))
"""Quantities that add up over time, and that each ledger has."""


class Figure(NamedTuple):
    """A number, and the least and the most it can stand for."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Self:
        """Return a number that stands for itself alone."""
        return cls(value, value, value)

    def agrees(self, other: "Figure") -> bool:
        """Return True if both can stand for the same number."""
        return self.low <= other.high and other.low <= self.high

    def plus(self, other: "Figure") -> "Figure":
        """Return both together."""
        return Figure(self.value + other.value, self.low + other.low, self.high + other.high)

    def at_least(self) -> "Figure":
        """Return the same where more may be on its way."""
        return Figure(self.value, self.low, inf)


ZERO = Figure.exact(0)
Row = Mapping[Field, Figure]
Rows = dict[str, dict[Field, Figure]]
"""By tenant."""


def regrouped(rows: Rows, labels: Iterable[str]) -> Rows:
    """Return the rows under the names metrics count them by: tenants past the budget together, if there are any."""
    known = set(labels)
    if OTHER not in known:
        return rows
    grouped: defaultdict[str, dict[Field, Figure]] = defaultdict(dict)
    for tenant_id, row in rows.items():
        into = grouped[tenant_id if tenant_id in known else OTHER]
        into.update({field: into.get(field, ZERO).plus(figure) for field, figure in row.items()})
    return dict(grouped)


def total(rows: Rows) -> dict[Field, Figure]:
    """Return all tenants together."""
    summed: dict[Field, Figure] = {}
    for row in rows.values():
        summed.update({field: summed.get(field, ZERO).plus(figure) for field, figure in row.items()})
    return summed


def with_margins(rows: Rows, *, less: Rows, more: Rows) -> Rows:
    """Return the rows where so much may be counted too much, or be on its way; each row's most counts."""
    tenants = rows.keys() | more.keys()
    return {
        tenant: _with_margins(rows.get(tenant, {}), less.get(tenant, {}), more.get(tenant, {})) for tenant in tenants
    }


def _with_margins(row: Row, less: Row, more: Row) -> dict[Field, Figure]:
    return dict(row) | {
        field: Figure(
            figure.value,
            figure.low - max(0.0, less.get(field, ZERO).high),
            figure.high + max(0.0, more.get(field, ZERO).high),
        )
        for field, figure in ((field, row.get(field, ZERO)) for field in COUNTED)
    }
