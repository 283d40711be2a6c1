"""The table of series as text for Prometheus: its own format 0.0.4, and OpenMetrics 1.0 with exemplars.

Names and labels are those of the Collector's and Prometheus' default translation of OTLP
(``UnderscoreEscapingWithSuffixes``), so that dashboards and rules do not tell by which way a number came.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf, isinf, isnan
from typing import Any, Final

from opentelemetry.sdk.metrics.export import ExponentialHistogram, Histogram
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import Attributes

from telemetry.export.points import Pace
from telemetry.metrics.series import Descriptor, Extent, KeptExemplar, Pin, Series, SeriesTable

PROMOTED: Final = ("deployment.environment.name", "service.version")
"""Resource attributes that stand on every series, as the shipped settings of Prometheus promote them."""

_STRETCH: Final = 20
# Series written in one go, with the table's lock held.

_UNITS: Final[Mapping[str, str]] = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
_PER: Final[Mapping[str, str]] = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_A_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_EXEMPLAR_CHARACTERS: Final = 128
# OpenMetrics 1.0, §Exemplars: names and values of an exemplar's labels together.


def metric_name(descriptor: Descriptor) -> str:
    """Return a stream's name in Prometheus, a histogram's without ``_bucket``, ``_sum`` and ``_count``."""
    tokens = [token for token in _NOT_IN_A_NAME.split(descriptor.name.replace("_", " ")) if token]
    main, _, per = re.sub(r"\{[^}]*\}", "", descriptor.unit).partition("/")
    suffixes = [_UNITS.get(main.strip(), _NOT_IN_A_NAME.sub("", main))] if main.strip() not in ("", "1") else []
    if per.strip():
        suffixes += ["per", _PER.get(per.strip(), _NOT_IN_A_NAME.sub("", per))]
    if suffixes and not all(suffix in tokens for suffix in suffixes):
        tokens += suffixes
    if descriptor.unit == "1" and not descriptor.grows:
        tokens = [token for token in tokens if token != "ratio"] + ["ratio"]  # noqa: S105 -- part of a name
    if descriptor.monotonic:
        tokens = [token for token in tokens if token != "total"] + ["total"]  # noqa: S105 -- the same
    name = "_".join(tokens)
    return f"_{name}" if name[:1].isdigit() else name


def label_name(key: str) -> str:
    """Return an attribute's name as a label."""
    name = _NOT_IN_A_LABEL.sub("_", key)
    return f"key_{name}" if name[:1].isdigit() else name


def resource_labels(resource: Resource) -> str:
    """Return ``job``, ``instance`` and the promoted attributes as label pairs, comma-separated."""
    attributes = resource.attributes
    job = "/".join(str(attributes[key]) for key in ("service.namespace", "service.name") if attributes.get(key))
    labels = {"job": job, "instance": attributes.get("service.instance.id")}
    return _pairs(
        {key: value for key, value in labels.items() if value} | {k: attributes[k] for k in PROMOTED if k in attributes}
    )


@dataclass(slots=True)
class _Family:
    """All streams of one name."""

    name: str
    kind: str
    descriptor: Descriptor
    extents: list[Extent]


