"""The safety of records as metrics: what an operator must be told of before records are lost."""

from collections.abc import Callable, Iterable

from opentelemetry.metrics import Observation

from service.records.calls import CallRecords, RecordsHealth, RecordsState
from telemetry.metrics.gauges import Observe
from telemetry.semconv import attributes as attr
from telemetry.semconv import own_health
from telemetry.semconv.instrument import Instrument


def observe_records(observe: Callable[[Instrument, Observe], None], records: CallRecords) -> None:
    """Register the instruments about call records by ``observe``; each is read with an export, in its thread."""

    def number(instrument: Instrument, of: Callable[[RecordsHealth], float]) -> None:
        observe(instrument, lambda: [Observation(of(records.health()))])

    def states() -> Iterable[Observation]:
        present = records.health().state
        return [Observation(int(state is present), {attr.RECORDS_STATE: state.value}) for state in RecordsState]

    observe(own_health.RECORDS_STATE, states)
    number(own_health.RECORDS_WAITING, lambda health: health.waiting)
    number(own_health.RECORDS_SPILLED, lambda health: health.spilled_bytes)
    observe(own_health.RECORDS_ROOM, lambda: [Observation(records.spill_room())])
    number(own_health.RECORDS_REFUSED, lambda health: health.refused)
    number(own_health.RECORDS_UNKEPT, lambda health: health.unkept)
    number(own_health.DATABASE_AWAY, lambda health: health.database_away_seconds or 0.0)
