"""One reading of all ledgers.

Calls go on meanwhile. So counters are read before and after everything else, and what a record says must lie between
the two readings, however busy the process is.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from service.reconciliation.call_findings import FoundCall, Known, not_running, unknown_open
from service.reconciliation.consistency import Reconciler
from service.reconciliation.counters import Amounts, between, live_amounts, registry_rows
from service.reconciliation.exported import BackendColumn
from service.reconciliation.figures import Figure, Rows, regrouped
from service.reconciliation.ledgers import Column, Ledger, LedgerDifference, State, differences
from service.reconciliation.query import ReconcileQuery, Scope
from service.reconciliation.records import Recorded, RecordsLedger
from service.records.calls import CallRecords
from service.storage.database import DATABASE_ERRORS, failure_reason
from telemetry.calls.call import CallSnapshot
from telemetry.calls.tracker import CallTracker
from telemetry.metrics.reader import LiveMetricsReader

FLUSH_SECONDS: Final = 2.0
"""Seconds to wait until the database has what is on its way there."""

LIVE_SECONDS: Final = 2.0
"""Seconds to wait for counters that show everything."""

_OTHER_WINDOW = Column(State.OTHER_WINDOW, "It covers this process alone, since it started.")


@dataclass(frozen=True, slots=True)
class Reading:
    """The columns of all ledgers, and their differences."""

    query: ReconcileQuery
    columns: dict[Ledger, Column]
    differences: list[LedgerDifference]
    calls: list[FoundCall] = field(default_factory=list)
    """Rows of calls that do not run."""
    unrecorded: list[Known] = field(default_factory=list)
    """Running calls that no row has as running."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The database's column, and the rows of calls that run here."""

    column: Column
    running: Sequence[Recorded] = ()


class LedgerReader:
    """Everything that knows about calls."""

    def __init__(
        self,
        live: LiveMetricsReader,
        tracker: CallTracker,
        call_records: CallRecords,
        records: RecordsLedger,
        prometheus: BackendColumn,
    ) -> None:
        self._live = live
        self._tracker = tracker
        self._call_records = call_records
        self._records = records
        self._prometheus = prometheus
        self._registry = Reconciler(live, tracker)

    async def read(self, query: ReconcileQuery) -> Reading:
        """Read and compare. No ledger's failure is raised: it is the state of its column."""
        if query.scope is Scope.PROCESS:
            return await self._since_start(query)
        flushed = await self.settled()
        kept = await self._kept(query, flushed=flushed)
        exported = await self._prometheus.read(query)
        columns = {
            Ledger.LIVE: _OTHER_WINDOW,
            Ledger.REGISTRY: _OTHER_WINDOW,
            Ledger.RECORDS: _under(kept.column, exported.rows),
            Ledger.PROMETHEUS: exported,
        }
        return Reading(query, columns, list(differences(columns, Ledger.RECORDS, Ledger.PROMETHEUS)))

    async def settled(self) -> bool:
        """Wait until the database has all this process has counted so far; false if that takes too long."""
        return await self._call_records.written_so_far(FLUSH_SECONDS)

    async def _since_start(self, query: ReconcileQuery) -> Reading:
        inconsistent = await asyncio.to_thread(self._inconsistent, query.tenant_id)
        counted, _ = await self._counted()
        query, before = replace(query, end_ms=self._now_ms()), self._in_hand(query)
        kept = await self._kept(query, flushed=await self.settled(), running=True)
        exported = await self._prometheus.read(query)
        after = self._in_hand(query)
        counted_after, age = await self._counted()
        live = _live(between(counted, counted_after, query.tenant_id), age)
        columns = {
            Ledger.LIVE: live,
            Ledger.REGISTRY: Column(State.COMPARED, rows=registry_rows(after, live.rows)),
            Ledger.RECORDS: _under(kept.column, live.rows),
            Ledger.PROMETHEUS: exported,
        }
        found = [
            *inconsistent,
            *differences(columns, Ledger.LIVE, Ledger.RECORDS),
            *differences(columns, Ledger.LIVE, Ledger.PROMETHEUS),
        ]
        if kept.column.state is not State.COMPARED:
            return Reading(query, columns, found)
        calls, unrecorded = unknown_open(before, after, kept.running), not_running(before, after, kept.running)
        return Reading(query, columns, found, calls, unrecorded)

    def _now_ms(self) -> int:
        return self._tracker.clock.now().unix_ms

    # The ledgers ------------------------------------------------------------------------------------------------------

    def _inconsistent(self, tenant_id: str | None) -> list[LedgerDifference]:
        return [
            LedgerDifference(
                found.tenant_id,
                found.what,
                (Ledger.REGISTRY, Ledger.LIVE),
                (Figure.exact(found.expected), Figure.exact(found.found)),
            )
            for found in self._registry.read().inconsistencies
            if tenant_id is None or found.tenant_id == tenant_id
        ]

    async def _counted(self) -> tuple[Amounts, float]:
        age = await self._live.refreshed(LIVE_SECONDS)
        return live_amounts(self._live.store), age

    def _in_hand(self, query: ReconcileQuery) -> list[CallSnapshot]:
        calls = self._tracker.open_calls()
        return [call for call in calls if query.tenant_id is None or call.tenant_id == query.tenant_id]

    async def _kept(self, query: ReconcileQuery, *, flushed: bool, running: bool = False) -> _Kept:
        try:
            rows = await self._records.rows(query)
            open_rows = await self._records.open_calls() if running else []
        except DATABASE_ERRORS as error:
            return _Kept(Column(State.UNREACHABLE, f"The database does not answer: {failure_reason(error)}"))
        column = Column(State.COMPARED, rows=rows)
        wanted = [row for row in open_rows if query.tenant_id is None or row.tenant_id == query.tenant_id]
        return _Kept(column if flushed else column.behind(self._waiting()), wanted)

    def _waiting(self) -> str:
        health = self._call_records.health()
        return f"{health.waiting} records wait to be written, {health.spilled_bytes} bytes are spilled."


def _live(rows: Rows, age_seconds: float) -> Column:
    column = Column(State.COMPARED, rows=rows, age_seconds=age_seconds)
    return column.behind("An export holds the live counters up.") if age_seconds else column


def _under(column: Column, rows: Rows) -> Column:
    """The same by the names the metrics count tenants under."""
    return replace(column, rows=regrouped(column.rows, rows))
