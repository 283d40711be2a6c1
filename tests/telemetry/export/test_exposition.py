"""The table of series as Prometheus reads it: names, labels, buckets, exemplars."""

import re
from collections.abc import Iterable, Iterator

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.export.exposition import Exposition, label_name, metric_name
from telemetry.export.plan import Temporality
from telemetry.metrics.series import Descriptor
from telemetry.semconv.catalogue import INSTRUMENTS
from telemetry.semconv.documentation import prometheus_name
from telemetry.semconv.instrument import Kind
from tests.telemetry.export.side_by_side import SideBySide
from tests.telemetry.export.test_against_the_sdk import _context

RESOURCE = Resource(
    {
        "service.name": "callscope",
        "service.namespace": "voice",
        "service.instance.id": "i-1",
        "service.version": "1.2",
        "host.name": 'a "b"\\\n',
    }
)
COMMON = 'instance="i-1",job="voice/callscope",service_version="1.2"'


def text(bench: SideBySide, *, open_metrics: bool) -> list[str]:
    bench.live.fold()
    with bench.table.pinned() as pin:
        parts = Exposition(bench.table, pin, RESOURCE, open_metrics=open_metrics).parts()
        return "".join(parts).splitlines()


def of(lines: Iterable[str], name: str) -> list[str]:
    return [line.replace(COMMON, "…") for line in lines if re.match(rf"{name}(_bucket|_sum|_count|_created)?\{{", line)]


@pytest.mark.parametrize(
    ("name", "unit", "data", "monotonic", "expected"),
    [
        ("voice.call.time", "s", Sum, True, "voice_call_time_seconds_total"),
        ("http.server.request.duration", "s", Histogram, False, "http_server_request_duration_seconds"),
        ("process.memory", "By", Sum, False, "process_memory_bytes"),
        ("disk.rate", "By/s", Gauge, False, "disk_rate_bytes_per_second"),
        ("system.cpu.utilization", "1", Gauge, False, "system_cpu_utilization_ratio"),
        ("requests", "1", Sum, True, "requests_total"),
        ("total.requests", "{request}", Sum, True, "requests_total"),
        ("wait.seconds", "s", Gauge, False, "wait_seconds"),
        ("4xx..errors", "{error}", Sum, True, "_4xx_errors_total"),
        ("fuel", "L", Gauge, False, "fuel_L"),
    ],
)
def test_names_are_those_of_the_translation(name: str, unit: str, data: type, monotonic: bool, expected: str) -> None:
    """Dots become underscores, units words, counters end in total."""
    scope = InstrumentationScope("test")
    assert metric_name(Descriptor(scope, "", name, unit, "", data, monotonic, observable=False)) == expected


def test_the_catalogue_has_one_name_by_either_way() -> None:
    """What the documentation, dashboards and rules call an instrument is what a scrape calls it."""
    data = {Kind.HISTOGRAM: Histogram, Kind.OBSERVABLE_GAUGE: Gauge}
    for instrument in INSTRUMENTS:
        monotonic = instrument.kind in (Kind.COUNTER, Kind.OBSERVABLE_COUNTER)
        kind = data.get(instrument.kind, Sum)
        scope = InstrumentationScope("callscope")
        made = Descriptor(scope, "", instrument.name, instrument.unit, "", kind, monotonic, observable=False)
        assert metric_name(made) == prometheus_name(instrument)


def test_labels_are_escaped_and_none_stands_twice() -> None:
    """What a label cannot carry is escaped; keys that make one label share it; the process's own labels win."""
    assert (label_name("tenant.id"), label_name("4x")) == ("tenant_id", "key_4x")
    bench = SideBySide(Temporality.CUMULATIVE)
    bench.calls.add(1, {"a.b": "x", "a_b": "y", "job": "mine", "quote": '"\\\n'})
    (line,) = of(text(bench, open_metrics=False), "calls_total")
    assert line == 'calls_total{…,a_b="x;y",quote="\\"\\\\\\n"} 1'


def test_a_histogram_is_cumulative_and_carries_exemplars() -> None:
    """Each bucket counts all below it; in OpenMetrics the bucket of an exemplar leads to its trace."""
    bench = SideBySide(Temporality.CUMULATIVE)
    for value in (0.5, 0.75, 50.0):
        bench.duration.record(value, {"tenant": "acme"}, _context(7))
    plain, rich = (of(text(bench, open_metrics=which), "duration_seconds") for which in (False, True))
    labels = '…,tenant="acme"'
    assert plain == [
        f'duration_seconds_bucket{{{labels},le="1.0"}} 2',
        f'duration_seconds_bucket{{{labels},le="10.0"}} 2',
        f'duration_seconds_bucket{{{labels},le="+Inf"}} 3',
        f"duration_seconds_sum{{{labels}}} 51.25",
        f"duration_seconds_count{{{labels}}} 3",
    ]
    trace = f'# {{span_id="{7:016x}",trace_id="{7 << 64 | 1:032x}"}}'
    assert rich[0].startswith(f"{plain[0]} {trace} 0.75 ")
    assert rich[1] == plain[1]
    assert rich[2].startswith(f"{plain[2]} {trace} 50.0 ")
    assert rich[5].startswith(f"duration_seconds_created{{{labels}}} ")


def test_each_kind_of_instrument_has_its_type() -> None:
    """Counters, gauges and histograms; an exponential histogram tells its count and sum."""
    bench = SideBySide(Temporality.CUMULATIVE)
    bench.calls.add(1)
    bench.active.add(-2)
    bench.level.set(1.5)
    bench.spread.record(3)
    bench.spread.record(500)
    bench.observed["acme"] = 7
    lines = text(bench, open_metrics=True)
    types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    assert types == {
        "target": "info",
        "calls": "counter",
        "active": "gauge",
        "spread": "histogram",
        "level": "gauge",
        "observed": "counter",
        "held": "gauge",
        "seen": "gauge",
    }
    assert of(lines, "level") == ["level{…} 1.5"]
    assert of(lines, "active") == ["active{…} -2"]
    assert of(lines, "spread")[:3] == ['spread_bucket{…,le="+Inf"} 2', "spread_sum{…} 503", "spread_count{…} 2"]
    assert lines[-1] == "# EOF"
    assert (
        'target_info{instance="i-1",job="voice/callscope",service_version="1.2",host_name="a \\"b\\"\\\\\\n"} 1'
        in lines
    )


def test_what_is_no_longer_observed_is_not_told() -> None:
    """A series that its callback has left out of the last collection is gone from the next scrape."""
    bench = SideBySide(Temporality.CUMULATIVE)
    bench.observed.update(acme=1, birch=2)
    assert len(of(text(bench, open_metrics=False), "seen")) == 2
    del bench.observed["acme"]
    assert of(text(bench, open_metrics=False), "seen") == ['seen{…,tenant="birch"} 2']


def test_of_two_instruments_of_one_name_and_different_kinds_the_first_is_told() -> None:
    """A family has one type; series of another kind under its name would make Prometheus refuse all of it."""
    bench = SideBySide(Temporality.CUMULATIVE)

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        yield Observation(1)

    bench.calls.add(1)
    bench.provider.get_meter("other").create_observable_gauge("calls.total", [observe])
    lines = text(bench, open_metrics=False)
    assert [line for line in lines if line.startswith("# TYPE calls_total")] == ["# TYPE calls_total counter"]
    assert of(lines, "calls_total") == ["calls_total{…} 1"]
