"""Distributions: buckets, quantiles and the example calls."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.metrics.live_table import Distribution, quantile
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit

BOUNDS = (1.0, 2.0, 5.0)


def test_an_empty_distribution_has_no_quantile() -> None:
    """Without values there is no quantile to tell."""
    empty = Distribution(BOUNDS)
    assert empty.counts == [0, 0, 0, 0]
    assert empty.quantile(0.5) is None
    assert empty.count == 0


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    """Half of ten values between one and two lies at one and a half."""
    assert quantile(0.5, BOUNDS, [0, 10, 0, 0]) == 1.5
    assert quantile(1.0, BOUNDS, [0, 10, 0, 0]) == 2.0
    assert quantile(0.0, BOUNDS, [0, 10, 0, 0]) == 1.0


def test_above_the_last_bound_nothing_more_is_known() -> None:
    """A quantile that falls above the last bound is that bound."""
    assert quantile(0.99, BOUNDS, [1, 0, 0, 99]) == 5.0


@given(st.lists(st.floats(0, 4.99), min_size=1), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_value_it_stands_for(values: list[float], share: float) -> None:
    """The quantile is never further from the exact one than the bucket is wide."""
    counts = [sum(low < value <= high for value in values) for low, high in ((-1, 1), (1, 2), (2, 5))]
    found = quantile(share, BOUNDS, [*counts, 0])
    exact = sorted(values)[max(0, min(len(values) - 1, -int(-share * len(values) // 1) - 1))]
    bucket = next(index for index, bound in enumerate(BOUNDS) if exact <= bound)
    assert found is not None
    assert (0.0, 1.0, 2.0)[bucket] <= found <= BOUNDS[bucket]


def test_each_bucket_remembers_its_last_call(kit: TelemetryKit) -> None:
    """The examples of a live distribution name the traces of the calls they were measured in, the latest each."""
    for number, seconds in enumerate((0.375, 0.4375, 9.0)):
        call = kit.tracker.received(f"call-{number}", "acme")
        kit.clock.advance(seconds)
        call.accepted()
        call.abandoned(EndReason.HANGUP)
    traces = [root.trace_id for root in kit.spans()]
    setup = kit.distributions("acme")["voice.call.setup.duration"]
    assert setup.count == 3
    examples = {example.value: example.trace_id for example in setup.examples.values()}
    assert examples == {0.4375: traces[1], 9.0: traces[2]}
    assert all(setup.bounds[bucket - 1] < e.value <= setup.bounds[bucket] for bucket, e in setup.examples.items())
