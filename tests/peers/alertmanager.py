"""A real Alertmanager with this repository's routes, and somebody who is told."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import yaml

from tests.peers.binaries import require
from tests.peers.collector import CONFIG
from tests.peers.network import HOST, answers, free_port
from tests.peers.posts import PostServer
from tests.peers.program import Program

SHIPPED_ROUTES = CONFIG / "alertmanager" / "alertmanager.yml"
"""The settings a user has; a test changes where notifications go and how long a group is waited for."""

GROUP_WAIT = "1s"


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to a receiver."""

    receiver: str
    alerts: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> list[str]:
        """The names of its alerts, in order."""
        return sorted(alert["labels"]["alertname"] for alert in self.alerts)


class Inbox(PostServer):
    """A webhook receiver that keeps each notification."""

    def __init__(self) -> None:
        super().__init__()
        self.notifications: list[Notification] = []

    def of(self, receiver: str) -> list[Notification]:
        """The notifications to one receiver, in the order they came."""
        return [notification for notification in self.notifications if notification.receiver == receiver]

    def posted(self, path: str, headers: Mapping[str, str], body: bytes) -> HTTPStatus:  # noqa: ARG002 -- see the base
        """Keep one notification."""
        told = json.loads(body)
        self.notifications.append(Notification(told["receiver"], told["alerts"]))
        return HTTPStatus.OK


class Alertmanager:
    """An Alertmanager on a free port that tells the inbox, whichever receiver an alert is for."""

    def __init__(self, folder: Path, inbox: Inbox) -> None:
        self._program = Program("alertmanager", folder)
        self._port = free_port()
        self._folder = folder
        self._config = folder / "alertmanager.yml"
        (folder / "url").write_text(inbox.url)
        self._config.write_text(yaml.safe_dump(_settings(folder / "url")))

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Start and wait until it is ready."""
        self._program.start(
            [
                require("alertmanager"),
                f"--config.file={self._config}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address={HOST}:{self._port}",
                "--cluster.listen-address=",
            ],
            lambda: answers(f"http://{HOST}:{self._port}/-/ready"),
        )
        return self

    def stop(self) -> int | None:
        """Let it end."""
        return self._program.stop()

    def post(self, *alerts: Mapping[str, str]) -> None:
        """Post alerts that fire, each by its labels, all at once as Prometheus does."""
        body = json.dumps([{"labels": dict(labels)} for labels in alerts]).encode()
        request = urllib.request.Request(
            f"http://{HOST}:{self._port}/api/v2/alerts", body, {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 -- the same

    def inhibited(self) -> set[str]:
        """The names of the alerts that another one silences."""
        with urllib.request.urlopen(f"http://{HOST}:{self._port}/api/v2/alerts", timeout=30) as response:
            known = json.load(response)
        return {alert["labels"]["alertname"] for alert in known if alert["status"]["inhibitedBy"]}


def _settings(url_file: Path) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(SHIPPED_ROUTES.read_text())
    for route in (settings["route"], *settings["route"]["routes"]):
        route["group_wait"] = GROUP_WAIT
    for receiver in settings["receivers"]:
        for webhook in receiver["webhook_configs"]:
            webhook["url_file"] = str(url_file)
    return settings
