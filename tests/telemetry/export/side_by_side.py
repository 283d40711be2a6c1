"""Real instruments whose measurements go to our reader and to the SDK's own at once."""

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
    _Gauge,
)
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from telemetry.export.plan import Temporality
from telemetry.export.points import ExportPart, Points
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.metrics.reader import LiveMetricsReader

LIMITED: tuple[Any, ...] = (
    Counter,
    UpDownCounter,
    Histogram,
    ObservableCounter,
    ObservableUpDownCounter,
    ObservableGauge,
    _Gauge,
)
RESOURCE = Resource({"service.name": "test"})
PREFERENCE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


class SideBySide:
    """Our reader, the SDK's with the temporality that its exporter prefers, and instruments of every kind."""

    def __init__(
        self, temporality: Temporality, preferred: Mapping[type, Any] | None = None, limit: int = 1_000
    ) -> None:
        self.temporality = temporality
        self.store = LiveMetricsStore(series=limit)
        self.table = self.store.series
        self.table.keep_pending = temporality is not Temporality.CUMULATIVE
        self.live = LiveMetricsReader(self.store)
        self.sdk = InMemoryMetricReader(
            preferred_temporality=dict(preferred or {}), cardinality_limits=dict.fromkeys(LIMITED, limit)
        )
        self.provider = MeterProvider(
            [self.live, self.sdk],
            resource=RESOURCE,
            exemplar_filter=AlwaysOnExemplarFilter(),
            views=[View(instrument_name="spread", aggregation=ExponentialBucketHistogramAggregation())],
            shutdown_on_exit=False,
        )
        meter = self.provider.get_meter("bench", "1", schema_url="https://example.com/schema")
        self.calls = meter.create_counter("calls", "{call}", "Calls.")
        self.active = meter.create_up_down_counter("active")
        self.duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[1, 10])
        self.spread = meter.create_histogram("spread")
        self.level = meter.create_gauge("level")
        self.observed: dict[str, float] = {}
        meter.create_observable_counter("observed", [self._observe])
        meter.create_observable_up_down_counter("held", [self._observe])
        meter.create_observable_gauge("seen", [self._observe])
        self.exemplars_since = 0

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        return (Observation(value, {"tenant": tenant}) for tenant, value in self.observed.items())

    def parts(self, size: int = 3, acknowledged: int = 1_000_000) -> list[ExportPart]:
        """Export in parts, of which only the first ``acknowledged`` arrive; return those."""
        self.live.fold()
        arrived: list[ExportPart] = []
        with self.table.pinned(deltas=self.table.keep_pending) as pin:
            points = Points(self.table, pin, self.temporality, RESOURCE, exemplars_since=self.exemplars_since)
            for part in points.parts(size):
                if len(arrived) == acknowledged:
                    points.give_back(part)
                    break
                points.acknowledge(part)
                arrived.append(part)
            else:
                self.exemplars_since = pin.number
        return arrived

    def ours(self, size: int = 3) -> list[pb.ResourceMetrics]:
        """Export everything, as OTLP."""
        return [resource for part in self.parts(size) for resource in encode_metrics(part.data).resource_metrics]

    def theirs(self) -> list[pb.ResourceMetrics]:
        """Collect everything from the SDK's reader, as OTLP."""
        return list(encode_metrics(self.sdk.get_metrics_data() or MetricsData([])).resource_metrics)


def preferred(temporality: Temporality, monkeypatch: Any) -> Mapping[type, Any]:  # noqa: ANN401 -- pytest's
    """Return the temporality of each kind of instrument that the SDK's exporter asks its reader for."""
    monkeypatch.setenv(PREFERENCE, temporality.upper())
    public = {kind.__name__: kind for kind in LIMITED}
    asked = OTLPMetricExporter()._preferred_temporality or {}
    return {public[kind.__name__.removeprefix("_")]: chosen for kind, chosen in asked.items()}
