"""The alert rules: valid, tested both ways, and about metrics that exist."""

import re
from pathlib import Path

import pytest

from telemetry.semconv.catalogue import TURN_FIRST_AUDIO
from tests.collector.promql import groupings, labels_of, selectors, wrong_values
from tests.collector.rules import FOLDER, TESTS, Rule, alerts, checks, recordings
from tests.peers.peers import Peers, run
from tests.peers.prometheus import Prometheus

FOREIGN = re.compile(r"(up$|target_info$|otelcol_)")
"""Metrics of Prometheus and of the Collector; a test of the Collector's own checks the latter."""


@pytest.fixture(scope="module")
def prometheus(module_peers: Peers) -> Prometheus:
    return module_peers.prometheus(rules=False)


@pytest.mark.peers
def test_promtool_accepts_settings_and_rules() -> None:
    """`promtool check config` accepts the settings and both rule files, and finds nothing to lint."""
    result = run("promtool", "check", "config", "--lint=all", "--lint-fatal", FOLDER / "prometheus.yml")
    assert result.returncode == 0, result.stdout


@pytest.mark.peers
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent(path: Path) -> None:
    """`promtool test rules` passes: each alert fires in its cases, with these words, and not in the others."""
    result = run("promtool", "test", "rules", path)
    assert result.returncode == 0, result.stdout


def test_every_alert_is_tested_both_ways() -> None:
    """For each alert there is a case in which it has to fire and one in which it must not."""
    assert {(rule.name, fires) for rule in alerts() for fires in (True, False)} == set(checks())


@pytest.mark.parametrize("rule", [*alerts(), *recordings()], ids=lambda rule: rule.name)
def test_a_rule_asks_for_what_exists(rule: Rule, prometheus: Prometheus) -> None:
    """Metrics, labels and label values of a rule are those of the catalogue, or recorded by another rule."""
    tree = prometheus.parse(rule.expression)
    recorded = {other.name for other in recordings()}
    known: set[str] = set()
    for selector in selectors(tree):
        if selector.metric in recorded or FOREIGN.match(selector.metric):
            continue
        labels = labels_of(selector.metric)
        if selector.metric:
            assert labels, f"{selector.metric} is no metric of the catalogue"
            assert {m.label for m in selector.matchers} <= labels
        assert [m for m in selector.matchers if wrong_values(m)] == []
        known |= labels
    if known:
        assert groupings(tree) <= known


COUNTED_AGAIN = re.compile(r"voice_call_(received|accepted|started)_total")
"""What a process that goes on with another's call counts once more."""


@pytest.mark.parametrize("rule", [*alerts(), *recordings()], ids=lambda rule: rule.name)
def test_a_call_that_changed_processes_counts_once(rule: Rule) -> None:
    """Sums over processes of what both of them count take off what was taken over; sums of one process need not."""
    if COUNTED_AGAIN.search(rule.expression) and "by (instance)" not in rule.expression:
        assert "taken_over" in rule.expression


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_an_alert_about_tenants_is_bounded_and_says_how_many(rule: Rule) -> None:
    """An alert with a tenant in its words names the ten worst, the tenant in the summary, and counts them all."""
    if "$labels.tenant_id" in "".join(rule.annotations.values()):
        assert rule.expression.startswith("topk(10, tenant:")
        assert "tenant {{ $labels.tenant_id }}" in rule.annotations["summary"]
        counted = rule.expression.removeprefix("topk(10, ").removesuffix(")")
        assert f'query "count({counted})"' in rule.annotations["description"]
    else:
        assert "by (tenant_id)" not in rule.expression


def test_the_latency_objective_is_a_bucket() -> None:
    """The bound that the turn latency rule counts up to is a boundary of the histogram."""
    bounds = {float(found) for rule in recordings() for found in re.findall(r'le="([^"]+)"', rule.expression)}
    assert bounds
    assert bounds <= set(TURN_FIRST_AUDIO.boundaries)
