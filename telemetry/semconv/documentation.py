"""Writes ``docs/metrics.md`` from the catalogue: ``python -m telemetry.semconv.documentation [--check]``."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from telemetry.semconv.attributes import ATTRIBUTES, CONVENTION_ATTRIBUTES, Attribute
from telemetry.semconv.catalogue import INSTRUMENTS, METER_NAME
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from telemetry.semconv.instrument import Instrument, Kind

PATH: Final = Path("docs/metrics.md")

_SUFFIX: Final = {"s": "_seconds", "By": "_bytes"}
# Appended for a unit by Prometheus' default translation of OTLP; units in braces add nothing, and 1 only to a gauge.

_HEAD: Final = f"""# Metrics and attributes

Generated from `telemetry/semconv/` by `python -m telemetry.semconv.documentation`; do not edit.

Meter scope: `{METER_NAME}`. Units are UCUM. The name in Prometheus is that of its default translation of OTLP.

## Instruments
"""

_ATTRIBUTES_HEAD: Final = """
## Attributes

`metric` attributes may stand on metrics, spans and logs; `trace` ones on spans and logs only; `personal` ones on spans
and logs only in masked or hashed form, or where a tenant switched content on.
"""


def render() -> str:
    """Return the page."""
    every = sorted((*ATTRIBUTES, *GENAI_ATTRIBUTES, *CONVENTION_ATTRIBUTES), key=lambda attribute: attribute.key)
    return "\n".join([_HEAD, *_instruments(), _ATTRIBUTES_HEAD, *_attributes(every), ""])


def prometheus_name(instrument: Instrument) -> str:
    """Return the instrument's name in Prometheus, a histogram's without ``_bucket``, ``_sum`` and ``_count``."""
    ratio = "_ratio" if instrument.unit == "1" and instrument.kind is Kind.OBSERVABLE_GAUGE else ""
    base = instrument.name.replace(".", "_") + _SUFFIX.get(instrument.unit, ratio)
    return f"{base}_total" if instrument.kind in (Kind.COUNTER, Kind.OBSERVABLE_COUNTER) else base


def main(arguments: list[str] | None = None) -> int:
    """Write the page; with ``--check``, return 1 if the file differs from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    page = render()
    if not parser.parse_args(arguments).check:
        PATH.write_text(page)
        return 0
    if PATH.exists() and PATH.read_text() == page:
        return 0
    sys.stderr.write(f"{PATH} is not what the catalogue says; run: python -m telemetry.semconv.documentation\n")
    return 1


def _instruments() -> Iterable[str]:
    yield "| instrument | kind | unit | meaning | attributes | live field | in Prometheus |"
    yield "|---|---|---|---|---|---|---|"
    for instrument in INSTRUMENTS:
        attributes = ", ".join(f"`{key}`" for key in instrument.attributes)
        fields = ", ".join(f"`{live.field}`" for live in instrument.live if live.public)
        yield _row(
            f"`{instrument.name}`",
            instrument.kind,
            f"`{instrument.unit}`",
            instrument.description,
            attributes,
            fields,
            f"`{prometheus_name(instrument)}`",
        )


def _attributes(attributes: Iterable[Attribute]) -> Iterable[str]:
    yield "| attribute | where it may go | meaning | values |"
    yield "|---|---|---|---|"
    for attribute in attributes:
        values = ", ".join(f"`{value}`" for value in attribute.values)
        yield _row(f"`{attribute.key}`", attribute.exposure, attribute.meaning, values)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
