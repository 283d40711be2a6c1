"""The safety of records as metrics: what an operator must be told of before records are lost."""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import Observation

from service.records.calls import CallRecords, RecordsHealth, RecordsState
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue
from telemetry.semconv.instrument import Instrument
from telemetry.setup import Telemetry


def observe_records(telemetry: Telemetry, records: CallRecords) -> None:
    """Register the instruments about call records, which are read with each export."""

    def number(instrument: Instrument, of: Callable[[RecordsHealth], float]) -> None:
        telemetry.observe(instrument, lambda: [Observation(of(records.health()))])

    def states() -> Iterable[Observation]:
        present = records.health().state
        return [Observation(int(state is present), {attr.RECORDS_STATE: state.value}) for state in RecordsState]

    telemetry.observe(catalogue.RECORDS_STATE, states)
    number(catalogue.RECORDS_WAITING, lambda health: health.waiting)
    number(catalogue.RECORDS_SPILLED, lambda health: health.spilled_bytes)
    telemetry.observe(catalogue.RECORDS_ROOM, lambda: [Observation(records.spill_room())])
    number(catalogue.RECORDS_REFUSED, lambda health: health.refused)
    number(catalogue.RECORDS_UNKEPT, lambda health: health.unkept)
    number(catalogue.DATABASE_AWAY, lambda health: health.database_away_seconds or 0.0)
