"""The ledgers that count the same calls: the state each is in, and where two of them differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from service.reconciliation.figures import COUNTED, ZERO, Figure, Row, Rows

ROUNDING_MINUTES = 1e-6
"""Less than this is what adding up in another order does to minutes."""


class Ledger(StrEnum):
    """The places where the same calls are counted."""

    LIVE = "live"
    """The live counters of this process."""
    REGISTRY = "registry"
    """The calls this process has in hand."""
    RECORDS = "records"
    """The call records in the database."""
    STORE = "store"
    """The sums of what all processes of the fleet have sent, in its store."""
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
    """The reason for its state, in a sentence."""
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
        """Return the same where more may be on its way, for this reason."""
        rows = {tenant: {name: figure.at_least() for name, figure in row.items()} for tenant, row in self.rows.items()}
        return replace(self, state=State.BEHIND, detail=detail, rows=rows, unheard=ZERO.at_least())


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
    return Figure(figure.value, figure.low - ROUNDING_MINUTES, figure.high + ROUNDING_MINUTES)
