"""Derived figures are those computed by hand, and null where there is nothing to compute from."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.metrics.figures import DISTRIBUTIONS, FIGURES, PERCENTILES, summary
from telemetry.metrics.history import History, Ranked, Ranking
from telemetry.metrics.live_table import BOUNDS
from telemetry.metrics.past import WindowName
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import OTHER, EndReason, RejectionReason, TenantId
from telemetry.testing import TelemetryKit

RATES = {"error_rate", "answer_rate", "rejection_rate", *(f"rejection_shares.{reason}" for reason in RejectionReason)}


@dataclass
class FakeLimits:
    """Room for 20 calls, of which each tenant may have four."""

    of_each: int = 4

    def total(self) -> int:
        return 20

    def of(self, tenant_id: TenantId) -> int:  # noqa: ARG002
        return self.of_each


@pytest.fixture
def limits() -> FakeLimits:
    """Limits that a test can change."""
    return FakeLimits()


@pytest.fixture
def history(kit: TelemetryKit, limits: FakeLimits) -> History:
    """A history from the kit's first moment on."""
    return History(kit.store, kit.tracker, limits, kit.clock.now())


def busy(kit: TelemetryKit, history: History) -> None:
    """Eight calls of a minute each, two of which fail, one rejected and one abandoned."""
    for number in range(8):
        call = kit.tracker.received(f"rtc_{number}", "acme")
        kit.clock.advance(1)
        call.accepted()
        call.started()
        kit.clock.advance(60)
        failed = number < 2
        call.ended(EndReason.ERROR if failed else EndReason.HANGUP, error_type="x" if failed else None)
        history.sample(kit.clock.now())
    kit.tracker.received("rtc_full", "acme").rejected(RejectionReason.CAPACITY)
    abandoned = kit.tracker.received("rtc_abandoned", "acme")
    abandoned.accepted()
    abandoned.abandoned(EndReason.ERROR)
    kit.live()


def test_figures_are_those_computed_by_hand(kit: TelemetryKit, history: History) -> None:
    """Rates, shares, percentiles and use of capacity of a known story."""
    busy(kit, history)
    found = summary(history.of(kit.clock.now(), "acme")[WindowName.SINCE_START])
    assert [found[name] for name in ("received", "started", "ended", "failed", "minutes")] == [10, 8, 8, 2, 8.0]
    assert found["error_rate"] == 2 / 8
    assert found["answer_rate"] == 8 / 10
    assert found["rejection_rate"] == 1 / 10
    assert found["rejection_shares.capacity"] == 1 / 10
    assert found["rejection_shares.carrier_error"] == 0
    # Eight waits of 1 s lie in the bucket up to 1 s, and the two decided at once in the first, up to 0.05 s.
    assert found["setup_seconds.p50"] == pytest.approx(0.75 + 0.25 * (5 - 2) / 8)
    assert found["setup_seconds.p90"] == pytest.approx(0.75 + 0.25 * (9 - 2) / 8)
    # All eight calls lie in the bucket from 45 s to 60 s.
    assert found["duration_seconds.p50"] == pytest.approx(52.5)
    assert found["duration_seconds.p95"] == pytest.approx(45 + 15 * 0.95)
    assert found["turn_latency_seconds.p99"] is None
    assert found["capacity.limit"] == 4
    assert found["capacity.peak_in_use"] == 1
    assert found["capacity.peak_utilization"] == 1 / 4
    assert found["capacity.mean_active"] == pytest.approx(480 / 488)
    assert found["capacity.mean_utilization"] == pytest.approx(480 / 488 / 4)


def test_what_cannot_be_computed_is_null(kit: TelemetryKit, history: History) -> None:
    """Without calls there is no rate, no share and no percentile, and before any time has passed no mean."""
    found = summary(history.of(kit.clock.now())[WindowName.HOUR])
    unknown = {name for name, value in found.items() if value is None}
    percentiles = {f"{name}.{label}" for name in DISTRIBUTIONS for label in PERCENTILES}
    assert unknown == RATES | percentiles | {"capacity.mean_active", "capacity.mean_utilization"}


def test_of_a_tenant_past_the_bound_nothing_is_known() -> None:
    """What counts under a name shared by many is nobody's: all figures but the limit are null, and no false zero."""
    with TelemetryKit(max_tenants=1) as kit:
        history = History(kit.store, kit.tracker, FakeLimits(), kit.clock.now())
        for tenant_id in ("acme", "globex"):
            kit.tracker.received(f"rtc_{tenant_id}", tenant_id)
        kit.live()
        found = {
            tenant_id: summary(history.of(kit.clock.now(), tenant_id)[WindowName.HOUR])
            for tenant_id in ("acme", "globex", OTHER)
        }
    assert (found["acme"]["received"], found[OTHER]["received"]) == (1, 1)
    assert {name: value for name, value in found["globex"].items() if value is not None} == {"capacity.limit": 4}


