"""The comparison of all ledgers, with the calls behind what does not agree."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE

from service.reconciliation.call_findings import CallNames, Finding, FoundCall, Known, not_running, unknown_open
from service.reconciliation.consistency import Reconciler
from service.reconciliation.counters import Amounts, between, live_amounts, registry_rows
from service.reconciliation.exported import BackendColumn, NoBackend, PrometheusColumn, PrometheusLedger
from service.reconciliation.figures import Figure, Interval, ReconcileQuery, Rows, Scope, regrouped
from service.reconciliation.fleet_sums import ARRIVAL_SECONDS, FleetSums, FleetSumsUnreadError, StoreColumn, killed_of
from service.reconciliation.ledgers import FINE, Column, Key, Ledger, LedgerDifference, State, differences
from service.reconciliation.promql import PrometheusBackend, ServiceSelector
from service.reconciliation.records import Instance, Recorded, RecordsLedger
from service.records.calls import HEARTBEAT_SECONDS, CallRecords
from service.settings import Settings
from service.storage.database import DATABASE_ERRORS, Database, failure_reason
from telemetry.calls.call import CallSnapshot
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Clock
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.setup import Telemetry

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
class _RecordedColumn:
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
        store: StoreColumn,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._live = live
        self._tracker = tracker
        self._call_records = call_records
        self._records = records
        self._prometheus = prometheus
        self.store = store
        """The sums of the fleet."""
        self._sleep = sleep
        self._registry = Reconciler(live, tracker)

    async def read(self, query: ReconcileQuery) -> Reading:
        """Read and compare. No ledger's failure is raised: it is the state of its column."""
        if query.scope is Scope.PROCESS:
            return await self._since_start(query)
        return await (self._of_the_fleet(query) if self.store.covers(query) else self._in_window(query))

    async def _in_window(self, query: ReconcileQuery, summed: Amounts | None = None) -> Reading:
        flushed = await self.settled()
        kept = await self._kept(query, flushed=flushed)
        exported = await self._prometheus.read(query)
        labels = {*exported.rows, *(summed or {})}
        columns = {
            Ledger.LIVE: _OTHER_WINDOW,
            Ledger.REGISTRY: _OTHER_WINDOW,
            Ledger.RECORDS: _under(kept.column, labels),
            Ledger.STORE: self.store.other_window(),
            Ledger.PROMETHEUS: exported,
        }
        return Reading(query, columns, list(differences(columns, Ledger.RECORDS, Ledger.PROMETHEUS)))

    async def _of_the_fleet(self, query: ReconcileQuery) -> Reading:
        """Read the sums before and after all else: what is counted meanwhile lies between them."""
        try:
            before = await self.store.amounts()
            await self.settled()
            await self._sleep(ARRIVAL_SECONDS)
            query = replace(query, end_ms=self._now_ms() + 1)
            reading = await self._in_window(query, before)
            await self._sleep(ARRIVAL_SECONDS)
            after = await self.store.amounts()
            killed = killed_of(await self._records.instances(Interval(query.start_ms, query.end_ms)), self._now_ms())
        except FleetSumsUnreadError as error:
            reading = await self._in_window(query)
            reading.columns[Ledger.STORE] = Column(State.UNREACHABLE, str(error))
            return reading
        except DATABASE_ERRORS:
            return reading
        reading.columns[Ledger.STORE] = self.store.column(before, after, query.tenant_id, killed)
        found = list(differences(reading.columns, Ledger.RECORDS, Ledger.STORE))
        unsent = await self._unsent(found, killed)
        return replace(reading, differences=[*reading.differences, *found], calls=[*reading.calls, *unsent])

    async def _unsent(self, found: Sequence[LedgerDifference], killed: Sequence[Instance]) -> list[FoundCall]:
        """Return the calls that may be behind differences: recorded in the last second of a process that was killed."""
        tenants = {difference.tenant_id for difference in found}
        try:
            rows = await self._records.last_of(killed) if tenants else []
        except DATABASE_ERRORS:
            return []
        return [
            FoundCall(row.call_id, row.tenant_id, Finding.NOT_SENT, None, row.state)
            for row in rows
            if row.tenant_id in tenants
        ]

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
            Ledger.STORE: self.store.other_window(),
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

    async def _kept(self, query: ReconcileQuery, *, flushed: bool, running: bool = False) -> _RecordedColumn:
        try:
            rows = await self._records.rows(query)
            open_rows = await self._records.open_calls() if running else []
        except DATABASE_ERRORS as error:
            return _RecordedColumn(Column(State.UNREACHABLE, f"The database does not answer: {failure_reason(error)}"))
        column = Column(State.COMPARED, rows=rows)
        wanted = [row for row in open_rows if query.tenant_id is None or row.tenant_id == query.tenant_id]
        return _RecordedColumn(column if flushed else column.behind(self._waiting()), wanted)

    def _waiting(self) -> str:
        health = self._call_records.health()
        return f"{health.waiting} records wait to be written, {health.spilled_bytes} bytes are spilled."