class Exposition:
    """One pinned moment as text.

    Args:
        table: where the series are.
        pin: the moment.
        resource: who is speaking.
        open_metrics: true for OpenMetrics, which has exemplars and the times at which series began.
        pace: lets others work while many series are written.

    """

    def __init__(
        self, table: SeriesTable, pin: Pin, resource: Resource, *, open_metrics: bool, pace: Pace = iter
    ) -> None:
        self._table = table
        self._pin = pin
        self._resource = resource
        self._common = resource_labels(resource)
        self._reserved = {"job", "instance", *map(label_name, PROMOTED)}
        self._open = open_metrics
        self._pace = pace
        self._labels: dict[int, str] = {}
        self._endings: dict[int, list[str]] = {}

    def parts(self) -> Iterator[str]:
        """Yield the text in parts of some kilobytes; each is written from one stretch of series."""
        yield self._target_info()
        for family in self._families():
            yield self._heading(family)
            for extent in family.extents:
                for first in self._pace(range(0, extent.size, _STRETCH)):
                    yield self._stretch(family, extent, first)
        if self._open:
            yield "# EOF\n"

    def _stretch(self, family: _Family, extent: Extent, first: int) -> str:
        write = self._histogram if family.kind == "histogram" else self._number
        with self._table.lock:
            return "".join([write(family, extent, state) for _, state in self._pin.series(extent, first, _STRETCH)])

    def _families(self) -> Iterable[_Family]:
        found: dict[str, _Family] = {}
        for extent in self._pin.extents:
            descriptor = extent.stream.descriptor
            if descriptor.data in (Histogram, ExponentialHistogram):
                kind = "histogram"
            else:
                kind = "counter" if descriptor.monotonic else "gauge"
            family = found.setdefault(metric_name(descriptor), _Family(metric_name(descriptor), kind, descriptor, []))
            # Two instruments of one name and different kinds cannot both be told; the first one is.
            if family.kind == kind:
                family.extents.append(extent)
        return found.values()

    def _heading(self, family: _Family) -> str:
        name = family.name.removesuffix("_total") if self._open and family.kind == "counter" else family.name
        text = family.descriptor.description.replace("\\", "\\\\").replace("\n", "\\n")
        if self._open:
            text = text.replace('"', '\\"')
        return f"# TYPE {name} {family.kind}\n# HELP {name} {text}\n"

    def _target_info(self) -> str:
        others = {
            key: value
            for key, value in self._resource.attributes.items()
            if key not in ("service.name", "service.namespace", "service.instance.id", *PROMOTED)
        }
        labels = ",".join(filter(None, [self._common, _pairs(others)]))
        if self._open:
            return f"# TYPE target info\n# HELP target Target metadata\ntarget_info{{{labels}}} 1\n"
        return f"# TYPE target_info gauge\n# HELP target_info Target metadata\ntarget_info{{{labels}}} 1\n"

    def _number(self, family: _Family, _extent: Extent, state: Series) -> str:
        labels = self._labels_of(state.attributes)
        line = f"{family.name}{{{labels}}} {_value(state.total.value)}"
        if family.kind == "gauge" or not self._open:
            return line + "\n"
        exemplar = _exemplar(state.exemplars[0]) if state.exemplars else ""
        created = f"{family.name.removesuffix('_total')}_created{{{labels}}} {_seconds(state.start)}\n"
        return f"{line}{exemplar}\n{created}"

    def _histogram(self, family: _Family, extent: Extent, state: Series) -> str:
        name, labels, total = family.name, self._labels_of(state.attributes), state.total
        exponential = family.descriptor.data is ExponentialHistogram
        endings = self._endings_of(extent, exponential=exponential)
        counts = (total.count,) if exponential else total.counts
        lines = [f"{ending}{count}" for ending, count in zip(endings, accumulate(counts), strict=True)]
        count = lines[-1][len(endings[-1]) :]
        if self._open and not exponential:
            for exemplar in state.exemplars:
                lines[exemplar.bucket] += _exemplar(exemplar)
        # What all lines begin with is put between them in one go.
        separator = "," if labels else ""
        buckets = f"\n{name}_bucket{{{labels}{separator}".join(["", *lines])[1:]
        created = f"{name}_created{{{labels}}} {_seconds(state.start)}\n" if self._open else ""
        return f"{buckets}\n{name}_sum{{{labels}}} {_value(total.total)}\n{name}_count{{{labels}}} {count}\n{created}"

    def _endings_of(self, extent: Extent, *, exponential: bool) -> list[str]:
        """Return what stands between the labels of a bucket's line and its count, bucket by bucket."""
        known = self._endings.get(id(extent.stream))
        if known is None:
            bounds = () if exponential else extent.stream.bounds
            known = [f'le="{bound!r}"}} ' for bound in map(float, bounds)] + ['le="+Inf"} ']
            self._endings[id(extent.stream)] = known
        return known

    def _labels_of(self, attributes: Attributes) -> str:
        # The table has one object for the same attributes of all streams, so that each is escaped once a scrape.
        known = self._labels.get(id(attributes))
        if known is None:
            own = {key: value for key, value in (attributes or {}).items() if label_name(key) not in self._reserved}
            known = ",".join(filter(None, [self._common, _pairs(own)]))
            self._labels[id(attributes)] = known
        return known


def _exemplar(exemplar: KeptExemplar) -> str:
    if not exemplar.trace_id or not exemplar.span_id:
        return ""
    ids = {"trace_id": format(exemplar.trace_id, "032x"), "span_id": format(exemplar.span_id, "016x")}
    further = {label_name(key): str(value) for key, value in (exemplar.attributes or {}).items()}
    if sum(len(key) + len(value) for key, value in (further | ids).items()) > _EXEMPLAR_CHARACTERS:
        further = {}
    return f" # {{{_pairs(further | ids)}}} {_value(exemplar.value)} {_seconds(exemplar.unix_nanos)}"


def _pairs(attributes: Mapping[str, Any]) -> str:
    labels: dict[str, str] = {}
    for key in sorted(attributes):
        name, value = label_name(key), _escaped(attributes[key])
        # Two keys that make one label share it, as the translation has it.
        labels[name] = f"{labels[name]};{value}" if name in labels else value
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _escaped(value: object) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _value(value: float) -> str:
    if isinstance(value, float):
        if isnan(value):
            return "NaN"
        if isinf(value):
            return "+Inf" if value == inf else "-Inf"
    return repr(value)


def _seconds(unix_nanos: int) -> str:
    return f"{unix_nanos // 1_000_000_000}.{unix_nanos % 1_000_000_000:09d}"
