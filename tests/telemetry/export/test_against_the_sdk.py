"""What is exported is what the SDK's own reader and exporter would have sent, point by point."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from telemetry.export.plan import Temporality
from tests.telemetry.export.side_by_side import SideBySide, preferred

TENANTS = ("acme", "birch", "cedar", "dogwood")
Step = tuple[str, str, float]
Points = dict[tuple[object, ...], dict[str, object]]

NUMBERS = st.integers(0, 2_000).map(lambda quarters: quarters / 4)
# Binary fractions, of which every order of adding makes the same sum.


def steps() -> st.SearchStrategy[list[Step]]:
    acting = st.tuples(
        st.sampled_from(["call", "end", "record", "spread", "level", "observe", "vanish"]),
        st.sampled_from(TENANTS),
        NUMBERS,
    )
    reading = st.tuples(st.sampled_from(["fold", "compare"]), st.just(""), st.just(0.0))
    return st.lists(st.one_of(acting, acting, reading), max_size=60)


def play(bench: SideBySide, story: Iterable[Step], *, resets: bool) -> None:
    """Let it happen; each comparison finds the same on both sides."""
    for number, (action, tenant, amount) in enumerate([*story, ("compare", "", 0.0)], start=1):
        match action:
            case "observe":
                before = 0.0 if resets else bench.observed.get(tenant, 0.0)
                bench.observed[tenant] = before + amount
            case "vanish":
                # With deltas, what comes back must not be less than it was.
                if resets:
                    bench.observed.pop(tenant, None)
            case "fold":
                bench.live.fold()
            case "compare":
                ours, theirs = flat(bench.ours()), flat(bench.theirs())
                assert list(ours) == sorted_like(theirs, ours)
                assert ours == theirs
            case _:
                record(bench, number, action, tenant, amount)


def record(bench: SideBySide, number: int, action: str, tenant: str, amount: float) -> None:
    """Record on a synchronous instrument, in the context of a span of its own."""
    attributes, context = {"tenant": tenant}, _context(number)
    match action:
        case "call":
            bench.calls.add(amount, attributes, context)
            bench.active.add(1, attributes, context)
        case "end":
            bench.active.add(-amount, attributes, context)
        case "record":
            bench.duration.record(amount / 16, attributes, context)
        case "spread":
            bench.spread.record(amount * 2.0 ** (number % 40 - 20), attributes, context)
        case "level":
            bench.level.set(amount, attributes, context)


def sorted_like(theirs: Points, ours: Points) -> list[tuple[object, ...]]:
    """The same series in our order: within a metric, series come in the order they came, on both sides."""
    return [key for key in ours if key in theirs] + [key for key in theirs if key not in ours]


def _context(number: int) -> Any:  # noqa: ANN401 -- a context
    span = SpanContext(number << 64 | 1, number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return trace.set_span_in_context(NonRecordingSpan(span))


def flat(resources: Iterable[pb.ResourceMetrics]) -> Points:
    """Each point with everything that it says but the times."""
    found: Points = {}
    for resource in resources:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in _points(metric):
                    key = (metric.name, tuple((a.key, a.value.SerializeToString()) for a in point.attributes))
                    assert key not in found, f"{key} is told twice"
                    found[key] = {
                        "resource": resource.resource.SerializeToString(),
                        "scope": (scope.scope.SerializeToString(), scope.schema_url),
                        "metric": (metric.unit, metric.description, *_shape(metric)),
                        "has_start": bool(point.start_time_unix_nano),
                        **_said(point),
                    }
    return found


def _points(metric: pb.Metric) -> Iterator[Any]:
    kind = metric.WhichOneof("data")
    assert kind is not None
    return iter(getattr(metric, kind).data_points)


def _shape(metric: pb.Metric) -> tuple[object, ...]:
    kind = metric.WhichOneof("data")
    assert kind is not None
    data = getattr(metric, kind)
    return kind, getattr(data, "aggregation_temporality", None), getattr(data, "is_monotonic", None)


def _said(point: Any) -> dict[str, object]:  # noqa: ANN401 -- of any kind
    if isinstance(point, pb.NumberDataPoint):
        return {"value": (point.WhichOneof("value"), point.as_int, point.as_double)}
    common = {"count": point.count, "sum": point.sum, "min": point.min, "max": point.max}
    if isinstance(point, pb.HistogramDataPoint):
        exemplars = sorted(exemplar.SerializeToString() for exemplar in point.exemplars)
        return common | {
            "counts": list(point.bucket_counts),
            "bounds": list(point.explicit_bounds),
            "exemplars": exemplars,
        }
    return common | {
        "scale": point.scale,
        "zeros": point.zero_count,
        "positive": _filled(point.positive),
        "negative": _filled(point.negative),
    }


def _filled(buckets: Any) -> dict[int, int]:  # noqa: ANN401 -- a message nested in another
    """Counts by index, without the empty buckets that the SDK adds at the end for room to grow."""
    return {index: count for index, count in enumerate(buckets.bucket_counts, start=buckets.offset) if count}


GROWN: Final[tuple[Step, ...]] = (
    ("spread", "acme", 0.0),
    ("call", "acme", 0.0),
    ("call", "acme", 0.0),
    ("fold", "", 0.0),
    ("fold", "", 0.0),
    ("spread", "acme", 0.0),
    ("call", "acme", 0.0),
    ("spread", "acme", 245.25),
)
"""A second collection whose buckets end in empty ones, wide enough to cost the sum of both its resolution."""


@pytest.mark.parametrize("temporality", list(Temporality))
@example(story=[*GROWN])
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(story=steps())
def test_the_same_points_as_the_sdk(
    temporality: Temporality, story: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, buckets, extremes, attributes, temporality and exemplars are the same after any interleaving.

    However often what was recorded is folded between two exports, observables that reset or vanish among it.
    """
    bench = SideBySide(temporality, preferred(temporality, monkeypatch))
    play(bench, without_zeros_alone(story), resets=temporality is Temporality.CUMULATIVE)


