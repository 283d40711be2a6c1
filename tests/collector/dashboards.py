"""The shipped Grafana dashboards as data."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.collector import CONFIG

GRAFANA = CONFIG / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
"""One dashboard each."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel."""

    dashboard: str
    panel: str
    expression: str
    exemplar: bool
    """Whether the panel asks for exemplars, too."""

    def filled(self, tenant: str) -> str:
        """The expression as Grafana sends it, with intervals that suit a test and one tenant chosen."""
        variables = {"$__rate_interval": "1m", "$__range": "5m", "$tenant": tenant}
        expression = self.expression
        for variable, value in variables.items():
            expression = expression.replace(variable, value)
        return expression

    def __str__(self) -> str:
        """For test reports."""
        return f"{self.dashboard}/{self.panel}"


def content(path: Path) -> dict[str, Any]:
    """A dashboard, parsed."""
    parsed: dict[str, Any] = json.loads(path.read_text())
    return parsed


def queries() -> Iterator[Query]:
    """Every expression of every panel."""
    for path in FILES:
        for panel in content(path)["panels"]:
            for target in panel["targets"]:
                yield Query(path.stem, panel["title"], target["expr"], target.get("exemplar", False))
