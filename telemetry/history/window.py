"""A stretch of time of one tenant, and where its numbers come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from telemetry.attributes import TenantId
from telemetry.slots import Selection
from telemetry.usage import Usage


class Counted(Protocol):
    """What has been counted since the start; :class:`telemetry.live_store.LiveMetricsStore` knows it."""

    def tenants(self) -> list[str]:
        """Every tenant seen, in an order that never changes; later ones come behind."""
        ...

    def position(self, tenant_id: str | None = None) -> int | None:
        """Where a tenant's row stands; 0 is that of all together. ``None`` for a tenant never seen."""
        ...

    def rows(self, selection: Selection, first: int, count: int) -> list[list[float]]:
        """So many rows from a position on, fewer at the end, all of one moment."""
        ...


class CapacitySource(Protocol):
    """Who knows how many calls hold a slot; :class:`telemetry.tracker.CallTracker` does."""

    def usage(self, tenant_id: TenantId | None = None) -> Usage:
        """Of one tenant, or of all together."""
        ...

    def tenant_usage(self) -> Mapping[TenantId, Usage]:
        """Of each tenant that has held one in the last five minutes."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in a stretch of time."""

    seconds: float
    """How long the stretch really is: the window, give or take half a step and a sample, or less if the process is
    younger."""
    numbers: Sequence[int]
    """What was added, by slot of the selection that was asked for; none if that is not known."""
    peak_in_use: int | None
    """The most slots held at once; of an hour or a day, the edge is exact to five minutes. ``None`` if not known or not
    asked for."""
    limit: int | None
    """Calls allowed at once, now; ``None`` for what is no single tenant."""

    @property
    def known(self) -> bool:
        """Whether the numbers are."""
        return bool(self.numbers)
