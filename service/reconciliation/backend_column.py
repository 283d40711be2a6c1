"""A Prometheus-compatible backend's column: what it has, and what it cannot have yet or has from before."""

from collections.abc import Iterable
from typing import Final, Protocol

from service.database import DATABASE_ERRORS
from service.reconciliation.backend import BackendError
from service.reconciliation.blind import Blind, blind
from service.reconciliation.column import Column, State
from service.reconciliation.comparing import with_margins
from service.reconciliation.exported import Exported, PrometheusLedger
from service.reconciliation.figures import ZERO, Figure, Rows, regrouped
from service.reconciliation.records import Instance, RecordsLedger
from service.reconciliation.window import Asked, Interval, Scope
from telemetry.clock import Clock

NAMED: Final = 3
"""Silent processes that are named."""


class BackendColumn(Protocol):
    """Says what a backend has."""

    async def read(self, asked: Asked) -> Column:
        """The column; its failure is its state."""
        ...


class NoBackend:
    """Where none is configured."""

    __slots__ = ()

    async def read(self, asked: Asked) -> Column:  # noqa: ARG002 -- the protocol's signature
        """Nothing to compare with."""
        return Column(State.NOT_CONFIGURED, "PROMETHEUS_URL names no backend.")


class PrometheusColumn:
    """Reads the backend, and from the records what happened while it was not told."""

    def __init__(
        self, ledger: PrometheusLedger, records: RecordsLedger, clock: Clock, *, beat_ms: int, late_ms: int
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._clock = clock
        self._beat_ms = beat_ms
        self._late_ms = late_ms

    async def read(self, asked: Asked) -> Column:
        """The column; its failure is its state."""
        try:
            found = await self._ledger.read(asked)
        except BackendError as error:
            return Column(error.state, f"{error}.")
        rows: Rows = {tenant: {f: Figure.exact(v) for f, v in row.items()} for tenant, row in found.amounts.items()}
        age = (asked.end_ms - max(found.last_ms.values())) / 1000
        try:
            return await self._with_margins(asked, found, rows, max(0.0, age))
        except DATABASE_ERRORS:
            detail = "The database does not say what it was not yet told."
            return Column(State.COMPARED, rows=rows, age_seconds=age).behind(detail)

    async def _with_margins(self, asked: Asked, found: Exported, rows: Rows, age: float) -> Column:
        gaps = blind(asked, found, await self._instances(asked), now_ms=self._now_ms(), beat_ms=self._beat_ms)
        less, more = await self._happened(asked, gaps.surplus, rows), await self._happened(asked, gaps.missing, rows)
        state, detail = _state(gaps)
        return Column(state, detail, with_margins(rows, less=less, more=more), age)

    async def _instances(self, asked: Asked) -> list[Instance]:
        if asked.scope is Scope.PROCESS:
            return [Instance(self._ledger.speaker.instance, asked.start_ms, asked.end_ms, None)]
        return await self._records.instances(Interval(asked.start_ms, asked.end_ms))

    async def _happened(self, asked: Asked, intervals: Iterable[Interval], labels: Rows) -> Rows:
        """What happened in all of these."""
        summed: Rows = {}
        for interval in intervals:
            for tenant, row in (await self._records.happened(asked, interval, late_ms=self._late_ms)).items():
                before = summed.setdefault(tenant, {})
                before.update({f: before.get(f, ZERO).plus(figure) for f, figure in row.items()})
        return regrouped(summed, labels)

    def _now_ms(self) -> int:
        return self._clock.now().unix_nanos // 1_000_000


def _state(gaps: Blind) -> tuple[State, str | None]:
    if not gaps.silent:
        return State.COMPARED, None
    named = ", ".join(gaps.silent[:NAMED])
    return State.NO_SAMPLES, f"{len(gaps.silent)} processes of the window have sent nothing: {named}."
