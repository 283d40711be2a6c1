"""Each vendor's layer at work, its address replaced by a backend of our own: what reaches it, and how it is signed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE as CUMULATIVE
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA as DELTA

from tests.collector.layers import content, environment
from tests.peers.collector import Collector, layer
from tests.peers.emitter import OtlpEmitter
from tests.peers.peers import Peers
from tests.peers.sink import OtlpSink
from tests.peers.waiting import until

SECRETS = {
    "DD_API_KEY": "dd-secret",
    "DYNATRACE_API_TOKEN": "dt-secret",
    "NEW_RELIC_LICENSE_KEY": "nr-secret",
    "HONEYCOMB_API_KEY": "hc-secret",
    "GRAFANA_CLOUD_INSTANCE_ID": "12345",
    "GRAFANA_CLOUD_TOKEN": "gc-secret",
    "SPLUNK_ACCESS_TOKEN": "sp-secret",
    "ELASTIC_API_KEY": "el-secret",
    "SIGNOZ_INGESTION_KEY": "sn-secret",
    "OTLP_AUTHORIZATION": "Bearer ot-secret",
}

SIGNED = {
    "datadog": ("dd-api-key", "dd-secret"),
    "dynatrace": ("authorization", "Api-Token dt-secret"),
    "newrelic": ("api-key", "nr-secret"),
    "honeycomb": ("x-honeycomb-team", "hc-secret"),
    "grafana-cloud": ("authorization", "Basic MTIzNDU6Z2Mtc2VjcmV0"),
    "splunk": ("x-sf-token", "sp-secret"),
    "elastic": ("authorization", "ApiKey el-secret"),
    "signoz": ("signoz-ingestion-key", "sn-secret"),
    "otlp": ("authorization", "Bearer ot-secret"),
    "azure": ("authorization", "Bearer az-secret"),
    "aws": ("authorization", "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"),
}
"""By vendor: the header every request must carry, and how its value begins. Google's exporter needs Google to sign."""

READ, USED = "gen_ai.client.inference.usage.input_tokens", "gen_ai.client.token.usage"

CONVERTED = {"azure", "datadog", "dynatrace", "elastic", "newrelic"}


@pytest.mark.parametrize("vendor", SIGNED)
def test_what_a_vendor_receives(vendor: str, peers: Peers, tmp_path: Path) -> None:
    """Metrics and traces arrive signed, as delta exactly where the vendor wants it, nothing lost or counted twice.

    Tokens arrive under both of their names, by direction or by modality as each has it.
    """
    sink = peers.sink()
    collector = _collector(peers, vendor, sink, tmp_path)
    with OtlpEmitter(collector.otlp_http) as emitter:
        for _ in range(3):
            emitter.call(tenant="acme", error="kept")
            for modality in ("text", "audio"):
                emitter.record(READ, 20, {"tenant.id": "acme", "gen_ai.token.modality": modality})
            emitter.record(USED, 40, {"tenant.id": "acme", "gen_ai.token.type": "input"})
            emitter.flush()
    until(lambda: _accepted(sink) == 3, "three accepted calls")
    until(lambda: _tokens(sink) == {"text": 60, "audio": 60, "input": 120}, "the tokens by both names")
    assert len(until(lambda: {span.trace_id for span in sink.spans}, "the traces")) == 3
    assert _temporalities(sink) == {DELTA if vendor in CONVERTED else CUMULATIVE}
    name, value = SIGNED[vendor]
    assert all(headers[name].startswith(value) for headers in sink.headers)


def _collector(peers: Peers, vendor: str, sink: OtlpSink, folder: Path) -> Collector:
    token = folder / "token"
    token.write_text("az-secret")
    redirected = folder / "redirected.yaml"
    redirected.write_text(yaml.safe_dump(_redirected(vendor, sink)))
    names = ("base", "production", f"vendors/{vendor}")
    given = environment(*names, folder=folder) | SECRETS
    given |= {"AZURE_MONITOR_TOKEN_FILE": str(token), "COLLECTOR_ROOT_GRACE": "1s"}
    del given["COLLECTOR_QUEUE_DIR"]
    return peers.collector(*map(layer, names), redirected, environment=given)


def _redirected(vendor: str, sink: OtlpSink) -> dict[str, Any]:
    """A last layer: the vendor's addresses point here, and no detector asks a cloud's metadata server."""
    exporters = {
        name: {key: _address(key, sink) for key in settings if key.endswith("endpoint")}
        for name, settings in content(f"vendors/{vendor}")["exporters"].items()
    }
    return {"exporters": exporters, "processors": {"resource_detection": {"detectors": ["env"]}}}


def _address(key: str, sink: OtlpSink) -> str:
    signal = key.removesuffix("endpoint").rstrip("_")
    return f"{sink.url}/v1/{signal}" if signal else sink.url


def _accepted(sink: OtlpSink) -> float:
    """How many calls a backend would show: the sum of delta points, or the last of cumulative ones."""
    sums = [metric.sum for metric in list(sink.metrics) if metric.name == "voice.call.accepted"]
    values = [point.as_int + point.as_double for total in sums for point in total.data_points]
    return sum(values) if sums and sums[0].aggregation_temporality == DELTA else max(values, default=0)


def _tokens(sink: OtlpSink) -> dict[str, float]:
    """The tokens a backend would show, of the newer name by modality and of the older one by direction."""
    sums: dict[str, float] = {}
    for metric in list(sink.metrics):
        if metric.name == READ:
            values = [(point.attributes, point.as_int + point.as_double) for point in metric.sum.data_points]
            temporality = metric.sum.aggregation_temporality
        elif metric.name == USED:
            values = [(point.attributes, point.sum) for point in metric.histogram.data_points]
            temporality = metric.histogram.aggregation_temporality
        else:
            continue
        for attributes, value in values:
            (by,) = [a.value.string_value for a in attributes if a.key.startswith("gen_ai.token.")]
            sums[by] = sums.get(by, 0) + value if temporality == DELTA else max(sums.get(by, 0), value)
    return sums


def _temporalities(sink: OtlpSink) -> set[int]:
    """Of counters and histograms; up-down counters stay cumulative everywhere."""
    counters = {m.sum.aggregation_temporality for m in sink.metrics if m.HasField("sum") and m.sum.is_monotonic}
    return counters | {m.histogram.aggregation_temporality for m in sink.metrics if m.HasField("histogram")}
