"""Windows of the live numbers: exact over the stretch they say they cover, bounded, and never a false zero."""

from bisect import bisect_right
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry import catalog, vector
from telemetry.attributes import EndReason, RejectionReason, TenantId
from telemetry.distribution import Distribution
from telemetry.history import History, WindowName
from telemetry.live_store import Numbers
from telemetry.ranking import FIGURES, Ranked, position, ranking
from telemetry.steps import SAMPLE_SECONDS
from telemetry.summary import summary
from telemetry.testing import FakeClock, TelemetryKit
from telemetry.usage import Usage
from telemetry.vector import add, pack, together, zeros

LENGTHS = {WindowName.FIVE_MINUTES: 300.0, WindowName.HOUR: 3600.0, WindowName.DAY: 86_400.0}
STEPS = {WindowName.FIVE_MINUTES: 60.0, WindowName.HOUR: 300.0, WindowName.DAY: 3600.0}


@dataclass
class FakeCounts:
    """Counts of tenants that a test sets as it likes: calls received and milliseconds of call time."""

    calls: dict[str, int] = field(default_factory=dict)
    ms: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def tenants(self) -> list[str]:
        return list(self.calls)

    def numbers(self, tenant_id: str | None = None) -> Numbers | None:
        if tenant_id is not None and tenant_id not in self.calls:
            return None
        tenants = list(self.calls) if tenant_id is None else [tenant_id]
        numbers: Numbers = dict.fromkeys(vector.COUNTERS, 0)
        numbers["received_calls"] = sum(self.calls[tenant] for tenant in tenants)
        numbers["minutes_processed"] = sum(self.ms.get(tenant, 0) for tenant in tenants) / 60_000
        return numbers

    def distributions(self, tenant_id: str | None = None) -> dict[str, Distribution] | None:  # noqa: ARG002
        return {}

    def usage(self) -> Usage:
        return Usage(0, 0, sum(self.peaks.values()))

    def tenant_usage(self) -> dict[TenantId, Usage]:
        return {TenantId(tenant): Usage(0, 0, peak) for tenant, peak in self.peaks.items()}

    def add(self, tenant_id: str, calls: int, ms: int = 0) -> None:
        self.calls[tenant_id] = self.calls.get(tenant_id, 0) + calls
        self.ms[tenant_id] = self.ms.get(tenant_id, 0) + ms


class Story:
    """A history and, beside it, what was counted at every sample, for looking up what a window must say."""

    def __init__(self) -> None:
        self.counts = FakeCounts()
        self.clock = FakeClock()
        self.history = History(self.counts, self.counts, self.clock.now())
        self._moments = [0.0]
        self._counted: list[dict[str, int]] = [{}]

    def sample(self, after_seconds: float) -> None:
        now = self.clock.advance(after_seconds)
        self.history.sample(now)
        self._moments.append(now.monotonic)
        self._counted.append(dict(self.counts.calls))

    def received(self, name: WindowName, tenant_id: str | None = None) -> float:
        return self.history.window(name, self.clock.now(), tenant_id).number("received_calls")

    def expected(self, name: WindowName, tenant_id: str) -> int:
        """What was received since the moment the window says it begins."""
        now = self.clock.now()
        start = now.monotonic - self.history.window(name, now, tenant_id).seconds
        before = self._counted[bisect_right(self._moments, start + 1e-6) - 1]
        return self.counts.calls.get(tenant_id, 0) - before.get(tenant_id, 0)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from([1.0, 59.0, 60.0, 61.0, 200.0, 1000.0, 5000.0, 40_000.0]),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 2_000_000), max_size=3),
    ),
    max_size=60,
)


@given(CHANGES)
@settings(deadline=None)
def test_a_window_is_exactly_what_was_added_since_it_began(changes: list[tuple[float, dict[str, int]]]) -> None:
    """However samples come, each window's numbers are those of the stretch it says it covers, up to this moment."""
    story = Story()
    for seconds, added in changes:
        for tenant_id, calls in added.items():
            story.counts.add(tenant_id, calls)
        story.sample(seconds)
    story.counts.add("a", 7)
    for name in LENGTHS:
        for tenant_id in "abc":
            assert story.received(name, tenant_id) == story.expected(name, tenant_id)


