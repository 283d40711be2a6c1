"""What is observed when somebody collects."""

import pytest

from telemetry.metrics.gauges import observe_calls
from telemetry.semconv.attributes import EndReason, TenantId
from telemetry.testing import Labels, TelemetryKit, labels

GLOBAL = labels({"voice.capacity.scope": "global"})


class FixedLimits:
    """Ten calls a tenant, a hundred together; one tenant may have none."""

    def total(self) -> int:
        return 100

    def of(self, tenant_id: TenantId) -> int:
        return 0 if tenant_id == "closed" else 10


def of_tenant(tenant: str) -> Labels:
    return labels({"tenant.id": tenant, "voice.capacity.scope": "tenant"})


def observe(kit: TelemetryKit) -> TelemetryKit:
    observe_calls(kit.meter, kit.reader, kit.tracker, FixedLimits(), kit.tenant_labels)
    return kit


def test_capacity_is_observed_in_total_and_for_each_tenant_with_calls(kit: TelemetryKit) -> None:
    """Limit and utilization follow the slots in use; a limit of zero has no utilization."""
    observe(kit)
    for number in range(4):
        kit.tracker.received(f"rtc_{number}", "acme")
    kit.tracker.received("rtc_closed", "closed")
    metrics = kit.metrics()
    assert metrics["voice.capacity.limit"] == {GLOBAL: 100, of_tenant("acme"): 10, of_tenant("closed"): 0}
    assert metrics["voice.capacity.utilization"] == {GLOBAL: 0.05, of_tenant("acme"): 0.4}


def test_tenants_past_the_budget_are_observed_as_one() -> None:
    """Slots and limits of all tenants under `_other` add up, rather than one standing for all."""
    with TelemetryKit(max_tenants=1) as kit:
        observe(kit)
        for number, tenant in enumerate(("acme", "b", "c", "c")):
            kit.tracker.received(f"rtc_{number}", tenant)
        metrics = kit.metrics()
        assert metrics["voice.capacity.limit"] == {GLOBAL: 100, of_tenant("acme"): 10, of_tenant("_other"): 20}
        assert metrics["voice.capacity.utilization"][of_tenant("_other")] == pytest.approx(0.15)


def test_a_tenant_without_calls_is_no_longer_observed(kit: TelemetryKit) -> None:
    """Once its calls are over and forgotten, a tenant's gauges are gone."""
    observe(kit)
    kit.tracker.received("rtc_1", "acme").finish(EndReason.ERROR)
    kit.clock.advance(400)
    kit.tracker.sweep(60)
    assert kit.metrics()["voice.capacity.limit"] == {GLOBAL: 100}


def test_the_leak_detector_tells_the_longest_silence(kit: TelemetryKit) -> None:
    """The gauge is zero without calls, and otherwise the silence of the quietest running one."""
    observe(kit)
    assert kit.metrics()["voice.call.oldest_silence"] == {(): 0}
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    kit.clock.advance(90)
    assert kit.metrics()["voice.call.oldest_silence"] == {(): 90}


def test_live_reads_do_not_pay_for_gauges(kit: TelemetryKit) -> None:
    """The live reader's collections ask no limits, which may cost whatever they cost."""

    class CountingLimits(FixedLimits):
        asked = 0

        def total(self) -> int:
            self.asked += 1
            return super().total()

    limits = CountingLimits()
    observe_calls(kit.meter, kit.reader, kit.tracker, limits, kit.tenant_labels)
    kit.tracker.received("rtc_1", "acme")
    assert kit.live()["accepted_calls"] == 0
    assert limits.asked == 0
    kit.metrics()
    assert limits.asked == 2
