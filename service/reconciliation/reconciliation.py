"""The comparison of all ledgers, with the calls behind what does not agree."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE

from service.reconciliation.backend import PrometheusBackend
from service.reconciliation.call_findings import CallNames, FoundCall
from service.reconciliation.exported import BackendColumn, NoBackend, PrometheusColumn, PrometheusLedger
from service.reconciliation.ledgers import FINE, Column, Key, Ledger, LedgerDifference
from service.reconciliation.promql import ServiceSelector
from service.reconciliation.query import ReconcileQuery, Scope
from service.reconciliation.reading import LedgerReader, Reading
from service.reconciliation.records import RecordsLedger
from service.records.calls import HEARTBEAT_SECONDS, CallRecords
from service.settings import Settings
from service.storage.database import DATABASE_ERRORS, Database
from telemetry.clock import Clock
from telemetry.setup import Telemetry

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
        """This process's calls, since it started."""
        return ReconcileQuery(Scope.PROCESS, self._started_ms, self._now_ms(), tenant_id)

    def window(self, start_ms: int, end_ms: int, tenant_id: str | None = None) -> ReconcileQuery:
        """All processes' calls in a window; what of it is to come is left off."""
        return ReconcileQuery(Scope.FLEET, start_ms, min(end_ms, self._now_ms()), tenant_id)

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
        """The calls behind a process's differences; records and backends share no names of calls."""
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
    settings: Settings, telemetry: Telemetry, database: Database, call_records: CallRecords, instance_id: str
) -> Reconciliation:
    """The comparison of what this process counts; ``instance_id`` is the one its records have."""
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
    )
    names = CallNames(telemetry.recent, records, instance_id)
    return Reconciliation(reader, names, clock, started_ms=clock.now().unix_ms)


def speaker_of(resource: Mapping[str, object]) -> ServiceSelector:
    """The labels Prometheus gives what a resource sends."""
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