@pytest.mark.parametrize("jitter", [0.0, 1.5])
def test_with_regular_samples_a_window_is_as_long_as_its_name_says(jitter: float) -> None:
    """Sampled once a minute for more than a day, each window is exact to half of its own step and a sample."""
    story = Story()
    for minute in range(26 * 60):
        story.counts.add("a", 1)
        story.sample(SAMPLE_SECONDS + jitter * (minute % 2))
        for name, length in LENGTHS.items() if minute % 7 == 0 else ():
            window = story.history.window(name, story.clock.now(), "a")
            whole = min(length, story.clock.now().monotonic)
            assert abs(window.seconds - whole) <= STEPS[name] / 2 + SAMPLE_SECONDS, (minute, name)
    for name in LENGTHS:
        assert story.received(name, "a") == story.expected(name, "a")
    assert story.history.size().steps <= 6 + 13 + 25


def test_the_total_is_all_tenants_together() -> None:
    """Asked of nobody in particular, a window has everybody's."""
    story = Story()
    story.counts.add("a", 2)
    story.counts.add("b", 3)
    story.sample(60)
    assert story.received(WindowName.HOUR) == 5
    assert story.received(WindowName.SINCE_START) == 5


def test_what_happened_after_the_last_sample_is_in_every_window() -> None:
    """A window reaches up to the present, not to the last sample."""
    story = Story()
    story.counts.add("new", 4)
    for name in WindowName:
        assert story.received(name, "new") == 4


def test_a_tenant_never_seen_has_zeros() -> None:
    """Nothing is nothing, and no error."""
    assert Story().received(WindowName.DAY, "nobody") == 0


def test_after_a_day_nothing_of_an_idle_tenant_is_kept() -> None:
    """A tenant that had one busy minute costs nothing once that is a day ago, but still counts since the start."""
    story = Story()
    story.counts.add("a", 1)
    for _ in range(26 * 60):
        story.sample(60)
    assert story.received(WindowName.DAY, "a") == 0
    assert story.received(WindowName.SINCE_START, "a") == 1
    assert story.history.size().differences == 0
    assert all(not level.sums for level in story.history._levels.values())


def test_a_peak_stays_as_long_as_its_window() -> None:
    """The peak of a busy minute is gone from five minutes first, then from the hour, and never since the start."""
    story = Story()
    assert story.history.window(WindowName.HOUR, story.clock.now(), "a").peak_in_use is None
    story.counts.peaks = {"a": 9}
    story.sample(60)
    story.counts.peaks = {}

    def peaks() -> list[int | None]:
        now = story.clock.now()
        return [story.history.window(name, now, "a").peak_in_use for name in WindowName]

    assert peaks() == [9, 9, 9, 9]
    for _ in range(10):
        story.sample(60)
    assert peaks() == [9, 0, 9, 9]
    for _ in range(70):
        story.sample(60)
    assert peaks() == [9, 0, 0, 9]


@given(st.lists(st.lists(st.integers(0, 2**30), min_size=3, max_size=3), min_size=2, max_size=5))
@settings(deadline=None)
def test_packed_differences_add_up(rows: list[list[int]]) -> None:
    """Differences of any size come back exactly, one by one or put together, and can be taken away again."""
    sums = zeros()
    packed = []
    for row in rows:
        after = zeros()
        for slot, value in zip((0, 5, vector.SLOTS - 1), row, strict=True):
            after[slot] = value
        packed.append(pack(zeros(), after))
    for one in packed:
        add(sums, one)
    all_together = b""
    for one in packed:
        all_together = together(all_together, one)
    assert [sums[0], sums[5], sums[vector.SLOTS - 1]] == [sum(column) for column in zip(*rows, strict=True)]
    add(sums, all_together, -1)
    assert sums == zeros()


def test_call_time_survives_packing_to_the_millisecond() -> None:
    """Minutes go in as fractions and come out as the same number of milliseconds."""
    story = Story()
    for _ in range(100):
        story.counts.add("a", 1, ms=12_345)
        story.sample(60)
    window = story.history.window(WindowName.DAY, story.clock.now(), "a")
    assert window.number("minutes_processed") * 60_000 == pytest.approx(1_234_500, abs=1e-6)


