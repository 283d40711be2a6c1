"""A process in miniature: calls counted by the real telemetry, recorded in a real database, and both compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from sqlalchemy import text

from service.reconciliation.call_findings import CallNames
from service.reconciliation.exported import BackendColumn, NoBackend, PrometheusColumn, PrometheusLedger
from service.reconciliation.fleet_sums import FleetSums, FleetSumsUnreadError, StoreColumn
from service.reconciliation.promql import Sample, ServiceSelector
from service.reconciliation.reconciliation import LedgerReader, Reconciled, Reconciliation
from service.reconciliation.records import RecordsLedger
from service.records.calls import CallRecords
from service.storage.database import Database
from telemetry.calls.call import Call
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason, WebhookOutcome
from telemetry.setup import start_telemetry
from telemetry.testing import FakeClock
from tests.service.records.harness import QUICK

BUDGET = 20.0
"""Seconds a flush may take on a busy machine."""

HEARTBEAT_MS = 5_000
LATE_MS = 10_000

NO_EXPORT = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


@dataclass
class FakeBackend:
    """Answers what it is told to, by a part of the expression that asks."""

    answers: dict[str, list[Sample]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def query(self, expression: str, at_ms: int) -> list[Sample]:  # noqa: ARG002 -- the protocol's signature
        self.asked.append(expression)
        return next((samples for part, samples in self.answers.items() if part in expression), [])


class FakeSums:
    """The counts of one process as the sums of a fleet."""

    def __init__(self, live: LiveMetricsReader, since_ms: int) -> None:
        self.live, self.since_ms = live, since_ms
        self.missing: dict[tuple[str, str], float] = {}
        """What the store has too little of, by tenant and field of the live view."""
        self.away = ""
        """Why it cannot be read."""

    async def read(self) -> Mapping[str, Mapping[str, float]]:
        if self.away:
            raise FleetSumsUnreadError(self.away)
        await self.live.refreshed()
        found = self.live.store.by_tenant()
        for (tenant_id, name), amount in self.missing.items():
            found[tenant_id][name] -= amount
        return found


class ReconciliationHarness:
    """One process: its calls, its records, and the comparison of both."""

    def __init__(self, database: Database, folder: Path, *, clock: FakeClock | None = None) -> None:
        self.database = database
        self.clock = clock or FakeClock()
        self.instance: UUID = uuid4()
        self.call_records = CallRecords(
            database, instance_id=str(self.instance), spill_folder=folder, clock=self.clock, pace=QUICK
        )
        self.telemetry = start_telemetry(
            NO_EXPORT, clock=self.clock, sinks=[self.call_records.sink], instance=self.instance, strict=True
        )
        self.tracker = self.telemetry.tracker
        self.records = RecordsLedger(database, str(self.instance), overlap_ms=LATE_MS)
        self.started_ms = self.now_ms
        self.comparison = self._comparison(NoBackend())
        self._calls = 0

    @property
    def now_ms(self) -> int:
        return self.clock.now().unix_ms

    def exports_to(self, backend: FakeBackend) -> None:
        """Compare with this backend too."""
        ledger = PrometheusLedger(backend, ServiceSelector("callscope", str(self.instance)))
        self.comparison = self._comparison(
            PrometheusColumn(ledger, self.records, self.clock, heartbeat_ms=HEARTBEAT_MS, late_ms=LATE_MS)
        )

    # Calls ------------------------------------------------------------------------------------------------------------

    def announced(self, tenant_id: str = "acme", call_id: str | None = None) -> Call:
        """A call nobody has decided about."""
        self._calls += 1
        return self.tracker.received(call_id or f"rtc_{self._calls}", tenant_id)

    def running(self, tenant_id: str = "acme", call_id: str | None = None) -> Call:
        """A call that runs."""
        call = self.announced(tenant_id, call_id)
        self.clock.advance(0.5)
        call.accepted()
        self.clock.advance(0.25)
        call.started()
        return call

    def talked(self, tenant_id: str = "acme", seconds: float = 61.25, call_id: str | None = None) -> Call:
        """A call that is over."""
        call = self.running(tenant_id, call_id)
        self.clock.advance(seconds)
        call.ended(EndReason.HANGUP)
        return call

    def a_day(self) -> None:
        """Calls of every kind, of two tenants."""
        self.talked()
        self.talked("globex", 10)
        self.announced("globex").rejected(RejectionReason.CAPACITY)
        self.announced("_unknown").rejected(RejectionReason.TENANT_NOT_CONFIGURED)
        self.announced().rejected(RejectionReason.INSTRUCTIONS_MISSING)
        self.announced().rejected(RejectionReason.CARRIER_ERROR, error_type="500")
        for reason in UnansweredReason:
            self.announced().unanswered(reason)
        failed = self.running()
        failed.ended(EndReason.ERROR, error_type="ws_1011")
        left = self.announced()
        left.accepted()
        left.abandoned(EndReason.HANGUP)
        referred = self.running("globex")
        referred.referred("sales")
        referred.ended(EndReason.REFERRED)
        self.running().ended(EndReason.STALE)
        goes_on = self.running()
        self.clock.advance(7.0)
        goes_on.heartbeat()
        self.announced("globex")

    # What is planted --------------------------------------------------------------------------------------------------

    def count(self, instrument: str, amount: float, tenant_id: str, **labels: str) -> None:
        """Count what no call has done."""
        counter = self.telemetry.meter.create_counter(instrument, "s" if instrument == "voice.call.time" else "{call}")
        counter.add(amount, {"tenant.id": tenant_id} | {key.replace("_", "."): value for key, value in labels.items()})
        # The live view folds once something was reported.
        self.tracker.webhook(WebhookOutcome.IGNORED)

    async def sql(self, statement: str, **values: Any) -> None:  # noqa: ANN401 -- of every type
        """Change the records behind everybody's back."""
        await self.flushed()
        async with self.database.writing() as session:
            await session.execute(text(statement), values)

    # Comparing --------------------------------------------------------------------------------------------------------

    async def flushed(self) -> None:
        """Wait until the database has everything."""
        assert await self.call_records.flush(BUDGET), self.call_records.health()

    async def compared(self, tenant_id: str | None = None) -> Reconciled:
        """The comparison since the start."""
        return await self.comparison.compare(self.comparison.since_start(tenant_id))

    async def __aenter__(self) -> Self:
        await self.call_records.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.call_records.stop(1.0)
        self.telemetry.shutdown()

    def in_a_fleet(self) -> "FakeSums":
        """Compare with a store that has what this process counts, and what a test says otherwise."""
        sums = FakeSums(self.telemetry.live, self.started_ms)
        self.comparison = self._comparison(NoBackend(), sums)
        return sums

    def _comparison(self, column: BackendColumn, sums: FleetSums | None = None) -> Reconciliation:
        store = StoreColumn(sums)
        reader = LedgerReader(
            self.telemetry.live, self.tracker, self.call_records, self.records, column, store, sleep=_at_once
        )
        names = CallNames(self.telemetry.recent, self.records, str(self.instance))
        return Reconciliation(reader, names, self.clock, started_ms=self.started_ms, sleep=_at_once)


async def _at_once(_seconds: float) -> None:
    """What was on its way has arrived."""


def figures(found: Reconciled, ledger: str, tenant_id: str) -> Mapping[str, float]:
    """What a ledger says of a tenant, without the zeros."""
    rows = {str(known): column.rows for known, column in found.columns.items()}
    return {field: figure.value for field, figure in rows[ledger][tenant_id].items() if figure.value}


def told(found: Reconciled) -> Sequence[tuple[str | None, str, tuple[float, float]]]:
    """Each difference: tenant, field, and what the two ledgers say."""
    return [(d.tenant_id, d.field, (d.figures[0].value, d.figures[1].value)) for d in found.differences]
