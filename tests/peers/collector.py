"""A real OpenTelemetry Collector, run with this repository's configuration layers."""

import re
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from tests.peers.binaries import ROOT, require
from tests.peers.network import HOST, answers, free_port
from tests.peers.program import Program
from tests.peers.received import Received

CONFIG = ROOT / "collector-config"
"""The layers a user has."""

BINARY = "otelcol-callscope"

CAPTURE = """
exporters:
  file/received: {{path: {path}, append: true, flush_interval: 50ms}}
service:
  pipelines:
    traces/received: {{receivers: [forward/out], exporters: [file/received]}}
    metrics/received: {{receivers: [forward/out], exporters: [file/received]}}
    logs/received: {{receivers: [forward/out], exporters: [file/received]}}
"""
"""One more layer, for tests: write down whatever leaves the shipped pipelines."""


def layer(name: str) -> Path:
    """The path of a shipped layer: `base`, `local`, `production`, `mtls`, or for example `vendors/otlp`."""
    return CONFIG / f"{name}.yaml"


class Collector:
    """A Collector on free ports. After `kill` or `stop`, `start` continues on the same ports and queue."""

    def __init__(self, layers: Sequence[Path], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._layers = list(layers)
        self._program = Program("collector", folder)
        self._grpc, self._http, self._health, self._metrics = (free_port() for _ in range(4))
        self._metrics = int((environment or {}).get("COLLECTOR_METRICS_PORT", self._metrics))
        self._environment = {
            "COLLECTOR_GRPC_LISTEN": f"{HOST}:{self._grpc}",
            "COLLECTOR_HTTP_LISTEN": f"{HOST}:{self._http}",
            "COLLECTOR_HEALTH_LISTEN": f"{HOST}:{self._health}",
            "COLLECTOR_METRICS_PORT": str(self._metrics),
            "COLLECTOR_QUEUE_DIR": str(folder / "queue"),
            **(environment or {}),
        }
        self.received = Received(folder / "received.jsonl")
        """What came out of its pipelines: received, redacted and, in production, sampled."""
        self._layers.append(folder / "capture.yaml")
        self._layers[-1].write_text(CAPTURE.format(path=folder / "received.jsonl"))

    @property
    def otlp_http(self) -> str:
        """The OTLP/HTTP base address, for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://{HOST}:{self._http}"

    @property
    def otlp_grpc(self) -> str:
        """The OTLP/gRPC address, for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://{HOST}:{self._grpc}"

    def metric(self, name: str, **labels: str) -> float:
        """The sum of one of its own metrics over the series with these labels; 0 while it has none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        series = [line for line in self._own_metrics() if re.match(rf"{name}[{{ ]", line)]
        return sum(float(line.rpartition(" ")[2]) for line in series if all(part in line for part in wanted))

    def metric_names(self) -> set[str]:
        """The names of its own metrics."""
        return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in self._own_metrics()} - {"#"}

    def _own_metrics(self) -> list[str]:
        with urllib.request.urlopen(f"http://{HOST}:{self._metrics}/metrics", timeout=10) as response:
            text: str = response.read().decode()
        return text.splitlines()

    @property
    def health_port(self) -> int:
        """Where its health check is."""
        return self._health

    @property
    def log_file(self) -> Path:
        """The file of what it prints."""
        return self._program.log_file

    @property
    def metrics_port(self) -> int:
        """Where its own metrics are, for Prometheus to scrape."""
        return self._metrics

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Start and wait until its health check answers."""
        arguments = [word for path in self._layers for word in ("--config", path)]
        self._program.start(
            [require(BINARY), *arguments],
            lambda: answers(f"http://{HOST}:{self._health}/"),
            environment=self._environment,
        )
        return self

    def stop(self) -> int | None:
        """Let it drain and end."""
        return self._program.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.kill()

    def frozen(self) -> AbstractContextManager[None]:
        """While the context lasts it takes connections and answers nothing, as a program that hangs."""
        return self._program.frozen()
