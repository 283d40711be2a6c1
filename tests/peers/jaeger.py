"""A real Jaeger that takes OTLP and keeps traces in memory."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.peers.binaries import require
from tests.peers.network import HOST, answers, free_port
from tests.peers.program import Program

CONFIG = """
extensions:
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 100000}}}}}}}}
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "{host}:{query}"}}
    grpc: {{endpoint: "{host}:{query_grpc}"}}
  healthcheckv2: {{use_v2: true, http: {{endpoint: "{host}:{health}"}}}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "{host}:{grpc}"}}, http: {{endpoint: "{host}:{http}"}}}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
"""


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span as Jaeger answers it; `parent_id` is empty for the root."""

    name: str
    span_id: str
    parent_id: str
    tags: dict[str, Any]


class Jaeger:
    """A Jaeger on free ports."""

    def __init__(self, folder: Path) -> None:
        self._program = Program("jaeger", folder)
        self._config = folder / "jaeger.yaml"
        names = ("query", "query_grpc", "health", "grpc", "http")
        self._ports = {name: free_port() for name in names}
        self._config.write_text(CONFIG.format(host=HOST, **self._ports))

    @property
    def url(self) -> str:
        """The address of its pages and its query API."""
        return f"http://{HOST}:{self._ports['query']}"

    @property
    def otlp_grpc_target(self) -> str:
        """Where it takes OTLP/gRPC, as host and port: what `TRACES_OTLP_GRPC` of the local layer wants."""
        return f"{HOST}:{self._ports['grpc']}"

    @property
    def otlp_http(self) -> str:
        """The OTLP/HTTP base address."""
        return f"http://{HOST}:{self._ports['http']}"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Start and wait until it answers queries."""
        self._program.start(
            [require("jaeger"), "--config", self._config],
            lambda: answers(f"http://{HOST}:{self._ports['health']}/status") and answers(f"{self.url}/api/services"),
            environment={"OTEL_TRACES_SAMPLER": "always_off"},  # it would trace itself, to whoever has port 4317
        )
        return self

    def stop(self) -> None:
        """End it at once: it has nothing to save, and takes ten seconds to end by itself."""
        self._program.kill()

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """The spans of a trace (32 hex digits); empty while it has none."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/traces/{trace_id}", timeout=30) as response:  # noqa: S310
                traces = json.load(response)["data"]
        except urllib.error.HTTPError as refusal:
            with refusal:
                if refusal.code == 404:
                    return []
                raise
        return [_span(span) for trace in traces for span in trace["spans"]]


def _span(span: dict[str, Any]) -> StoredSpan:
    parents = [reference["spanID"] for reference in span["references"] if reference["refType"] == "CHILD_OF"]
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    return StoredSpan(span["operationName"], span["spanID"], next(iter(parents), ""), tags)
