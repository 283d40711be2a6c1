"""Whatever is reported in whatever order: the numbers never contradict each other and are never wrong."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telemetry.calls.lifecycle import CallState
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason
from telemetry.testing import TelemetryKit
from tests.telemetry import invariants
from tests.telemetry.model import Model

CALLS = tuple(f"call-{number}" for number in range(5))
GOES_ON = (CallState.PENDING, CallState.ACCEPTED, CallState.STARTED)
TENANTS = ("acme", "globex", "initech")


class Step(NamedTuple):
    """One report, made to the library and to the model."""

    real: Callable[[TelemetryKit], object]
    naive: Callable[[Model], object]


def received(call: str, tenant: str) -> Step:
    return Step(lambda kit: kit.tracker.received(call, tenant), lambda model: model.received(call, tenant))


def accepted(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).accepted(), lambda model: model.accepted(call))


def rejected(call: str, reason: RejectionReason) -> Step:
    return Step(lambda kit: kit.tracker.call(call).rejected(reason), lambda model: model.rejected(call, reason))


def taken_over(call: str, tenant: str, state: CallState) -> Step:
    return Step(
        lambda kit: kit.tracker.taken_over(call, tenant, state),
        lambda model: model.taken_over(call, tenant, state.value),
    )


def unanswered(call: str, reason: UnansweredReason) -> Step:
    return Step(lambda kit: kit.tracker.call(call).unanswered(reason), lambda model: model.unanswered(call, reason))


def handed_over(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).handed_over(), lambda model: model.handed_over(call))


def started(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).started(), lambda model: model.started(call))


def abandoned(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).abandoned(EndReason.ERROR), lambda model: model.abandoned(call))


def referred(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).referred("desk"), lambda model: model.referred(call))


def ended(call: str, reason: EndReason, error: str | None) -> Step:
    return Step(
        lambda kit: kit.tracker.call(call).ended(reason, error_type=error),
        lambda model: model.ended(call, reason, error),
    )


def finished(call: str, reason: EndReason) -> Step:
    # The stand-in for an unknown call counts a finish as a violation, which a model of known calls has no word for.
    return Step(
        lambda kit: kit.tracker.knows(call) and kit.tracker.call(call).finish(reason),
        lambda model: model.finished(call, reason),
    )


def seen(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).seen(), lambda model: model.seen(call))


def heartbeat(call: str) -> Step:
    return Step(lambda kit: kit.tracker.call(call).heartbeat(), lambda model: model.heartbeat(call))


def billed() -> Step:
    return Step(lambda kit: kit.tracker.bill_running(), lambda model: model.billed_all())


def swept(silence: int) -> Step:
    return Step(lambda kit: kit.tracker.sweep(silence), lambda model: model.swept(silence))


def passed(quarters: int) -> Step:
    return Step(lambda kit: kit.clock.advance(quarters / 4), lambda model: model.passed(quarters / 4))


calls = st.sampled_from(CALLS)
steps = st.one_of(
    st.builds(received, calls, st.sampled_from(TENANTS)),
    st.builds(received, calls, st.sampled_from(TENANTS)),
    st.builds(accepted, calls),
    st.builds(accepted, calls),
    st.builds(started, calls),
    st.builds(started, calls),
    st.builds(rejected, calls, st.sampled_from(RejectionReason)),
    st.builds(abandoned, calls),
    st.builds(unanswered, calls, st.sampled_from(UnansweredReason)),
    st.builds(handed_over, calls),
    st.builds(taken_over, calls, st.sampled_from(TENANTS), st.sampled_from(GOES_ON)),
    st.builds(referred, calls),
    st.builds(ended, calls, st.sampled_from(EndReason), st.none() | st.just("TimeoutError")),
    st.builds(finished, calls, st.sampled_from(EndReason)),
    st.builds(heartbeat, calls),
    st.builds(seen, calls),
    st.builds(billed),
    st.builds(swept, st.integers(0, 60)),
    st.builds(passed, st.integers(1, 200)),
)


scripts = st.lists(steps, max_size=60)
looking = st.lists(st.booleans(), min_size=60, max_size=60)


LEFT = (received("call-0", "acme"), handed_over("call-0"))


@settings(max_examples=30)
@example([received("call-0", "acme"), handed_over("call-0"), received("call-0", "globex")], [True] * 60)
@example(
    [received("call-0", "acme"), handed_over("call-0"), taken_over("call-0", "acme", CallState.STARTED)], [True] * 60
)
@given(scripts, looking)
def test_the_live_numbers_equal_a_brute_force_model_at_every_moment(script: list[Step], looks: list[bool]) -> None:
    """After every report, in any order, the live view holds the invariants and equals the model, as do the SDK's."""
    assert_alike(script, looks)


@pytest.mark.endurance
@settings(max_examples=300)
@given(scripts, looking)
def test_they_do_in_many_more_orders(script: list[Step], looks: list[bool]) -> None:
    """Ten times as many."""
    assert_alike(script, looks)


def assert_alike(script: list[Step], looks: list[bool]) -> None:
    model = Model()
    with TelemetryKit() as kit:
        for step, look in zip(script, looks, strict=False):
            step.real(kit)
            step.naive(model)
            if look:
                assert_equal(kit, model)
        assert_equal(kit, model)
        assert_sums_equal(kit, model)
        for call in CALLS:
            kit.tracker.call(call).finish(EndReason.SHUTDOWN)
        assert kit.traces.open_calls == 0
        assert len(kit.spans()) == model.begun


def assert_equal(kit: TelemetryKit, model: Model) -> None:
    for tenant in (None, *model.counts):
        numbers = kit.numbers(tenant)
        invariants.check(numbers)
        expected = model.numbers(tenant)
        assert numbers == pytest.approx(dict.fromkeys(numbers, 0) | expected), tenant


def assert_sums_equal(kit: TelemetryKit, model: Model) -> None:
    metrics = kit.metrics()
    for instrument in catalogue.INSTRUMENTS:
        for live in instrument.live:
            found = [
                value
                for key, value in metrics.get(instrument.name, {}).items()
                if live.key is None or dict(key).get(live.key, "") == (live.value or dict(key).get(live.key))
            ]
            total = sum(value for value in found if not isinstance(value, tuple)) / live.scale
            assert total == pytest.approx(model.numbers().get(live.field, 0)), live.field
    durations = [value for values in model.durations.values() for value in values]
    recorded = [value for value in metrics.get("voice.call.duration", {}).values() if isinstance(value, tuple)]
    assert sum(count for count, _ in recorded) == len(durations)
    assert sum(total for _, total in recorded) == pytest.approx(sum(durations))
