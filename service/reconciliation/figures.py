"""The figures that ledgers are compared by, each with the range in which the truth lies as far as its ledger knows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import NamedTuple, Self

from telemetry.semconv.attributes import OTHER


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
    STARTED = "started"
    ENDED = "ended"
    """Started calls whose end was seen: not those that went stale or were left when their process stopped."""
    FAILED = "failed"
    REFERRED = "referred"
    STALE = "stale"
    """Ended at their last activity."""
    SHUTDOWN = "shutdown"
    """Ended, or handed over, because their process stopped."""
    TAKEN_OVER = "taken_over"
    """Gone on with here after another process had let go of them."""
    MINUTES = "minutes"
    """Call time, up to the last heartbeat of calls that run."""
    ACTIVE = "active"
    PENDING = "pending"


COUNTED = tuple(field for field in Field if field not in (Field.ACTIVE, Field.PENDING))
"""Quantities that add up over time; the rest is of this moment."""


class Figure(NamedTuple):
    """A number, and the least and the most it can stand for."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Self:
        """A number that stands for itself alone."""
        return cls(value, value, value)

    def agrees(self, other: "Figure") -> bool:
        """Return True if both can stand for the same number."""
        return self.low <= other.high and other.low <= self.high

    def plus(self, other: "Figure") -> "Figure":
        """Both together."""
        return Figure(self.value + other.value, self.low + other.low, self.high + other.high)

    def at_least(self) -> "Figure":
        """The same where more may be on its way."""
        return Figure(self.value, self.low, inf)


ZERO = Figure.exact(0)
Row = Mapping[Field, Figure]
Rows = dict[str, dict[Field, Figure]]
"""By tenant."""


def regrouped(rows: Rows, labels: Iterable[str]) -> Rows:
    """The rows under the names metrics count them by: tenants past the budget together, if there are any."""
    known = set(labels)
    if OTHER not in known:
        return rows
    grouped: defaultdict[str, dict[Field, Figure]] = defaultdict(dict)
    for tenant_id, row in rows.items():
        into = grouped[tenant_id if tenant_id in known else OTHER]
        into.update({field: into.get(field, ZERO).plus(figure) for field, figure in row.items()})
    return dict(grouped)


def total(rows: Rows) -> dict[Field, Figure]:
    """All tenants together."""
    summed: dict[Field, Figure] = {}
    for row in rows.values():
        summed.update({field: summed.get(field, ZERO).plus(figure) for field, figure in row.items()})
    return summed


class Ledger(StrEnum):
    """The places where the same calls are counted."""

    LIVE = "live"
    """The live counters of this process."""
    REGISTRY = "registry"
    """The calls this process has in hand."""
    RECORDS = "records"
    """The call records in the database."""
    PROMETHEUS = "prometheus"
    """The exported counters, as a Prometheus-compatible backend has them."""


class State(StrEnum):
    """The states of a ledger in a comparison."""

    COMPARED = "compared"
    BEHIND = "behind"
    """Not everything has arrived there: what it has too little of is not held against it."""
    OTHER_WINDOW = "other_window"
    """It covers another time than the one asked about."""
    NOT_CONFIGURED = "not_configured"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """It answered with an error, or with something else than expected."""
    TOO_LARGE = "too_large"
    NO_SAMPLES = "no_samples"
    """It knows nothing of this service, or not of all its processes."""


FINE = frozenset({State.COMPARED, State.OTHER_WINDOW, State.NOT_CONFIGURED})
"""States in which nothing that could be compared was left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """One ledger's figures, and how far they can be relied on."""

    state: State
    detail: str | None = None
    """Why it is in this state, in a sentence."""
    rows: Rows = field(default_factory=dict)
    age_seconds: float | None = None
    """Age of the figures in seconds; None where that has no meaning."""

    unheard: Figure = ZERO
    """The figure of a tenant that it does not have."""

    @property
    def comparable(self) -> bool:
        """True if its figures can be compared with another's."""
        return self.state in (State.COMPARED, State.BEHIND)

    def behind(self, detail: str) -> "Column":
        """The same where more may be on its way, for this reason."""
        rows = {tenant: {name: figure.at_least() for name, figure in row.items()} for tenant, row in self.rows.items()}
        return replace(self, state=State.BEHIND, detail=detail, rows=rows, unheard=ZERO.at_least())


UNDER_WAY = 1e-6
"""Less than this is what adding up in another order does to minutes."""
Key = tuple[str | None, str, tuple[Ledger, Ledger]]
"""Tenant, field and ledgers."""


@dataclass(frozen=True, slots=True)
class LedgerDifference:
    """A figure on which two ledgers do not agree."""

    tenant_id: str | None
    """``None``: of all tenants together."""
    field: str
    """A :class:`service.reconciliation.figures.Field`, or an invariant that does not hold."""
    ledgers: tuple[Ledger, Ledger]
    figures: tuple[Figure, Figure]
    """Their figures, in the same order."""

    @property
    def key(self) -> Key:
        """The key by which it is the same difference in another reading."""
        return self.tenant_id, self.field, self.ledgers


def differences(columns: Mapping[Ledger, Column], one: Ledger, other: Ledger) -> Iterator[LedgerDifference]:
    """Yield the differences between two columns; none if they cannot be compared."""
    left, right = columns[one], columns[other]
    if not (left.comparable and right.comparable):
        return
    for tenant_id in sorted(left.rows.keys() | right.rows.keys()):
        yield from _of_tenant(tenant_id, (one, other), _row(left, tenant_id), _row(right, tenant_id))


def _row(column: Column, tenant_id: str) -> Row:
    return column.rows.get(tenant_id) or dict.fromkeys(COUNTED, column.unheard)


def _of_tenant(tenant_id: str, ledgers: tuple[Ledger, Ledger], left: Row, right: Row) -> Iterator[LedgerDifference]:
    for name in COUNTED:
        ours, theirs = left.get(name, ZERO), right.get(name, ZERO)
        if not _wider(ours).agrees(theirs):
            yield LedgerDifference(tenant_id, name, ledgers, (ours, theirs))


def _wider(figure: Figure) -> Figure:
    return Figure(figure.value, figure.low - UNDER_WAY, figure.high + UNDER_WAY)


def with_margins(rows: Rows, *, less: Rows, more: Rows) -> Rows:
    """The rows where so much may be counted too much, or be on its way; each row's most counts."""
    tenants = rows.keys() | more.keys()
    return {
        tenant: _with_margins(rows.get(tenant, {}), less.get(tenant, {}), more.get(tenant, {})) for tenant in tenants
    }


def _with_margins(row: Row, less: Row, more: Row) -> dict[Field, Figure]:
    return {
        field: Figure(
            figure.value,
            figure.low - max(0.0, less.get(field, ZERO).high),
            figure.high + max(0.0, more.get(field, ZERO).high),
        )
        for field, figure in ((field, row.get(field, ZERO)) for field in COUNTED)
    }


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
