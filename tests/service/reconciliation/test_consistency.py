"""The comparison of the registry with the live metrics: a leak is found, mere movement is not mistaken for one."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event

import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from service.reconciliation.consistency import Findings, Inconsistency, Reconciler
from telemetry.calls.lifecycle import CallState
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import OTHER, EndReason, RejectionReason
from telemetry.testing import FakeClock, TelemetryKit

ACTIVE, PENDING = "active", "pending"


@pytest.fixture
def kit() -> Iterator[TelemetryKit]:
    with TelemetryKit() as kit:
        yield kit


def compare(kit: TelemetryKit, tracker: CallTracker | None = None) -> Findings:
    """What a comparison that never really waits finds."""
    return Reconciler(kit.reader, tracker or kit.tracker, sleep=lambda _: None).read()


def run_a_call(tracker: CallTracker, call_id: str, tenant_id: str, pass_time: Callable[[], None]) -> None:
    call = tracker.received(call_id, tenant_id)
    pass_time()
    if call_id.endswith("3"):
        call.rejected(RejectionReason.CAPACITY)
        return
    call.accepted()
    pass_time()
    if call_id.endswith("5"):
        call.abandoned(EndReason.ERROR)
        return
    call.started()
    pass_time()
    call.heartbeat()
    call.ended(EndReason.HANGUP)


def test_a_healthy_system_agrees_with_itself(kit: TelemetryKit) -> None:
    """With calls in every state, over and open, nothing differs."""
    for number in range(20):
        run_a_call(kit.tracker, f"rtc_{number}", f"t{number % 3}", lambda: None)
    kit.tracker.received("rtc_pending", "t1")
    kit.tracker.received("rtc_accepted", "t1").accepted()
    assert compare(kit).inconsistencies == ()


def test_a_call_only_the_metrics_know_is_found(kit: TelemetryKit) -> None:
    """An active call that the registry has lost differs for its tenant and in total, with both numbers."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    found = compare(kit, CallTracker(clock=FakeClock())).inconsistencies
    assert set(found) == {Inconsistency(tenant_id, ACTIVE, 0, 1) for tenant_id in ("acme", None)}


def test_a_call_only_the_registry_knows_is_found(kit: TelemetryKit) -> None:
    """A call whose measurements were lost differs, though the live metrics never saw its tenant."""
    unheard = CallTracker(clock=FakeClock())
    unheard.received("rtc_1", "acme").accepted()
    found = compare(kit, unheard).inconsistencies
    waiting = "accepted = started + abandoned + (accepted and pending)"
    assert {(f.tenant_id, f.what, f.expected, f.found) for f in found} == {
        (tenant_id, what, 1, 0) for tenant_id in ("acme", None) for what in (PENDING, waiting)
    }


def test_a_broken_invariant_is_found_even_where_registry_and_metrics_agree(kit: TelemetryKit) -> None:
    """A measurement nobody made an event for breaks `started = ended + active`, and only that."""
    kit.meter.create_counter("voice.call.ended", "{call}").add(1, {"tenant.id": "acme"})
    kit.tracker.received("rtc_1", "acme")
    assert {found.what for found in compare(kit).inconsistencies} == {"started = ended + active"}


def test_a_number_below_zero_is_found(kit: TelemetryKit) -> None:
    """A count that went down is listed by its name, beside the invariants it breaks."""
    kit.meter.create_up_down_counter("voice.call.active", "{call}").add(-1, {"tenant.id": "acme"})
    kit.tracker.received("rtc_1", "acme")
    assert Inconsistency("acme", "active_calls >= 0", 0, -1) in compare(kit).inconsistencies


def test_tenants_past_the_budget_are_compared_together() -> None:
    """Tenants that count under `_other` agree with it; a leak among them shows there."""
    with TelemetryKit(max_tenants=2) as small:
        calls = [small.tracker.received(f"rtc_{number}", f"t{number}") for number in range(6)]
        assert compare(small).inconsistencies == ()
        small.tracker.moved(calls[5], CallState.ENDED, CallState.STARTED)
        assert Inconsistency(OTHER, ACTIVE, 1, 0) in compare(small).inconsistencies


def test_what_changes_between_readings_is_no_leak(kit: TelemetryKit) -> None:
    """A difference that is gone at a later reading is not reported."""
    registry = CallTracker(clock=FakeClock())
    call = registry.received("rtc_1", "acme")

    def catch_up(_seconds: float) -> None:
        call.rejected(RejectionReason.CAPACITY)

    assert Reconciler(kit.reader, registry, sleep=catch_up).read().inconsistencies == ()


def test_a_system_under_load_never_shows_a_difference(kit: TelemetryKit) -> None:
    """While threads run calls of a few milliseconds one after the other, every comparison says consistent."""
    stop = Event()

    def load(worker: int) -> int:
        rng, number = Random(worker), 0  # noqa: S311 -- reproducible, not secret
        while not stop.is_set():
            run_a_call(
                kit.tracker, f"rtc_{worker}_{number}", f"t{number % 7}", lambda: time.sleep(rng.uniform(0, 0.004))
            )
            number += 1
        return number

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(load, worker) for worker in range(8)]
        try:
            readings = [Reconciler(kit.reader, kit.tracker).read() for _ in range(30)]
        finally:
            stop.set()
        calls = sum(worker.result() for worker in workers)
    assert [reading.inconsistencies for reading in readings if reading.inconsistencies] == []
    assert kit.numbers()["received_calls"] == calls


@pytest.fixture
def hold_folds(kit: TelemetryKit) -> Iterator[Callable[[], None]]:
    """Collections stand still, as during a long export, until the answer is called."""
    release = Event()

    def wait(_options: CallbackOptions) -> Iterable[Observation]:
        release.wait(60)
        return ()

    kit.meter.create_observable_gauge("stuck", [wait])
    yield release.set
    release.set()


def test_a_stale_view_is_waited_for(kit: TelemetryKit, hold_folds: Callable[[], None]) -> None:
    """While an export holds the live view up, the comparison waits for it rather than report what it missed."""
    kit.tracker.received("rtc_1", "acme")

    def until_the_export_is_over(_seconds: float) -> None:
        hold_folds()
        kit.live()

    findings = Reconciler(kit.reader, kit.tracker, sleep=until_the_export_is_over).read()
    assert (findings.inconsistencies, findings.live_age_seconds) == ((), 0)


def test_a_view_that_stays_stale_is_reported_with_its_age(
    kit: TelemetryKit,
    hold_folds: Callable[[], None],  # noqa: ARG001 -- only its effect is wanted
) -> None:
    """If the live view does not come back, what it misses is listed and its age says why."""
    kit.tracker.received("rtc_1", "acme")
    findings = compare(kit)
    assert findings.live_age_seconds > 0
    assert (None, PENDING, 1, 0) in {(f.tenant_id, f.what, f.expected, f.found) for f in findings.inconsistencies}
