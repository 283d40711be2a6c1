"""One ledger's side of a comparison."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from service.reconciliation.figures import ZERO, Figure, Rows


class Ledger(StrEnum):
    """Where the same calls are written down."""

    LIVE = "live"
    """The live counters of this process."""
    REGISTRY = "registry"
    """The calls this process has in hand."""
    RECORDS = "records"
    """The call records in the database."""
    PROMETHEUS = "prometheus"
    """What a Prometheus-compatible backend was sent."""


class State(StrEnum):
    """How far a ledger takes part."""

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
    """What a ledger says, and how much that is worth."""

    state: State
    detail: str | None = None
    """Why it is in this state, in a sentence."""
    rows: Rows = field(default_factory=dict)
    age_seconds: float | None = None
    """How old what it says is; ``None`` where that has no meaning."""

    unheard: Figure = ZERO
    """What it says of a tenant it does not have."""

    @property
    def comparable(self) -> bool:
        """Whether its figures can be held against another's."""
        return self.state in (State.COMPARED, State.BEHIND)

    def behind(self, detail: str) -> "Column":
        """The same where more may be on its way, for this reason."""
        rows = {tenant: {name: figure.at_least() for name, figure in row.items()} for tenant, row in self.rows.items()}
        return replace(self, state=State.BEHIND, detail=detail, rows=rows, unheard=ZERO.at_least())
