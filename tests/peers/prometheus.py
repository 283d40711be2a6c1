"""A real Prometheus that takes OTLP and exemplars, with this repository's settings and rules."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from tests.peers.binaries import require
from tests.peers.collector import CONFIG
from tests.peers.network import HOST, answers, free_port
from tests.peers.program import Program

SHIPPED = CONFIG / "prometheus" / "prometheus.yml"
"""The settings a user has; a test changes what it scrapes and how often, and nothing else."""

FLAGS = ("--web.enable-otlp-receiver", "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion")
"""What those settings need on the command line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series and its value now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One example measurement of a series."""

    series: Mapping[str, str]
    labels: Mapping[str, str]
    value: float

    @property
    def trace_id(self) -> str:
        """The trace it was recorded in."""
        return self.labels.get("trace_id", "")


class Prometheus:
    """A Prometheus on a free port.

    `scrape` names ports to scrape, by job; `alertmanager` the port that is told; `rules_from` the folder of the rules;
    `lookback` how long a series is taken for alive after its last sample; `history` is what it has known before its
    start, in OpenMetrics' text.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scrape: Mapping[str, int] | None = None,
        interval: str = "1s",
        rules: bool = True,
        rules_from: Path = SHIPPED.parent,
        lookback: str = "5m",
        history: str = "",
        alertmanager: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._program = Program("prometheus", folder)
        self._port = free_port()
        self._config = folder / "prometheus.yml"
        self._data = folder / "data"
        settings = _settings(scrape or {}, interval, alertmanager, rules_from if rules else None)
        self._config.write_text(yaml.safe_dump(settings))
        self._lookback, self._history = lookback, history
        self._environment = environment

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://{HOST}:{self._port}"

    @property
    def otlp_metrics_url(self) -> str:
        """Where it takes OTLP metrics over HTTP: the whole address."""
        return f"{self.url}/api/v1/otlp/v1/metrics"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Start and wait until it answers queries."""
        if self._history:
            told = self._config.with_name("history.om")
            told.write_text(self._history)
            made = [str(require("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(told), str(self._data)]
            subprocess.run(made, check=True, capture_output=True)  # noqa: S603 -- promtool
            self._history = ""
        self._program.start(
            [
                require("prometheus"),
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._data}",
                f"--web.listen-address={HOST}:{self._port}",
                f"--query.lookback-delta={self._lookback}",
                *FLAGS,
            ],
            lambda: answers(f"{self.url}/-/ready"),
            environment=self._environment,
        )
        return self

    def stop(self) -> int | None:
        """Let it write its data and end."""
        return self._program.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.kill()

    def query(self, expression: str) -> list[Sample]:
        """The instant vector (or scalar) an expression has now; raises `ValueError` with its complaint otherwise."""
        data = self._get("query", query=expression)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(row["metric"], float(row["value"][1])) for row in data["result"]]

    def value(self, expression: str) -> float:
        """The value of an expression with one series; 0 where it has none yet."""
        samples = self.query(expression)
        if len(samples) > 1:
            raise ValueError(f"{expression} has {len(samples)} series, one was asked for")
        return samples[0].value if samples else 0.0

    def parse(self, expression: str) -> dict[str, Any]:
        """An expression's syntax tree; raises `ValueError` with Prometheus' complaint if it has none."""
        tree: dict[str, Any] = self._get("parse_query", query=expression)
        return tree

    def metric_names(self) -> set[str]:
        """Every metric name it has stored."""
        return set(self._get("label/__name__/values"))

    def query_exemplars(self, expression: str) -> list[Exemplar]:
        """The exemplars of the series an expression selects, over all time."""
        rows: Sequence[dict[str, Any]] = self._get("query_exemplars", query=expression, start="0", end="9999999999")
        return [
            Exemplar(row["seriesLabels"], example["labels"], float(example["value"]))
            for row in rows
            for example in row["exemplars"]
        ]

    def _get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 -- JSON of many shapes
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 -- a loopback address
                return json.load(response)["data"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise ValueError(f"{parameters}: {refusal.read().decode()}") from refusal


def _settings(
    scrape: Mapping[str, int], interval: str, alertmanager: int | None, rules_from: Path | None
) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    settings["global"] |= {"scrape_interval": interval, "evaluation_interval": interval, "scrape_timeout": interval}
    settings["rule_files"] = [] if rules_from is None else [str(rules_from / name) for name in settings["rule_files"]]
    told = [] if alertmanager is None else [{"static_configs": [{"targets": [f"{HOST}:{alertmanager}"]}]}]
    settings["alerting"]["alertmanagers"] = told
    shipped = {job["job_name"]: job for job in settings["scrape_configs"]}
    settings["scrape_configs"] = [_job(shipped.get(name, {}), name, port) for name, port in scrape.items()]
    return settings


def _job(shipped: Mapping[str, Any], name: str, port: int) -> dict[str, Any]:
    kept = {key: value for key, value in shipped.items() if not key.endswith("_configs")}
    return kept | {"job_name": name, "static_configs": [{"targets": [f"{HOST}:{port}"]}]}
