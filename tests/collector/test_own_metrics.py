"""The Collector's metrics about itself: those the alerts are about exist under these names."""

from http import HTTPStatus
from pathlib import Path

import yaml

from tests.collector.promql import selectors
from tests.collector.rules import alerts, recordings
from tests.peers.emitter import OtlpEmitter
from tests.peers.peers import Peers
from tests.peers.sink import OtlpSink
from tests.peers.waiting import until

SIGNALS = ("traces", "metrics", "logs")


def test_the_rules_are_about_metrics_the_collector_has(peers: Peers, tmp_path: Path) -> None:
    """With a destination that refuses and one that is away behind a full queue, there is every metric of a rule."""
    prometheus = peers.prometheus(rules=False)
    trees = [prometheus.parse(rule.expression) for rule in (*alerts(), *recordings())]
    wanted = {s.metric for tree in trees for s in selectors(tree) if s.metric.startswith("otelcol_")}
    assert len(wanted) >= 10
    layer = tmp_path / "trouble.yaml"
    layer.write_text(yaml.safe_dump(_trouble(peers.sink(), peers.sink())))
    collector = peers.collector("base", layer)
    with OtlpEmitter(collector.otlp_http) as emitter:
        until(lambda: _call(emitter) and wanted <= collector.metric_names(), f"{sorted(wanted)}")


def _call(emitter: OtlpEmitter) -> bool:
    emitter.call(tenant="acme")
    emitter.flush()
    return True


def _trouble(refusing: OtlpSink, busy: OtlpSink) -> dict[str, object]:
    refusing.status, busy.status = HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE
    queue = {"queue_size": 1, "num_consumers": 1}
    exporters = {
        "otlp_http/refused": {"endpoint": refusing.url},
        "otlp_http/full": {"endpoint": busy.url, "sending_queue": queue},
    }
    pipelines = {f"{signal}/out": {"receivers": ["forward/out"], "exporters": list(exporters)} for signal in SIGNALS}
    return {"exporters": exporters, "service": {"pipelines": pipelines}}
