"""The layer of totals at work: processes are added up, and what is said of one process keeps its name."""

from collections.abc import Iterable

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.peers.collector import Collector
from tests.peers.emitter import OtlpEmitter
from tests.peers.peers import Peers
from tests.peers.sink import OtlpSink
from tests.peers.waiting import until

SIGNALS = ("metrics", "traces", "logs")
OF_A_PROCESS = {"service.instance.id", "host.name", "process.pid", "k8s.pod.name", "k8s.node.name"}


def test_totals_are_those_of_all_processes(peers: Peers) -> None:
    """Counts and histograms of two processes arrive as one series without a process, up-down counters as two."""
    sink, every_process = peers.sink(), peers.sink()
    environment = {f"OTLP_{signal.upper()}_URL": f"{every_process.url}/v1/{signal}" for signal in SIGNALS} | {
        "TOTALS_METRICS_URL": f"{sink.url}/v1/metrics",
        "COLLECTOR_TOTALS_INTERVAL": "500ms",
    }
    collector = peers.collector("base", "production", "vendors/otlp", "totals", environment=environment)
    with _process(collector, "one") as one, _process(collector, "other") as other:
        for emitter, calls in ((one, 3), (other, 2), (one, 1)):
            for _ in range(calls):
                emitter.call(tenant="acme", seconds=20)
                emitter.record("voice.call.active", 1, {"tenant.id": "acme"})
            emitter.flush()
        until(lambda: _last(sink, "voice.call.accepted") == {(("tenant.id", "acme"),): 6}, "the total")
        (total,) = until(lambda: _last(sink, "voice.call.duration"), "the histogram").values()
        assert total == 6
        active = until(lambda: _both(_last(sink, "voice.call.active")), "both processes")
    assert {dict(labels)["instance"]: value for labels, value in active.items()} == {"one": 4, "other": 2}
    assert not [keys for keys in sink.resources if keys & OF_A_PROCESS]
    assert [keys for keys in every_process.resources if "service.instance.id" in keys]


def _process(collector: Collector, name: str) -> OtlpEmitter:
    return OtlpEmitter(collector.otlp_http, instance=name)


def _both(found: dict[tuple[tuple[str, str], ...], float]) -> dict[tuple[tuple[str, str], ...], float] | None:
    return found if len(found) == 2 and sum(found.values()) == 6 else None


def _labels(attributes: Iterable[KeyValue]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((each.key, each.value.string_value) for each in attributes if "end" not in each.key))


def _last(sink: OtlpSink, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The last value (a histogram's count) of each series of a metric, by its attributes without the end's reason."""
    values: dict[tuple[tuple[str, str], ...], float] = {}
    for metric in list(sink.metrics):
        if metric.name == name:
            for point in metric.sum.data_points:
                values[_labels(point.attributes)] = float(point.as_int or point.as_double)
            for distribution in metric.histogram.data_points:
                values[_labels(distribution.attributes)] = distribution.count
    return values