# Derived figures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kit() -> TelemetryKit:
    """The pipeline in memory."""
    return TelemetryKit()


def _busy(kit: TelemetryKit) -> History:
    """Ten minutes with eight started calls, two failed, one rejected and one abandoned."""
    history = History(kit.store, kit.tracker, kit.clock.now())
    for number in range(8):
        call = kit.tracker.received(f"rtc_{number}", "acme")
        kit.clock.advance(1)
        call.accepted()
        call.started()
        kit.clock.advance(60)
        call.ended(EndReason.ERROR if number < 2 else EndReason.HANGUP, error_type="x" if number < 2 else None)
    kit.tracker.received("rtc_full", "acme").rejected(RejectionReason.CAPACITY)
    abandoned = kit.tracker.received("rtc_abandoned", "acme")
    abandoned.accepted()
    abandoned.abandoned(EndReason.ERROR)
    kit.live()
    history.sample(kit.clock.now())
    return history


def test_derived_figures_are_those_computed_by_hand(kit: TelemetryKit) -> None:
    """Rates, shares, percentiles and use of capacity of a known story."""
    with kit:
        history = _busy(kit)
        figures = summary(history.window(WindowName.SINCE_START, kit.clock.now(), "acme"), limit=4)
    assert (figures.received, figures.started, figures.ended) == (10, 8, 8)
    assert figures.error_rate == 2 / 8
    assert figures.answer_rate == 8 / 10
    assert figures.rejection_shares["capacity"] == 1 / 10
    assert figures.rejection_shares["carrier_error"] == 0
    assert figures.percentiles["duration_seconds"]["p50"] == pytest.approx(45, abs=15)
    assert figures.percentiles["turn_latency_seconds"] == {"p50": None, "p90": None, "p95": None, "p99": None}
    assert figures.capacity.mean_active == pytest.approx(480 / 488)
    assert figures.capacity.mean_utilization == pytest.approx(480 / 488 / 4)
    assert (figures.capacity.peak_in_use, figures.capacity.peak_utilization) == (1, 0.25)


def test_what_cannot_be_computed_is_null(kit: TelemetryKit) -> None:
    """Without calls, without a limit and without a sample there is no rate, no share, no percentile and no use."""
    with kit:
        history = History(kit.store, kit.tracker, kit.clock.now())
        figures = summary(history.window(WindowName.HOUR, kit.clock.now()), limit=None)
    assert figures.error_rate is figures.answer_rate is None
    assert set(figures.rejection_shares.values()) == {None}
    assert {value for values in figures.percentiles.values() for value in values.values()} == {None}
    capacity = figures.capacity
    assert (
        capacity.peak_in_use is capacity.mean_active is capacity.peak_utilization is capacity.mean_utilization is None
    )


def test_tenants_are_ranked_by_any_figure_with_the_unknown_last(kit: TelemetryKit) -> None:
    """In both directions a tenant without a figure comes last, and equal ones by their names."""
    with kit:
        history = _busy(kit)
        tenants = ["idle-b", "acme", "idle-a"]
        now = kit.clock.now()
        for figure in FIGURES.values():
            for descending in (True, False):
                ranked = ranking(history, tenants, figure, WindowName.DAY, now, descending=descending)
                known = [one.value is not None for one in ranked]
                assert known == sorted(known, reverse=True)
        by_rate = ranking(history, tenants, FIGURES["error_rate"], WindowName.DAY, now, descending=True)
    assert [one.tenant_id for one in by_rate] == ["acme", "idle-a", "idle-b"]


def test_a_position_orders_as_the_ranking_does() -> None:
    """Positions compare like the ranking they come from, so that a page can go on from one."""
    ordered = [Ranked("b", 3.0), Ranked("a", 1.0), Ranked("c", 1.0), Ranked("d", None)]
    mixed = [ordered[3], ordered[1], ordered[0], ordered[2]]
    assert sorted(mixed, key=lambda one: position(one, descending=True)) == ordered


def test_every_summarised_instrument_has_percentiles() -> None:
    """A distribution that the live view keeps is one that a summary shows."""
    assert set(vector.BOUNDS) == {i.name for i in catalog.INSTRUMENTS if i.summarised}
