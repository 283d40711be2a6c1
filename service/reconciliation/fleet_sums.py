"""The sums of a fleet as a ledger: what all its processes have counted since it began to count."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from service.reconciliation.counters import Amounts, between, fleet_amounts
from service.reconciliation.figures import ReconcileQuery
from service.reconciliation.ledgers import Column, State
from service.reconciliation.records import Instance

ARRIVAL_SECONDS: Final = 1.0
"""Seconds after which what a process had counted has been sent, and what was recorded has been written."""

SILENT_MS: Final = 15_000
"""A process that wrote no heartbeat for so long, and did not stop, was killed."""


class FleetSumsUnreadError(Exception):
    """The sums cannot be read now; the text says why, for people."""


class FleetSums(Protocol):
    """The sums; :class:`service.fleet.live.sums.StoredSums` reads them."""

    @property
    def since_ms(self) -> int:
        """Since when the fleet counts, in Unix milliseconds."""
        ...

    async def read(self) -> Mapping[str, Mapping[str, float]]:
        """Return every tenant's fields of the live view; raise :class:`FleetSumsUnreadError`."""
        ...


class StoreColumn:
    """The column of the fleet's store; ``sums`` is None where there is no fleet."""

    def __init__(self, sums: FleetSums | None) -> None:
        self._sums = sums

    @property
    def since_ms(self) -> int | None:
        """Since when the fleet counts, in Unix milliseconds; None where there is no fleet."""
        return None if self._sums is None else self._sums.since_ms

    def covers(self, query: ReconcileQuery) -> bool:
        """Return True if the sums are of the time that is asked about."""
        return self._sums is not None and query.start_ms <= self._sums.since_ms

    def other_window(self) -> Column:
        """Return the column for a comparison of another time."""
        if self._sums is None:
            return Column(State.NOT_CONFIGURED, "REDIS_URL names no store.")
        since = _shown(self._sums.since_ms)
        return Column(State.OTHER_WINDOW, f"It covers all processes since {since}: ask with scope=fleet.")

    async def amounts(self) -> Amounts:
        """Return each tenant's counters; raise :class:`FleetSumsUnreadError`."""
        if self._sums is None:
            return {}
        return {tenant_id: fleet_amounts(numbers) for tenant_id, numbers in (await self._sums.read()).items()}

    @staticmethod
    def column(before: Amounts, after: Amounts, tenant_id: str | None, killed: Sequence[Instance]) -> Column:
        """Return the column of what was read before and after the records were."""
        column = Column(State.COMPARED, rows=between(before, after, tenant_id))
        if not killed:
            return column
        last = _shown(max(instance.last_beat_ms for instance in killed))
        many = f"{len(killed)} processes were killed since, the last of them soon after {last}"
        one = f"A process was killed soon after {last}"
        return Column(
            State.COMPARED,
            f"{one if len(killed) == 1 else many}: what it counted in its last half second may be missing here.",
            rows=column.rows,
        )


def killed_of(instances: Sequence[Instance], now_ms: int) -> list[Instance]:
    """Return the processes that ended without a word."""
    return [i for i in instances if i.stopped_ms is None and now_ms - i.last_beat_ms > SILENT_MS]


def _shown(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
