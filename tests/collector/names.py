"""How an instrument is called in Prometheus, by its default translation (`UnderscoreEscapingWithSuffixes`)."""

from collections.abc import Iterator

from telemetry.semconv.catalogue import INSTRUMENTS
from telemetry.semconv.instrument import Instrument, Kind

UNIT_SUFFIXES = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}
"""Units in braces, as `{call}`, leave no trace in the name; nor does the ratio of a histogram."""

RECORDED = ":"
"""A colon marks the name of a recording rule's series, by Prometheus' convention."""


def prometheus_names(instrument: Instrument) -> frozenset[str]:
    """The names of the instrument's series in Prometheus."""
    suffix = (
        "" if (instrument.kind, instrument.unit) == (Kind.HISTOGRAM, "1") else UNIT_SUFFIXES.get(instrument.unit, "")
    )
    base = instrument.name.replace(".", "_") + suffix
    match instrument.kind:
        case Kind.COUNTER | Kind.OBSERVABLE_COUNTER:
            return frozenset({f"{base}_total"})
        case Kind.HISTOGRAM:
            return frozenset({f"{base}_bucket", f"{base}_sum", f"{base}_count"})
        case _:
            return frozenset({base})


def catalogue_names() -> frozenset[str]:
    """The names of everything in the catalogue."""
    return frozenset(_names())


def _names() -> Iterator[str]:
    for instrument in INSTRUMENTS:
        yield from prometheus_names(instrument)
