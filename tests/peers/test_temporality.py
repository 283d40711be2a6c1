"""A real Collector that turns deltas into totals, or totals into deltas, takes our stream and ends at our numbers."""

from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from tests.peers.gateway import eventually
from tests.peers.peers import Peers
from tests.peers.received import Point, Received
from tests.telemetry.export.running import running, to

ROUNDS = 6
TENANTS = ("acme", "birch", "cedar")
NEVER_MS = 3_600_000

Totals = dict[tuple[str, str], float]
"""The amount by metric and tenant."""


def _layer(folder: Path, processor: str) -> tuple[Path, Received]:
    """Return a layer that has the processor convert what leaves, and what it writes."""
    written = folder / "converted.jsonl"
    file = folder / "converting.yaml"
    pipeline = {"receivers": ["forward/out"], "processors": [processor], "exporters": ["file/converted"]}
    settings = {
        "processors": {processor: {}},
        "exporters": {"file/converted": {"path": str(written), "append": True, "flush_interval": "50ms"}},
        "service": {"pipelines": {"metrics/converted": pipeline}},
    }
    file.write_text(yaml.safe_dump(settings))
    return file, Received(written)


def _totals(points: list[Point], *, deltas: bool) -> Totals:
    """Return where the points end: the sum of deltas, or the last of totals, which must not fall."""
    totals: Totals = defaultdict(float)
    for point in points:
        key = point.metric, str(point.attributes["tenant"])
        assert point.delta is deltas, point
        assert deltas or point.value >= totals[key], f"{point} is less than before"
        totals[key] = totals[key] + point.value if deltas else point.value
    return dict(totals)


@pytest.mark.parametrize("histograms", ["explicit_bucket_histogram", "base2_exponential_bucket_histogram"])
@pytest.mark.parametrize(
    ("preference", "processor"),
    [
        ("delta", "delta_to_cumulative"),
        ("lowmemory", "delta_to_cumulative"),
        ("cumulative", "cumulative_to_delta"),
    ],
)
async def test_a_converting_collector_ends_at_our_numbers(
    preference: str, processor: str, histograms: str, peers: Peers, tmp_path: Path
) -> None:
    """Whichever way it is converted, each series of counters and histograms adds up to what was recorded, exactly.

    Tenants come one after the other, pause, and go on: the first value of a series is neither lost nor counted twice,
    which takes right start times.
    """
    layer, converted = _layer(tmp_path, processor)
    collector = peers.collector("base", layer)
    environ = to(
        collector.otlp_http,
        "http/protobuf",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference,
        OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=histograms,
        OTEL_METRIC_EXPORT_INTERVAL=str(NEVER_MS),
    )
    recorded: Totals = defaultdict(float)
    with running(environ) as pipelines:
        meter = pipelines.meter_provider.get_meter("test")
        calls, seconds = meter.create_counter("test.calls"), meter.create_histogram("test.seconds")
        for number in range(ROUNDS):
            for place, tenant in enumerate(TENANTS):
                if number >= place and (number + place) % 3:
                    calls.add(number + 1, {"tenant": tenant})
                    seconds.record(10.0 ** (number - place), {"tenant": tenant})
                    recorded["test.calls", tenant] += number + 1
                    recorded["test.seconds", tenant] += 1
            assert pipelines.flush(30)

        async def arrived() -> bool:
            points = [point for point in converted.points() if point.metric.startswith("test.")]
            return _totals(points, deltas=preference == "cumulative") == recorded

        await eventually(arrived, "the converted numbers to be those that were recorded")
