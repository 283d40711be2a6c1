"""Alertmanager's settings: accepted, about alerts that exist, and at work between Prometheus and a receiver."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.collector.rules import alerts
from tests.peers.alertmanager import SHIPPED_ROUTES, Alertmanager, Inbox, Notification
from tests.peers.emitter import OtlpEmitter
from tests.peers.peers import Peers, run
from tests.peers.waiting import until

RUNBOOK = "https://wiki.example/callscope/runbook"
SETTINGS: dict[str, Any] = yaml.safe_load(SHIPPED_ROUTES.read_text())
NAMES = re.compile(r'alertname =~? "([^"]+)"')


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with Inbox() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def alertmanager(module_peers: Peers, inbox: Inbox) -> Alertmanager:
    return module_peers.alertmanager(inbox)


def _fires(name: str, **labels: str) -> dict[str, str]:
    severity = next(rule.severity for rule in alerts() if rule.name == name)
    return {"alertname": name, "severity": severity, **labels}


def _about(inbox: Inbox, name: str) -> list[Notification]:
    return [told for told in inbox.notifications if name in told.names]


@pytest.mark.peers
def test_amtool_accepts_the_settings() -> None:
    """`amtool check-config` accepts the file and finds its two receivers and its inhibitions."""
    result = run("amtool", "check-config", SHIPPED_ROUTES)
    assert result.returncode == 0, result.stdout
    assert "2 receivers" in result.stdout
    assert f"{len(SETTINGS['inhibit_rules'])} inhibit rules" in result.stdout


def test_every_severity_has_a_receiver_of_its_own() -> None:
    """What pages and what waits go to different receivers, and no alert has a third severity."""
    routes = {route["matchers"][0]: route["receiver"] for route in SETTINGS["route"]["routes"]}
    assert routes == {'severity = "page"': "page"}
    assert SETTINGS["route"]["receiver"] == "ticket"
    assert {rule.severity for rule in alerts()} == {"page", "ticket"}


def test_inhibitions_are_about_alerts_that_exist() -> None:
    """Each name on either side of an inhibition is an alert, and none silences itself."""
    known = {rule.name for rule in alerts()}
    for rule in SETTINGS["inhibit_rules"]:
        sources, targets = (
            {name for matcher in rule[side] for found in NAMES.findall(matcher) for name in found.split("|")}
            for side in ("source_matchers", "target_matchers")
        )
        assert sources
        assert targets
        assert sources | targets <= known
        assert not sources & targets


def test_what_silences_a_page_is_a_page() -> None:
    """An alert that wakes somebody is silenced by one that does, never by one that waits for the morning."""
    severities = {rule.name: rule.severity for rule in alerts()}
    for rule in SETTINGS["inhibit_rules"]:
        (source,) = NAMES.findall(rule["source_matchers"][0])
        (targets,) = NAMES.findall(rule["target_matchers"][0])
        paged = [name for name in targets.split("|") if severities[name] == "page"]
        assert not paged or severities[source] == "page", (source, paged)


def test_tenants_with_the_same_trouble_are_one_notification(alertmanager: Alertmanager, inbox: Inbox) -> None:
    """Three tenants' alerts of one name reach the pager as one notification that has all three."""
    alertmanager.post(*(_fires("TenantCallsRejected", tenant_id=tenant) for tenant in ("acme", "beta", "gamma")))
    (told,) = until(lambda: _about(inbox, "TenantCallsRejected"), "the notification")
    assert told.receiver == "page"
    assert {alert["labels"]["tenant_id"] for alert in told.alerts} == {"acme", "beta", "gamma"}


def test_a_lost_collector_silences_what_follows_from_it(alertmanager: Alertmanager, inbox: Inbox) -> None:
    """The pager hears of the Collector alone; an alert that does not follow from it, and comes later, still arrives."""
    followers = ("TelemetryMissing", "ProcessVanishedWithCalls", "ProcessSilent", "CollectorDown")
    alertmanager.post(_fires("CollectorLost"), *(_fires(name, instance="a") for name in followers))
    (told,) = until(lambda: _about(inbox, "CollectorLost"), "the page")
    assert (told.receiver, told.names) == ("page", ["CollectorLost"])
    alertmanager.post(_fires("CapacityAbove80Percent"))
    (later,) = until(lambda: _about(inbox, "CapacityAbove80Percent"), "the ticket")
    assert later.receiver == "ticket"
    assert alertmanager.inhibited() >= set(followers)
    assert not {name for told in inbox.notifications for name in told.names} & set(followers)


def test_an_alert_goes_all_the_way(peers: Peers, alertmanager: Alertmanager, inbox: Inbox) -> None:
    """A failing sink becomes a ticket with an absolute link to the runbook, whose address is no label."""
    prometheus = peers.prometheus(alertmanager=alertmanager.port, environment={"CALLSCOPE_RUNBOOK_URL": RUNBOOK})
    with OtlpEmitter(metrics_url=prometheus.otlp_metrics_url) as emitter:
        for _ in range(2):
            emitter.record("callscope.sink.failures", 3, {})
            emitter.flush()
        (told,) = until(lambda: _about(inbox, "TelemetrySinkFails"), "the ticket")
    assert told.receiver == "ticket"
    assert told.alerts[0]["annotations"]["runbook_url"] == f"{RUNBOOK}#telemetrysinkfails"
    assert "runbook" not in told.alerts[0]["labels"]