def _live(rows: Rows, age_seconds: float) -> Column:
    column = Column(State.COMPARED, rows=rows, age_seconds=age_seconds)
    return column.behind("An export holds the live counters up.") if age_seconds else column


def _under(column: Column, labels: Iterable[str]) -> Column:
    """Return the same by the names the metrics count tenants under."""
    return replace(column, rows=regrouped(column.rows, labels))


PAUSE_SECONDS: Final = 1.0
"""Before a difference is looked at once more: what was on its way has arrived by then."""
MAX_CALLS: Final = 100
"""Calls that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The result of a comparison."""

    query: ReconcileQuery
    as_of_ms: int
    columns: dict[Ledger, Column]
    differences: tuple[LedgerDifference, ...]
    calls: tuple[FoundCall, ...]
    """The first calls behind them."""
    calls_left_out: int

    @property
    def consistent(self) -> bool:
        """True if nothing that was compared differs."""
        return not self.differences and not self.calls

    @property
    def complete(self) -> bool:
        """True if every configured ledger could be compared, and there was another to compare it with."""
        comparable = sum(column.comparable for column in self.columns.values())
        return comparable > 1 and all(column.state in FINE for column in self.columns.values())


class Reconciliation:
    """Compares the ledgers of one process or of all."""

    def __init__(
        self,
        reader: LedgerReader,
        names: CallNames,
        clock: Clock,
        *,
        started_ms: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reader = reader
        self._names = names
        self._clock = clock
        self._started_ms = started_ms
        self._sleep = sleep
        self._one_at_a_time = asyncio.Lock()
        # Each reads every record of its window.

    def since_start(self, tenant_id: str | None = None) -> ReconcileQuery:
        """Return this process's calls, since it started."""
        return ReconcileQuery(Scope.PROCESS, self._started_ms, self._now_ms(), tenant_id)

    def window(self, start_ms: int, end_ms: int, tenant_id: str | None = None) -> ReconcileQuery:
        """Return all processes' calls in a window; what of it is to come is left off."""
        return ReconcileQuery(Scope.FLEET, start_ms, min(end_ms, self._now_ms()), tenant_id)

    def since_fleet(self, tenant_id: str | None = None) -> ReconcileQuery | None:
        """Return all processes' calls since the fleet began to count; None where there is no fleet."""
        since_ms = self._reader.store.since_ms
        return None if since_ms is None else ReconcileQuery(Scope.FLEET, since_ms, self._now_ms(), tenant_id)

    async def compare(self, query: ReconcileQuery) -> Reconciled:
        """Read all ledgers, and what differs once more: only what differs again counts. One comparison at a time."""
        async with self._one_at_a_time:
            return await self._compare(query)

    async def _compare(self, query: ReconcileQuery) -> Reconciled:
        reading = await self._reader.read(query)
        suspects = {difference.key for difference in reading.differences}
        if suspects or reading.calls or reading.unrecorded:
            await self._sleep(PAUSE_SECONDS)
            again = await self._reader.read(query)
            reading = _confirmed(again, suspects, _named(reading))
        calls = await self._calls(reading)
        return Reconciled(
            reading.query,
            self._now_ms(),
            reading.columns,
            tuple(reading.differences),
            tuple(calls[:MAX_CALLS]),
            max(0, len(calls) - MAX_CALLS),
        )

    async def _calls(self, reading: Reading) -> list[FoundCall]:
        """Return the calls behind a process's differences; records and backends share no names of calls."""
        try:
            found = [*reading.calls, *await self._names.explained(reading.unrecorded)]
            if reading.query.scope is Scope.PROCESS:
                found += await self._behind(reading)
        except DATABASE_ERRORS:
            return list(reading.calls)
        return sorted({call.call_id: call for call in found}.values(), key=lambda call: (call.tenant_id, call.call_id))

    async def _behind(self, reading: Reading) -> list[FoundCall]:
        remembered = self._names.remembered(_tenants(reading.differences))
        if not remembered or not await self._reader.settled():
            return []
        return await self._names.behind(remembered, reading.query.start_ms)

    def _now_ms(self) -> int:
        return self._clock.now().unix_ms


def _confirmed(again: Reading, suspects: set[Key], calls: set[str]) -> Reading:
    return Reading(
        again.query,
        again.columns,
        [difference for difference in again.differences if difference.key in suspects],
        [call for call in again.calls if call.call_id in calls],
        [call for call in again.unrecorded if call.call_id in calls],
    )


def _named(reading: Reading) -> set[str]:
    return {call.call_id for call in reading.calls} | {call.call_id for call in reading.unrecorded}


def _tenants(differences: Iterable[LedgerDifference]) -> list[str]:
    """Return the tenants whose records differ from the counters."""
    return sorted({d.tenant_id for d in differences if d.tenant_id is not None and Ledger.RECORDS in d.ledgers})


LATE_BEATS = 2
"""A running call's time is counted at most so many heartbeats later: one that was quiet is asked first."""


def build_reconciliation(
    settings: Settings,
    telemetry: Telemetry,
    database: Database,
    call_records: CallRecords,
    instance_id: str,
    sums: FleetSums | None = None,
) -> Reconciliation:
    """Return the comparison of what this process counts; ``instance_id`` is the one its records have."""
    clock = telemetry.tracker.clock
    late_ms = round(LATE_BEATS * settings.call_heartbeat_seconds * 1000)
    records = RecordsLedger(database, instance_id, overlap_ms=late_ms)
    speaker = speaker_of(telemetry.pipelines.resource.attributes)
    reader = LedgerReader(
        telemetry.live,
        telemetry.tracker,
        call_records,
        records,
        _column(settings, speaker, records, telemetry, late_ms),
        StoreColumn(sums),
    )
    names = CallNames(telemetry.recent, records, instance_id)
    return Reconciliation(reader, names, clock, started_ms=clock.now().unix_ms)


def speaker_of(resource: Mapping[str, object]) -> ServiceSelector:
    """Return the labels Prometheus gives what a resource sends."""
    name, namespace = resource.get(SERVICE_NAME, ""), resource.get(SERVICE_NAMESPACE)
    return ServiceSelector(
        f"{namespace}/{name}" if namespace else str(name), str(resource.get(SERVICE_INSTANCE_ID, ""))
    )


def _column(
    settings: Settings, speaker: ServiceSelector, records: RecordsLedger, telemetry: Telemetry, late_ms: int
) -> BackendColumn:
    if settings.prometheus_url is None:
        return NoBackend()
    token = settings.prometheus_token
    backend = PrometheusBackend(
        settings.prometheus_url.get_secret_value(), None if token is None else token.get_secret_value()
    )
    ledger = PrometheusLedger(backend, speaker)
    heartbeat_ms = round(HEARTBEAT_SECONDS * 1000)
    return PrometheusColumn(ledger, records, telemetry.tracker.clock, heartbeat_ms=heartbeat_ms, late_ms=late_ms)