def test_without_a_limit_there_is_no_utilization(kit: TelemetryKit, history: History, limits: FakeLimits) -> None:
    """A share of nothing is null, not infinite and not zero."""
    busy(kit, history)
    limits.of_each = 0
    found = summary(history.of(kit.clock.now(), "acme")[WindowName.SINCE_START])
    assert (found["capacity.peak_utilization"], found["capacity.mean_utilization"]) == (None, None)
    assert found["capacity.peak_in_use"] == 1


@given(st.data())
def test_rates_lie_between_zero_and_one(data: st.DataObject) -> None:
    """Whatever becomes of calls, each share is a share, and those of the reasons add up to that of all."""
    fates = data.draw(st.lists(st.sampled_from(["ended", "failed", "abandoned", "pending", *RejectionReason])))
    with TelemetryKit() as kit:
        history = History(kit.store, kit.tracker, FakeLimits(), kit.clock.now())
        for number, fate in enumerate(fates):
            _happen(kit, f"rtc_{number}", fate)
        kit.live()
        found = summary(history.of(kit.clock.now())[WindowName.HOUR])
    values = [found[name] for name in RATES]
    assert all(value is None or 0 <= value <= 1 for value in values)
    shares = [found[f"rejection_shares.{reason}"] or 0 for reason in RejectionReason]
    assert sum(shares) == pytest.approx(found["rejection_rate"] or 0)


def _happen(kit: TelemetryKit, call_id: str, fate: str) -> None:
    call = kit.tracker.received(call_id, "acme")
    if fate in set(RejectionReason):
        call.rejected(RejectionReason(fate))
    elif fate != "pending":
        call.accepted()
    if fate == "abandoned":
        call.abandoned(EndReason.ERROR)
    if fate in {"ended", "failed"}:
        call.started()
        call.ended(EndReason.HANGUP, error_type="x" if fate == "failed" else None)


def test_every_distribution_of_the_live_view_has_percentiles() -> None:
    """What the live view keeps the distribution of is what a summary shows."""
    assert set(BOUNDS) == {instrument.name for instrument in catalogue.INSTRUMENTS if instrument.summarised}
    assert {instrument.name for instrument in DISTRIBUTIONS.values()} == set(BOUNDS)


# Rankings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("descending", [True, False])
def test_tenants_are_ranked_by_any_figure(kit: TelemetryKit, history: History, name: str, *, descending: bool) -> None:
    """A ranking's values are the summaries', in order; tenants without a figure come last, equal ones by their ids."""
    busy(kit, history)
    for tenant_id in ("idle-b", "idle-a"):
        kit.tracker.received(f"rtc_{tenant_id}", tenant_id)
    kit.live()
    now = kit.clock.now()
    ranked = Ranking(FIGURES[name], WindowName.DAY, descending).first(9, history, now)
    values = {
        tenant_id: FIGURES[name].of(history.of(now, tenant_id)[WindowName.DAY])
        for tenant_id in ("acme", "idle-a", "idle-b")
    }
    assert dict(ranked) == values
    known = [one for one in ranked if one.value is not None]
    assert ranked[: len(known)] == known
    numbers = [value for _, value in known if value is not None]
    assert numbers == sorted(numbers, reverse=descending)
    idle = [one.tenant_id for one in ranked if one.tenant_id != "acme"]
    assert idle == ["idle-a", "idle-b"]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 4), max_size=30), st.integers(1, 7), st.booleans())
def test_pages_of_a_ranking_are_the_whole_ranking(counts: dict[str, int], size: int, descending: bool) -> None:
    """Page after page, each going on behind the last, every tenant comes once and in order."""
    with TelemetryKit() as kit:
        history = History(kit.store, kit.tracker, FakeLimits(), kit.clock.now())
        for tenant_id, calls in counts.items():
            for number in range(calls):
                kit.tracker.received(f"rtc_{tenant_id}_{number}", tenant_id)
        kit.live()
        by_received = Ranking(FIGURES["received"], WindowName.HOUR, descending)
        whole = by_received.first(1_000, history, kit.clock.now())
        pages: list[Ranked] = []
        while page := by_received.first(size, history, kit.clock.now(), pages[-1] if pages else None):
            pages += page
    assert pages == whole
    assert {ranked.tenant_id: ranked.value for ranked in whole} == {t: n for t, n in counts.items() if n}
