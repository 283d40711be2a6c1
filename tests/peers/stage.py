"""Everything that watches a service, with the shipped settings: Collector, Prometheus, Alertmanager, and who is told.

An alert waits for minutes, so that what passes by itself wakes nobody. `promtool test rules` holds those times; here
they are shortened, and nothing else of a rule is.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from service.simulator.call import dial
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.ground_truth import CallReport
from service.simulator.script import CallScript
from tests.collector.rules import FOLDER, Rule, alerts
from tests.peers.alertmanager import Alertmanager, Inbox
from tests.peers.collector import Collector
from tests.peers.gateway import Gateway
from tests.peers.network import HOST, free_port
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus
from tests.peers.runbook import Desk
from tests.peers.service import Service
from tests.peers.waiting import until

logger = logging.getLogger(__name__)

RUNBOOK_URL = "https://wiki.example/callscope/runbook"

LOOKBACK = "10s"
"""So long a series is alive after its last sample, instead of five minutes; a busy machine exports late."""

SHORTENED: Mapping[str, Sequence[tuple[str, str]]] = {
    "alerts.rules.yml": (
        (r"for: \d+m", "for: 1s"),
        (r"(voice_call_(?:time_seconds|started)_total|voice_call_pending)\[1[05]m\]", r"\1[15s]"),
        (r"callscope_records_database_away_seconds\) > 120", "callscope_records_database_away_seconds) > 2"),
    ),
    "recording.rules.yml": (
        (r"\[30m\]", "[20s]"),
        (r"(\(last_over_time\(voice_call_\w+_total\[20s\]) offset 30m\)", r"\1 offset 20s)"),
        (r"< 90\b", "< 10"),
        (r"(otelcol_\w+)\[15m\]", r"\1[30s]"),
        (r'(otelcol_\w+|up\{job="otelcol"\}) offset 15m', r"\1 offset 30s"),
    ),
}
"""What is shortened in each file of rules; each of these is in it."""


def shortened(folder: Path) -> Path:
    """Write the shipped rules with shorter waits, and return the folder."""
    folder.mkdir()
    for name, changes in SHORTENED.items():
        text = (FOLDER / name).read_text()
        for shipped, short in changes:
            text, times = re.subn(shipped, short, text)
            assert times, f"{name} has no {shipped} any more"
        (folder / name).write_text(text)
    return folder


@dataclass(frozen=True, slots=True)
class Told:
    """An alert that has reached a receiver."""

    receiver: str
    labels: Mapping[str, str]
    summary: str


@dataclass
class Stage:
    """The programs around a service."""

    collector: Collector
    prometheus: Prometheus
    alertmanager: Alertmanager
    inbox: Inbox
    folder: Path
    logs: dict[str, Path] = field(default_factory=dict)
    """Output of further programs, by the name that the runbook's `logs_of` takes."""

    @property
    def exporting(self) -> dict[str, str]:
        """What a service needs to be seen here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.otlp_http, "PROMETHEUS_URL": self.prometheus.url}

    def told(self, name: str) -> list[Told]:
        """Return each alert of this name that has reached a receiver, once."""
        found = {
            tuple(sorted(alert["labels"].items())): Told(
                notification.receiver, alert["labels"], alert["annotations"]["summary"]
            )
            for notification in list(self.inbox.notifications)
            for alert in notification.alerts
            if alert["labels"]["alertname"] == name and alert["status"] == "firing"
        }
        return list(found.values())

    def awaited(self, name: str, **labels: str) -> Told:
        """Wait until the alert has reached the receiver of its severity, with these labels; return it."""

        def come() -> Told | None:
            return next((told for told in self.told(name) if told.labels.items() >= labels.items()), None)

        told = until(come, f"{name} {labels} to be told")
        assert told.receiver == severity(name), told
        return told

    def fires(self, name: str, **labels: str) -> None:
        """Wait until Prometheus has the alert firing, whether or not another one hides it from its receiver."""
        wanted = {"alertname": name, "alertstate": "firing", **labels}
        chosen = ",".join(f'{key}="{value}"' for key, value in wanted.items())
        until(lambda: self.prometheus.query(f"ALERTS{{{chosen}}}"), f"{name} {labels} to fire")

    def names(self) -> set[str]:
        """Return the names of all alerts that somebody was told."""
        return {
            alert["labels"]["alertname"]
            for notification in list(self.inbox.notifications)
            for alert in notification.alerts
            if alert["status"] == "firing"
        }

    def desk(self, service: Service) -> Desk:
        """Return a shell in a folder of the service's, which has its settings and everybody's output."""
        return Desk(
            self.folder / f"desk-{len(list(self.folder.glob('desk-*')))}",
            settings={**service.settings, **self.exporting},
            addresses={"CALLSCOPE": service.address, "PROMETHEUS": self.prometheus.url, "COLLECTOR": f"http://{HOST}"},
            ports={"8888": str(self.collector.metrics_port), "13133": str(self.collector.health_port)},
            logs={"callscope": service.log_file, "collector": self.collector.log_file, **self.logs},
        )


def severity(name: str) -> str:
    """Return an alert's severity, which is the name of whom it reaches."""
    rules: dict[str, Rule] = {rule.name: rule for rule in alerts()}
    return rules[name].severity


