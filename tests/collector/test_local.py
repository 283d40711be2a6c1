"""The local layer at work: metrics in Prometheus, traces in Jaeger, an exemplar leading from one to the other."""

import time

import pytest

from telemetry.semconv.catalogue import INSTRUMENTS
from tests.collector.authority import certificates
from tests.collector.names import prometheus_names
from tests.peers.collector import Collector
from tests.peers.emitter import OtlpEmitter
from tests.peers.jaeger import Jaeger
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus
from tests.peers.waiting import until


@pytest.fixture(scope="module")
def jaeger(module_peers: Peers) -> Jaeger:
    return module_peers.jaeger()


@pytest.fixture(scope="module")
def prometheus(module_peers: Peers) -> Prometheus:
    return module_peers.prometheus()


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_an_exemplar_leads_to_its_trace(grpc: bool, peers: Peers, prometheus: Prometheus, jaeger: Jaeger) -> None:
    """A call's duration bucket in Prometheus names a trace that Jaeger finds, whichever protocol brought it."""
    environment = {
        "PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url,
        "TRACES_OTLP_GRPC": jaeger.otlp_grpc_target,
    }
    collector = peers.collector("base", "local", environment=environment)
    tenant = f"exemplar-{grpc}"
    with OtlpEmitter(collector.otlp_grpc if grpc else collector.otlp_http, grpc=grpc) as emitter:
        trace_id = emitter.call(tenant=tenant, seconds=42)
    buckets = f'voice_call_duration_seconds_bucket{{tenant_id="{tenant}"}}'
    exemplar = until(lambda: prometheus.query_exemplars(buckets), "the exemplar")[0]
    assert exemplar.trace_id == trace_id
    assert {span.name for span in until(lambda: jaeger.trace(trace_id), "the trace")} == {"call", "turn"}
    assert "deprecated" not in collector.log


def test_every_instrument_has_the_name_the_rules_use(peers: Peers, prometheus: Prometheus) -> None:
    """The catalogue's instruments have exactly those names in Prometheus that the tests' translation says."""
    collector = _local(peers, prometheus)
    with OtlpEmitter(collector.otlp_http, signals=["metrics"]) as emitter:
        for instrument in INSTRUMENTS:
            emitter.record(instrument.name, 1, dict.fromkeys(instrument.attributes, "x"))
    expected = {name for instrument in INSTRUMENTS for name in prometheus_names(instrument)}
    until(lambda: expected <= prometheus.metric_names(), f"{sorted(expected - prometheus.metric_names())}")
    ours = {name for name in prometheus.metric_names() if name.startswith(("voice_", "gen_ai_", "callscope_"))}
    assert ours == expected


def test_prometheus_keeps_what_says_whose_series_it_is(peers: Peers, prometheus: Prometheus) -> None:
    """A series carries the service as `job`, the process as `instance`, and attributes with underscores for dots."""
    collector = _local(peers, prometheus)
    with OtlpEmitter(collector.otlp_http) as emitter:
        emitter.record("voice.call.rejected", 3, {"tenant.id": "labels", "voice.call.rejection.reason": "capacity"})
    sample = until(lambda: prometheus.query('voice_call_rejected_total{tenant_id="labels"}'), "the series")[0]
    assert sample.value == 3
    assert sample.labels["job"] == "callscope"
    assert sample.labels["voice_call_rejection_reason"] == "capacity"
    assert len(sample.labels["instance"]) == 36


def test_the_first_call_of_a_tenant_is_an_increase(peers: Peers, prometheus: Prometheus) -> None:
    """A counter that first appears as 1 counts as an increase of 1, so that rare events are not lost to alerts."""
    collector = _local(peers, prometheus)
    errors = 'voice_instructions_errors_total{tenant_id="first"}'
    with OtlpEmitter(collector.otlp_http, signals=["metrics"]) as emitter:
        emitter.record("voice.instructions.errors", 1, {"tenant.id": "first"})
        time.sleep(0.01)  # its start and its first export must not fall into one millisecond
        emitter.flush()
    assert until(lambda: prometheus.value(f"increase({errors}[5m])"), "the increase") > 0
    assert prometheus.value(f"min_over_time({errors}[5m])") == 0


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_mutual_tls(
    grpc: bool, peers: Peers, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the mtls layer a client with a certificate of the authority is let in, and one without is not."""
    issued = certificates(tmp_path_factory.mktemp("certificates"))
    collector = peers.collector("base", "mtls", environment=issued.for_the_collector())
    address = (collector.otlp_grpc if grpc else collector.otlp_http).replace("http://", "https://")
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in issued.for_the_exporters().items():
        monkeypatch.setenv(variable, value)
    with OtlpEmitter(address, grpc=grpc, signals=["metrics"]) as emitter:
        emitter.record("voice.call.accepted", 1, {"tenant.id": "let-in"})
    until(lambda: collector.received.points("voice.call.accepted"), "the point of the certified client")
    for variable in ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"):
        monkeypatch.delenv(variable)
    with OtlpEmitter(address, grpc=grpc, signals=["metrics"]) as emitter:
        emitter.record("voice.call.rejected", 1, {"tenant.id": "kept-out"})
    assert collector.received.points("voice.call.rejected") == []


def _local(peers: Peers, prometheus: Prometheus) -> Collector:
    return peers.collector("base", "local", environment={"PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url})
