"""Puts the comparison together from the parts of a running service."""

from collections.abc import Mapping

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_NAMESPACE

from service.database import Database
from service.reconciliation.backend import PrometheusBackend
from service.reconciliation.backend_column import BackendColumn, NoBackend, PrometheusColumn
from service.reconciliation.exported import PrometheusLedger
from service.reconciliation.naming import CallNames
from service.reconciliation.promql import Speaker
from service.reconciliation.reading import LedgerReader
from service.reconciliation.reconciliation import Reconciliation
from service.reconciliation.records import RecordsLedger
from service.records.calls import BEAT_SECONDS, CallRecords
from service.settings import Settings
from telemetry.setup import Telemetry

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
    return Reconciliation(reader, names, clock, started_ms=clock.now().unix_nanos // 1_000_000)


def speaker_of(resource: Mapping[str, object]) -> Speaker:
    """The labels Prometheus gives what a resource sends."""
    name, namespace = resource.get(SERVICE_NAME, ""), resource.get(SERVICE_NAMESPACE)
    return Speaker(f"{namespace}/{name}" if namespace else str(name), str(resource.get(SERVICE_INSTANCE_ID, "")))


def _column(
    settings: Settings, speaker: Speaker, records: RecordsLedger, telemetry: Telemetry, late_ms: int
) -> BackendColumn:
    if settings.prometheus_url is None:
        return NoBackend()
    token = settings.prometheus_token
    backend = PrometheusBackend(
        settings.prometheus_url.get_secret_value(), None if token is None else token.get_secret_value()
    )
    ledger = PrometheusLedger(backend, speaker)
    beat_ms = round(BEAT_SECONDS * 1000)
    return PrometheusColumn(ledger, records, telemetry.tracker.clock, beat_ms=beat_ms, late_ms=late_ms)
