"""The instruments of the program's own health: its exports, its sinks, its records and their database."""

from typing import Final

from telemetry.semconv import attributes as attr
from telemetry.semconv.instrument import Instrument, Kind

EXPORT_FAILURES = Instrument(
    "callscope.export.consecutive_failures",
    Kind.OBSERVABLE_GAUGE,
    "{failure}",
    "Exports that failed since the last one that succeeded.",
    (attr.SIGNAL,),
    series_per_tenant=0,
)
EXPORT_AGE = Instrument(
    "callscope.export.age",
    Kind.OBSERVABLE_GAUGE,
    "s",
    "Time since the last export that succeeded.",
    (attr.SIGNAL,),
    series_per_tenant=0,
)
EXPORT_DROPPED = Instrument(
    "callscope.export.dropped",
    Kind.OBSERVABLE_COUNTER,
    "{item}",
    "Spans and log records dropped before they could be exported.",
    (attr.SIGNAL,),
    series_per_tenant=0,
)
EXPORT_REJECTED = Instrument(
    "callscope.export.rejected",
    Kind.OBSERVABLE_COUNTER,
    "{item}",
    "Items the receiver took the request of but rejected (partial success).",
    (attr.SIGNAL,),
    series_per_tenant=0,
)
SINK_FAILURES = Instrument(
    "callscope.sink.failures",
    Kind.OBSERVABLE_COUNTER,
    "{failure}",
    "Events a telemetry sink failed on.",
    series_per_tenant=0,
)

RECORDS_STATE = Instrument(
    "callscope.records.state",
    Kind.OBSERVABLE_GAUGE,
    "{state}",
    "How safe call records are: 1 for the present state, 0 for the others.",
    (attr.RECORDS_STATE,),
    series_per_tenant=0,
)
RECORDS_WAITING = Instrument(
    "callscope.records.waiting",
    Kind.OBSERVABLE_GAUGE,
    "{record}",
    "Call records that are neither in the database nor in the spill yet.",
    series_per_tenant=0,
)
RECORDS_SPILLED = Instrument(
    "callscope.records.spill.size",
    Kind.OBSERVABLE_GAUGE,
    "By",
    "Call records in files, which the database is to take.",
    series_per_tenant=0,
)
RECORDS_ROOM = Instrument(
    "callscope.records.spill.room",
    Kind.OBSERVABLE_GAUGE,
    "By",
    "Room for more of them: up to their bound, or as far as the disk has it.",
    series_per_tenant=0,
)
RECORDS_REFUSED = Instrument(
    "callscope.records.refused",
    Kind.OBSERVABLE_COUNTER,
    "{record}",
    "Call records that were lost: refused by the database, or past all room for them.",
    series_per_tenant=0,
)
RECORDS_UNKEPT = Instrument(
    "callscope.records.unkept",
    Kind.OBSERVABLE_COUNTER,
    "{record}",
    "Calls that went on while their record was nowhere but in memory.",
    series_per_tenant=0,
)
DATABASE_AWAY = Instrument(
    "callscope.records.database_away",
    Kind.OBSERVABLE_GAUGE,
    "s",
    "Time since the database stopped taking call records; 0 while it takes them.",
    series_per_tenant=0,
)

PROCESS_STOPPING = Instrument(
    "callscope.process.stopping",
    Kind.OBSERVABLE_GAUGE,
    "{process}",
    "1 once the process was told to stop, up to its last export, 0 before: silence after a 0 is no orderly end.",
    series_per_tenant=0,
)

HEALTH_INSTRUMENTS: Final = (
    EXPORT_FAILURES,
    EXPORT_AGE,
    EXPORT_DROPPED,
    EXPORT_REJECTED,
    SINK_FAILURES,
    RECORDS_STATE,
    RECORDS_WAITING,
    RECORDS_SPILLED,
    RECORDS_ROOM,
    RECORDS_REFUSED,
    RECORDS_UNKEPT,
    DATABASE_AWAY,
    PROCESS_STOPPING,
)
"""All of them, in the order of the generated page."""
