"""Many threads report at once while others read: each sees whole events only, and nothing is lost or counted twice."""

from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.calls.call import Call
from telemetry.semconv.attributes import EndReason, RejectionReason
from telemetry.testing import ORIGIN, TelemetryKit, labels
from tests.telemetry import invariants
from tests.telemetry.threads import meanwhile, together

TENANTS = ("acme", "globex")
CALLS = tuple(f"call-{number}" for number in range(12))

REPORTS: dict[str, Callable[[Call], bool]] = {
    "accepted_calls": Call.accepted,
    "started_calls": Call.started,
    "referred_calls": Call.referred,
    "rejected_calls_capacity": lambda call: call.rejected(RejectionReason.CAPACITY),
    "abandoned_calls": lambda call: call.abandoned(EndReason.HANGUP),
    "ended_calls": lambda call: call.ended(EndReason.COMPLETED),
}

scripts = st.lists(st.tuples(st.sampled_from(CALLS), st.sampled_from(sorted(REPORTS))), min_size=20, max_size=80)


@settings(max_examples=15)
@given(st.lists(scripts, min_size=3, max_size=4))
def test_what_threads_were_told_is_what_was_counted(by_thread: list[list[tuple[str, str]]]) -> None:
    """Of reports racing for the same calls, exactly those answered with yes are counted, and exactly once."""
    told: list[Counter[str]] = [Counter() for _ in by_thread]
    with TelemetryKit() as kit:

        def report(script: list[tuple[str, str]], told: Counter[str]) -> None:
            for call_id, what in script:
                call = kit.tracker.received(call_id, TENANTS[hash(call_id) % 2])
                told[what if REPORTS[what](call) else "lifecycle_violations"] += 1

        with meanwhile(lambda: look(kit)):
            together(*(_bound(report, script, counter) for script, counter in zip(by_thread, told, strict=True)))
        numbers = kit.numbers()
        made = sum(told, Counter())
        assert {what: numbers[what] for what in REPORTS} == {what: made[what] for what in REPORTS}
        assert numbers["received_calls"] == len({call_id for script in by_thread for call_id, _ in script})
        announced_again = sum(map(len, by_thread)) - numbers["received_calls"]
        assert numbers["lifecycle_violations"] == made["lifecycle_violations"] + announced_again
        for call in CALLS:
            kit.tracker.call(call).finish(EndReason.SHUTDOWN)
        assert kit.traces.open_calls == 0
        assert len(kit.spans()) == numbers["received_calls"]


def _bound(report: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: report(*arguments)


def look(kit: TelemetryKit) -> None:
    """One reader's glance at the live view, of all tenants and of each."""
    invariants.check(kit.numbers())
    for numbers in kit.store.by_tenant().values():
        invariants.check(numbers)


def test_half_an_event_is_never_visible(kit: TelemetryKit) -> None:
    """Three readers look as fast as they can while four threads run whole calls: every look holds the invariants."""

    def run_calls(number: int) -> None:
        for turn in range(150):
            call = kit.tracker.received(f"{number}-{turn}", TENANTS[turn % 2])
            call.accepted()
            call.started()
            call.heartbeat()
            call.ended(EndReason.COMPLETED)

    def glance() -> None:
        look(kit)

    with meanwhile(glance), meanwhile(glance), meanwhile(glance):
        together(*(_bound(run_calls, number) for number in range(4)))
    assert kit.live()["ended_calls"] == 600
    assert kit.barrier.torn == 0
    assert kit.metrics()["voice.call.ended"].keys() == {
        labels({"tenant.id": tenant, "voice.call.end.reason": "completed"} | ORIGIN) for tenant in TENANTS
    }


def test_a_read_right_after_an_event_shows_it(kit: TelemetryKit) -> None:
    """Every thread that reads after its own report finds it in its tenant's numbers, whatever the others do."""

    def run(tenant: str) -> None:
        for number in range(1, 80):
            kit.tracker.received(f"{tenant}-{number}", tenant)
            assert kit.numbers(tenant)["received_calls"] == number

    together(*(_bound(run, tenant) for tenant in ("a", "b", "c", "d")))
    assert kit.numbers()["received_calls"] == 4 * 79


@pytest.mark.parametrize("attempt", range(3))
def test_a_call_ends_once_though_all_say_so(kit: TelemetryKit, attempt: int) -> None:
    """Eight threads end, finish and sweep the same calls at the same time; each call ends once."""
    calls = [kit.tracker.received(f"{attempt}-{number}", "acme") for number in range(40)]
    for call, report in product(calls, (Call.accepted, Call.started)):
        assert report(call)
    kit.clock.advance(60)

    def end_all() -> None:
        kit.tracker.sweep(30)
        for call in calls:
            call.finish(EndReason.SHUTDOWN)
            call.ended(EndReason.HANGUP)

    together(*[end_all] * 8)
    assert kit.live()["ended_calls"] == 40
    assert kit.tracker.usage().in_use == 0
    assert kit.traces.open_calls == 0
