"""What an expression asks for: metrics, labels and values, from Prometheus' own parse of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from telemetry.semconv.attributes import ATTRIBUTES, Exposure
from telemetry.semconv.catalogue import INSTRUMENTS
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from tests.collector.names import prometheus_names

Tree = Mapping[str, Any]

PROMETHEUS_LABELS = frozenset({"__name__", "instance", "job", "le", "otel_metric_overflow"})
"""Labels that Prometheus and the SDK add to every series of ours."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition of a selector."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric an expression reads, and the conditions on its labels."""

    metric: str
    matchers: tuple[Matcher, ...]


def selectors(tree: object) -> Iterator[Selector]:
    """Every selector in a parsed expression."""
    for node in _nodes(tree):
        if node.get("type") in {"vectorSelector", "matrixSelector"} and node.get("matchers") is not None:
            conditions = (Matcher(m["name"], m["type"], m["value"]) for m in node["matchers"])
            yield Selector(node["name"], tuple(m for m in conditions if m.label != "__name__"))


def groupings(tree: object) -> set[str]:
    """Every label an expression groups, matches or joins by."""
    labels: set[str] = set()
    for node in _nodes(tree):
        labels |= set(node.get("grouping") or ())
        labels |= set((node.get("matching") or {}).get("labels") or ())
    return labels


def labels_of(metric: str) -> frozenset[str]:
    """The labels a metric of the catalogue can have; empty if it is none of ours."""
    for instrument in INSTRUMENTS:
        if metric in prometheus_names(instrument):
            return PROMETHEUS_LABELS | {label_of(key) for key in instrument.attributes}
    return frozenset()


def values_of(label: str) -> frozenset[str]:
    """The values of a label's closed vocabulary; empty if any value may come."""
    for attribute in (*ATTRIBUTES, *GENAI_ATTRIBUTES):
        if label_of(attribute.key) == label and attribute.exposure is Exposure.METRIC:
            return frozenset(attribute.values)
    return frozenset()


def wrong_values(matcher: Matcher) -> set[str]:
    """Values a condition names that the label never has. A pattern is taken as its alternatives."""
    known, named = values_of(matcher.label), set(re.split(r"\|", matcher.value)) - {"", ".*", ".+"}
    return named - known if known else set()


def label_of(key: str) -> str:
    """An attribute's name as a Prometheus label."""
    return key.replace(".", "_")


def _nodes(tree: object) -> Iterator[Tree]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
