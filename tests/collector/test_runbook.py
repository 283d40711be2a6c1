"""The runbook: a section for each alert, with commands that work."""

import re
import subprocess

import httpx2
import pytest
from typer.testing import CliRunner

from service.cli import app as command
from service.http.tokens import HEADER
from telemetry.testing import TelemetryKit
from tests.collector.promql import labels_of, selectors
from tests.collector.rules import Rule, alerts, recordings
from tests.collector.test_rules import FOREIGN
from tests.peers.peers import Peers
from tests.peers.runbook import RUNBOOK, sections
from tests.peers.test_incidents_of_calls import BAD_DAY, FULL, SLOWER
from tests.peers.test_incidents_of_parts import PLAYED
from tests.service.api.gateway import TOKEN, Gateway
from tests.support.server import TIMEOUT_SECONDS, TLS, serving


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_an_alert_is_explained(rule: Rule) -> None:
    """An alert says how urgent it is and links to its section: what it means, and at least three commands."""
    link = f'{{{{ or $externalLabels.runbook "docs/runbook.md" }}}}#{rule.name.lower()}'
    assert rule.annotations["runbook_url"] == link
    meaning, commands, *_ = sections()[rule.name].split("```")
    assert meaning.strip().startswith(f"`{rule.severity}`. ")
    assert len(meaning.strip()) > 100
    assert len(re.findall(r"^(?:curl|promtool|in_service|logs_of|state_of) ", commands, re.MULTILINE)) >= 3


def test_every_alerts_commands_are_run_somewhere() -> None:
    """Each alert is in a play in which its first three commands are typed, and only alerts that exist are."""
    assert {*BAD_DAY, *SLOWER, *FULL, *PLAYED} == {rule.name for rule in alerts()}


def test_nothing_is_explained_that_is_gone() -> None:
    """Each section is about an alert that exists."""
    assert set(sections()) == {rule.name for rule in alerts()}


def test_the_admin_requests_are_answered() -> None:
    """Every request to the service is one it answers with success, given the token."""
    typed = RUNBOOK.replace("$TENANT", "acme").replace("$REASON", "capacity")
    paths = set(re.findall(r"\$CALLSCOPE(/[^\s\"]+)", typed)) - {"/livez"}
    assert len(paths) > 10
    with (
        TelemetryKit() as kit,
        serving(Gateway(kit).app()) as base,
        httpx2.Client(verify=TLS, base_url=base, timeout=TIMEOUT_SECONDS) as client,
    ):
        answers = {path: client.get(path, headers={HEADER: TOKEN}).status_code for path in paths}
    assert set(answers.values()) == {200}, answers


@pytest.mark.parametrize("words", sorted(set(re.findall(r"^in_service callscope ([^\n]+)", RUNBOOK, re.MULTILINE))))
def test_the_commands_exist(words: str) -> None:
    """Every command of the service is one it has, with these options."""
    outcome = CliRunner().invoke(command, [*words.split(), "--help"])
    assert outcome.exit_code == 0, outcome.output


PLACES = ("docker compose", "kubectl", '"$@"')
"""Words by which each of the three ways to run the service is known in the definitions."""


@pytest.mark.parametrize("place", PLACES)
def test_every_place_has_the_functions_the_commands_use(place: str) -> None:
    """Compose, Kubernetes and a process started by hand each define all that the sections' commands call."""
    blocks = [block for block in RUNBOOK.split("```") if "in_service()" in block]
    assert len(blocks) == len(PLACES)
    (block,) = [block for block in blocks if f"in_service() {{ {place}" in block]
    used = set(re.findall(r"^(\w+_\w+) ", "".join(sections().values()), re.MULTILINE))
    assert used == set(re.findall(r"^(\w+)\(\) \{ .+; \}$", block, re.MULTILINE))
    assert subprocess.run(["/bin/sh", "-n"], input=block, text=True, check=False).returncode == 0


def test_the_commands_reach_the_services_environment() -> None:
    """No section's command runs the service's own program or a container tool without one of those functions."""
    assert not re.findall(r"^(?:callscope|docker|kubectl|df) .*", "".join(sections().values()), re.MULTILINE)


def test_the_expressions_are_valid(peers: Peers) -> None:
    """Every PromQL expression parses, and is about metrics that exist."""
    prometheus = peers.prometheus(rules=False)
    expressions = re.findall(r"promtool query instant \S+ '([^']+)'", RUNBOOK)
    assert len(expressions) > 20
    recorded = {rule.name for rule in recordings()}
    metrics = {selector.metric for text in expressions for selector in selectors(prometheus.parse(text))} - {""}
    assert not {name for name in metrics - recorded if not FOREIGN.match(name) and not labels_of(name)}