def without_zeros_alone(story: Iterable[Step]) -> list[Step]:
    """Leave zeros out of the exponential histogram: of a collection of zeros alone, the SDK tells a wrong scale."""
    return [(action, tenant, amount or 1.0 if action == "spread" else amount) for action, tenant, amount in story]


@settings(max_examples=100)
@example(story=[("observe", tenant, 0.25) for tenant in TENANTS])
@example(story=[("observe", tenant, 0.25) for tenant in TENANTS] + [("fold", "", 0.0), ("observe", "cedar", 0.5)])
@given(story=steps())
def test_past_the_limit_the_same_series_as_the_sdk(story: list[Step]) -> None:
    """Two tenants have series of their own; the others count together in one that says so, on both sides."""
    play(SideBySide(Temporality.CUMULATIVE, limit=2), without_zeros_alone(story), resets=True)


def test_a_series_past_the_limit_stays_past_it() -> None:
    """What goes up in a series comes down in it, however many folds lie between."""
    bench = SideBySide(Temporality.CUMULATIVE, limit=2)
    for change in (1, -1):
        for tenant in TENANTS:
            bench.active.add(change, {"tenant": tenant})
        bench.live.fold()
    values = {key[1]: said["value"] for key, said in flat(bench.ours()).items() if key[0] == "active"}
    assert len(values) == 3
    assert set(values.values()) == {("as_int", 0, 0.0)}


def test_zeros_do_not_cost_an_exponential_histogram_its_resolution() -> None:
    """A fold of zeros alone leaves the scale to what is measured before and after it."""
    bench = SideBySide(Temporality.CUMULATIVE)
    scales = []
    for values in ([0.0], [1.0, 1.001], [0.0]):
        for value in values:
            bench.spread.record(value, {})
        scales += [said["scale"] for said in flat(bench.ours()).values()]
    assert scales[1] == scales[2]
    assert isinstance(scales[1], int)
    assert scales[1] > 10


@given(story=steps())
@settings(max_examples=60)
def test_starts_are_constant_and_never_after_the_first_measurement(story: list[Step]) -> None:
    """Every total of a series begins at one and the same moment, at the latest when it was first measured."""
    bench = SideBySide(Temporality.CUMULATIVE)
    starts: dict[tuple[object, ...], int] = {}
    for action, tenant, amount in [*story, ("compare", "", 0.0)]:
        if action == "call":
            bench.calls.add(amount, {"tenant": tenant})
        elif action == "fold":
            bench.live.fold()
        elif action == "compare":
            theirs = dict(_starts(bench.theirs()))
            for key, start in _starts(bench.ours()):
                assert starts.setdefault(key, start) == start
                assert start <= theirs[key]


def _starts(resources: Iterable[pb.ResourceMetrics]) -> Iterator[tuple[tuple[object, ...], int]]:
    for resource in resources:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in _points(metric):
                    yield (
                        (metric.name, tuple(a.SerializeToString() for a in point.attributes)),
                        point.start_time_unix_nano,
                    )


def test_totals_past_the_limit_are_added_up_in_deltas_too() -> None:
    """What the series past the limit has grown by is what its totals have grown by together."""
    bench = SideBySide(Temporality.DELTA, limit=2)

    def grown() -> float:
        told = flat(bench.ours())
        (value,) = [said["value"] for key, said in told.items() if key[0] == "observed" and "overflow" in str(key[1])]
        return float(value[2])  # type: ignore[index]

    bench.observed = dict.fromkeys(TENANTS, 1.0)
    assert grown() == 2.0
    bench.observed |= {"cedar": 1.5, "dogwood": 4.0}
    assert grown() == 3.5
