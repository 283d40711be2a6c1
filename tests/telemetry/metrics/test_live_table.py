"""The live table: one row a tenant, bounded, with exact totals whatever did not fit."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from telemetry.metrics.live_table import BOUNDS, COUNTERS, EVERYTHING, ROW_WIDTH, LiveMetricsStore, Selection
from telemetry.semconv import catalogue

DELTA: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, UpDownCounter, Histogram), AggregationTemporality.DELTA
)


def counted(
    tenants: Sequence[str | None],
    limit: int = 1000,
    scope: str = catalogue.METER_NAME,
    name: str = "voice.call.received",
) -> MetricsData:
    """A collection that counted one for each of these tenants."""
    reader = InMemoryMetricReader(DELTA, cardinality_limits={Counter: limit})
    provider = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    counter = provider.get_meter(scope).create_counter(name)
    for tenant in tenants:
        counter.add(1, {} if tenant is None else {"tenant.id": tenant})
    data = reader.get_metrics_data()
    assert data is not None
    return data


def received(store: LiveMetricsStore, tenant: str | None = None) -> int | float:
    numbers = store.numbers(tenant)
    assert numbers is not None
    return numbers["received_calls"]


def test_folds_add_up_per_tenant_and_in_total() -> None:
    """Each fold adds what it brought to its tenants' rows and to the total."""
    store = LiveMetricsStore()
    store.fold(counted(["acme", "acme", "globex"]))
    store.fold(counted(["acme"]))
    assert received(store, "acme") == 3
    assert received(store, "globex") == 1
    assert received(store) == 4
    assert sorted(store.tenants()) == ["acme", "globex"]
    assert store.by_tenant()["globex"] == store.numbers("globex")


def test_the_live_view_has_the_twelve_fields_in_order() -> None:
    """The live view answers exactly the twelve public fields, integers but for the minutes."""
    live = LiveMetricsStore().live()
    assert live is not None
    assert tuple(live) == catalogue.LIVE_FIELDS
    assert {name for name, value in live.items() if isinstance(value, float)} == {"minutes_processed"}


def test_a_tenant_never_seen_has_no_row() -> None:
    """Asking for a tenant nobody has counted answers nothing, rather than zeros."""
    store = LiveMetricsStore()
    assert store.live("acme") is None
    assert store.numbers("acme") is None
    assert store.distributions("acme") is None


def test_tenants_past_the_bound_count_under_other() -> None:
    """The table holds its bound of tenants; later ones add to `_other`, counted, and the total stays exact."""
    store = LiveMetricsStore(max_tenants=2)
    store.fold(counted(["a", "b", "c", "d", "c"]))
    store.fold(counted(["a", "c"]))
    assert sorted(store.tenants()) == ["_other", "a", "b"]
    assert received(store, "_other") == 4
    assert received(store, "a") == 2
    assert received(store) == 7
    size = store.size()
    assert (size.tenants, size.folded_into_other, size.overflowed) == (3, 3, 0)


def test_the_reserved_tenants_need_no_room() -> None:
    """`_unknown` and `_other` have rows of their own however full the table is."""
    store = LiveMetricsStore(max_tenants=1)
    store.fold(counted(["a", "_unknown", "_other", "b"]))
    assert received(store, "_unknown") == 1
    assert received(store, "_other") == 2


def test_what_the_sdk_merged_counts_under_other_and_in_total() -> None:
    """Data points the SDK merged at its cardinality limit keep the total exact and are told of."""
    store = LiveMetricsStore()
    store.fold(counted([f"tenant-{number}" for number in range(10)], limit=4))
    assert received(store) == 10
    assert received(store, "_other") == 6
    assert store.size().overflowed == 1


def test_other_scopes_and_instruments_pass_by() -> None:
    """Only the catalogue's own instruments of this project's scope are folded."""
    store = LiveMetricsStore()
    store.fold(counted(["acme"], scope="someone.else"))
    store.fold(counted(["acme"], name="callscope.other"))
    assert store.tenants() == []
    assert received(store) == 0


def test_distributions_are_copies() -> None:
    """A distribution read earlier does not change when more is folded."""
    store = LiveMetricsStore()
    reader = InMemoryMetricReader(DELTA)
    provider = MeterProvider([reader], resource=Resource({}), shutdown_on_exit=False)
    histogram = provider.get_meter(catalogue.METER_NAME).create_histogram(
        catalogue.DURATION.name, explicit_bucket_boundaries_advisory=catalogue.DURATION.boundaries
    )
    for seconds in (3.0, 100.0):
        histogram.record(seconds, {"tenant.id": "acme", "voice.call.end.reason": "hangup"})
        before = store.distributions("acme")
        data = reader.get_metrics_data()
        assert data is not None
        store.fold(data)
    assert before is not None
    after, total = store.distributions("acme"), store.distributions()
    assert after is not None
    assert total == after
    assert before[catalogue.DURATION.name].count == 1
    assert after[catalogue.DURATION.name].count == 2
    assert after[catalogue.DURATION.name].total == 103.0


def test_a_table_without_room_is_refused() -> None:
    """A bound below one is refused by name."""
    with pytest.raises(ValueError, match="max_tenants must be at least 1, not 0"):
        LiveMetricsStore(max_tenants=0)


def test_a_whole_row_has_each_number_once() -> None:
    """Counters and buckets lie side by side: no two selections share a column, and together they are the whole row."""
    counters = Selection(COUNTERS).columns()
    buckets = [Selection((), (name,)).columns() for name in BOUNDS]
    assert [len(columns) for columns in buckets] == [len(bounds) + 1 for bounds in BOUNDS.values()]
    assert [*counters, *(column for columns in buckets for column in columns)] == list(range(ROW_WIDTH))
    assert EVERYTHING.columns() == tuple(range(ROW_WIDTH))
