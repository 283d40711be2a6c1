"""Tenants in the order of a derived figure."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from typing import NamedTuple

from telemetry.clock import Instant
from telemetry.metrics.figures import DerivedFigure, Value
from telemetry.metrics.history import History
from telemetry.metrics.past import WindowName


class Ranked(NamedTuple):
    """A tenant and its figure."""

    tenant_id: str
    value: Value
    """``None`` where it cannot be computed: such tenants come last, whichever the direction."""


Place = tuple[bool, float, str]
"""A tenant's position in the order; comparable with another's, also one from an earlier ranking."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """By what to rank, and which end comes first."""

    figure: DerivedFigure
    window: WindowName
    descending: bool

    def first(self, count: int, history: History, now: Instant, after: Ranked | None = None) -> list[Ranked]:
        """Return so many tenants of those seen, in order, equal ones by their ids; behind ``after`` if it is given."""
        places = self._places(history, now, None if after is None else self.place(after))
        return [ranked for _, ranked in nsmallest(count, places)]

    def place(self, ranked: Ranked) -> Place:
        """Return a tenant's position in the order."""
        value = ranked.value or 0.0
        return (ranked.value is None, -value if self.descending else value, ranked.tenant_id)

    def _places(self, history: History, now: Instant, after: Place | None) -> Iterator[tuple[Place, Ranked]]:
        compute = self.figure.compute
        for tenant_id, window in history.every(self.window, now, self.figure.chosen):
            ranked = Ranked(tenant_id, compute(window.numbers, window))
            place = self.place(ranked)
            if after is None or place > after:
                yield place, ranked
