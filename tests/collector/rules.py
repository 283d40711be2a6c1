"""The shipped recording and alert rules, and their tests, as data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.peers.collector import CONFIG

FOLDER = CONFIG / "prometheus"
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
"""The files for `promtool test rules`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: an alert, or the series it records."""

    name: str
    expression: str
    severity: str
    annotations: dict[str, str]


def alerts() -> list[Rule]:
    """The alert rules."""
    return [_rule(rule, "alert") for rule in _rules(FOLDER / "alerts.rules.yml")]


def recordings() -> list[Rule]:
    """The recording rules."""
    return [_rule(rule, "record") for rule in _rules(FOLDER / "recording.rules.yml")]


def checks() -> Iterator[tuple[str, bool]]:
    """Each check of the rules' tests: an alert's name, and whether it has to fire."""
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                yield check["alertname"], bool(check["exp_alerts"])


def _rules(path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _rule(rule: dict[str, Any], key: str) -> Rule:
    return Rule(rule[key], rule["expr"], rule.get("labels", {}).get("severity", ""), rule.get("annotations", {}))