def stage(
    peers: Peers,
    inbox: Inbox,
    folder: Path,
    *layers: str,
    environment: Mapping[str, str] | None = None,
    history: str = "",
) -> Stage:
    """Start the programs; the Collector with the layers `base` and `local`, or with these."""
    alertmanager = peers.alertmanager(inbox)
    port = free_port()  # of the Collector's own metrics: Prometheus is told of it before the Collector of Prometheus
    prometheus = peers.prometheus(
        rules_from=shortened(folder / "rules"),
        lookback=LOOKBACK,
        history=history,
        alertmanager=alertmanager.port,
        environment={"CALLSCOPE_RUNBOOK_URL": RUNBOOK_URL},
        otelcol=port,
    )
    told = {
        **dict.fromkeys(("PROMETHEUS_OTLP_METRICS_URL", "OTLP_METRICS_URL"), prometheus.otlp_metrics_url),
        "COLLECTOR_METRICS_PORT": str(port),
    }
    collector = peers.collector(*(layers or ("base", "local")), environment={**told, **(environment or {})})
    return Stage(collector, prometheus, alertmanager, inbox, folder)


Shows = tuple[str | tuple[int | None, str], ...]
"""What three commands show: a pattern each, after an exit code if that is not 0; None for any."""


async def placed(
    line: Gateway, number: str, script: CallScript, times: int, *, faults: CallFaults = NO_FAULTS
) -> list[asyncio.Task[CallReport]]:
    """Have calls begin at the same time; each ends with what the carrier says of it."""
    calls = [dial(number, script, rng=Random(), faults=faults) for _ in range(times)]  # noqa: S311 -- ids nobody else has
    return [asyncio.create_task(line.carrier.place_call(call)) for call in calls]


def expect(desk: Desk, alert: str, shows: Shows, **named: str) -> None:
    """Run an alert's first three commands and fail unless each ends as expected and shows what it promises.

    ``named`` is what the alert names: the shell knows it as `$TENANT`, and so do the patterns.
    """
    shown = desk.follow(alert, **named)
    logger.info("%s\n%s", alert, "\n".join(one.glance for one in shown))
    for one, expected in zip(shown, shows, strict=True):
        code, pattern = expected if isinstance(expected, tuple) else (0, expected)
        assert code in (one.code, None), f"{alert}: {one.glance}"
        for name, value in named.items():
            pattern = pattern.replace(f"${name}", re.escape(value))
        assert re.search(pattern, one.output, re.DOTALL), f"{alert}: {pattern!r} is not in\n{one.glance}"
