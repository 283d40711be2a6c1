"""A real Alertmanager with this repository's routes, and somebody who is told."""

import json
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.peers.binaries import require
from tests.peers.collector import CONFIG
from tests.peers.network import HOST, answers, free_port
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


class Inbox:
    """A webhook receiver on loopback that keeps each notification; it listens while the context lasts."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The address that takes notifications."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def of(self, receiver: str) -> list[Notification]:
        """The notifications to one receiver, in the order they came."""
        return [notification for notification in self.notifications if notification.receiver == receiver]

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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


def _handler(inbox: Inbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["content-length"])))
            inbox.notifications.append(Notification(told["receiver"], told["alerts"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
            """Stay silent: what arrived is what counts."""

    return Handler
