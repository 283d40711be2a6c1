"""Windows of the live numbers: exact over the stretch they say they cover, bounded, and never a false zero."""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.calls.slots import Usage
from telemetry.metrics.figures import Window
from telemetry.metrics.history import History
from telemetry.metrics.live_table import EVERYTHING, TIME, Selection
from telemetry.metrics.past import SAMPLE_SECONDS, WindowName
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, TenantId
from telemetry.testing import FakeClock, TelemetryKit
from tests.support import calls

LENGTHS = {WindowName.FIVE_MINUTES: 300.0, WindowName.HOUR: 3600.0, WindowName.DAY: 86_400.0}
STEPS = {WindowName.FIVE_MINUTES: 60.0, WindowName.HOUR: 300.0, WindowName.DAY: 3600.0}
RECEIVED = EVERYTHING.counters.index("received_calls")


@dataclass
class FakeCounts:
    """Counts of tenants that a test sets as it likes: calls received, seconds of call time, slots and limits."""

    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def tenants(self) -> list[str]:
        return list(self.calls)

    def position(self, tenant_id: str | None = None) -> int | None:
        if tenant_id is None:
            return 0
        return 1 + self.tenants().index(tenant_id) if tenant_id in self.calls else None

    def rows(self, selection: Selection, first: int, count: int) -> list[list[float]]:
        together = (sum(self.calls.values()), sum(self.seconds.values()))
        rows = [together, *((self.calls[tenant], self.seconds.get(tenant, 0.0)) for tenant in self.calls)]
        return [self._row(selection, *row) for row in rows[first : first + count]]

    def usage(self, tenant_id: TenantId | None = None) -> Usage:
        return Usage(0, 0, sum(self.peaks.values()) if tenant_id is None else self.peaks.get(tenant_id, 0))

    def tenant_usage(self) -> dict[TenantId, Usage]:
        return {TenantId(tenant): Usage(0, 0, peak) for tenant, peak in self.peaks.items()}

    def total(self) -> int:
        return 100

    def of(self, tenant_id: TenantId) -> int:
        return len(tenant_id)

    def add(self, tenant_id: str, calls: int, seconds: float = 0.0) -> None:
        self.calls[tenant_id] = self.calls.get(tenant_id, 0) + calls
        self.seconds[tenant_id] = self.seconds.get(tenant_id, 0.0) + seconds

    def _row(self, selection: Selection, calls: int, seconds: float) -> list[float]:
        row: list[float] = [0] * len(selection.columns())
        for name, amount in (("received_calls", calls), (TIME, seconds)):
            if name in selection.counters:
                row[selection.counters.index(name)] = amount
        return row


class Story:
    """A history and, beside it, what was counted at every sample, for looking up what a window must say."""

    def __init__(self) -> None:
        self.counts = FakeCounts()
        self.clock = FakeClock()
        self.history = History(self.counts, self.counts, self.counts, self.clock.now())
        self._moments = [0.0]
        self._counted: list[dict[str, int]] = [{}]

    def sample(self, after_seconds: float) -> None:
        now = self.clock.advance(after_seconds)
        self.history.sample(now)
        self._moments.append(now.monotonic)
        self._counted.append(dict(self.counts.calls))

    def window(self, name: WindowName, tenant_id: str | None = None) -> Window:
        return self.history.of(self.clock.now(), tenant_id)[name]

    def received(self, name: WindowName, tenant_id: str | None = None) -> float:
        return self.window(name, tenant_id).numbers[RECEIVED]

    def expected(self, name: WindowName, tenant_id: str) -> int:
        """What was received since the moment the window says it begins."""
        start = self.clock.now().monotonic - self.window(name, tenant_id).seconds
        before = self._counted[bisect_right(self._moments, start + 1e-6) - 1]
        return self.counts.calls.get(tenant_id, 0) - before.get(tenant_id, 0)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from([1.0, 59.0, 60.0, 61.0, 200.0, 1000.0, 5000.0, 40_000.0]),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 2_000_000), max_size=3),
    ),
    max_size=40,
)


@given(CHANGES)
@settings(max_examples=50)
def test_a_window_is_exactly_what_was_added_since_it_began(changes: list[tuple[float, dict[str, int]]]) -> None:
    """However samples come, each window's numbers are those of the stretch it says it covers, up to this moment."""
    story = Story()
    for seconds, added in changes:
        for tenant_id, received in added.items():
            story.counts.add(tenant_id, received)
        story.sample(seconds)
    story.counts.add("a", 7)
    chosen = Selection(("received_calls",))
    for name in LENGTHS:
        for tenant_id in "abc":
            assert story.received(name, tenant_id) == story.expected(name, tenant_id)
        every = dict(story.history.every(name, story.clock.now(), chosen))
        assert {tenant_id: window.numbers[0] for tenant_id, window in every.items()} == {
            tenant_id: story.expected(name, tenant_id) for tenant_id in story.counts.calls
        }


@pytest.mark.parametrize("jitter", [0.0, 1.5])
def test_with_regular_samples_a_window_is_as_long_as_its_name_says(jitter: float) -> None:
    """Sampled once a minute for more than a day, each window is exact to half of its own step and a sample."""
    story = Story()
    for minute in range(26 * 60):
        story.counts.add("a", 1)
        story.sample(SAMPLE_SECONDS + jitter * (minute % 2))
        for name, length in LENGTHS.items() if minute % 7 == 0 else ():
            window = story.window(name, "a")
            whole = min(length, story.clock.now().monotonic)
            assert abs(window.seconds - whole) <= STEPS[name] / 2 + SAMPLE_SECONDS, (minute, name)
    for name in LENGTHS:
        assert story.received(name, "a") == story.expected(name, "a")
    assert story.history.size().steps <= 6 + 13 + 25


def test_the_steps_kept_are_told() -> None:
    """None before the first sample, then one a sample, until older ones are merged."""
    story = Story()
    told = [story.history.size().steps]
    for _ in range(3):
        story.sample(60)
        told.append(story.history.size().steps)
    assert told == [0, 1, 2, 3]


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
    story.counts.add("old", 1)
    story.sample(60)
    story.counts.add("new", 4)
    for name in WindowName:
        assert story.received(name, "new") == 4
        every = dict(story.history.every(name, story.clock.now(), Selection(("received_calls",))))
        assert list(every) == ["old", "new"]
        assert every["new"].numbers == (4,)


def test_a_tenant_never_seen_has_zeros() -> None:
    """Nothing is nothing, and no error."""
    assert Story().received(WindowName.DAY, "nobody") == 0


def test_after_a_day_nothing_of_an_idle_tenant_is_kept_but_its_sums() -> None:
    """A tenant that had one busy minute takes no room in the steps once that is a day ago, and still counts."""
    story = Story()
    story.counts.add("a", 1)
    story.counts.peaks = {"a": 3}
    story.sample(60)
    story.counts.peaks = {}
    busy = story.history.size().bytes
    for _ in range(26 * 60):
        story.sample(60)
    assert story.received(WindowName.DAY, "a") == 0
    assert story.received(WindowName.SINCE_START, "a") == 1
    # Of the tenant and of the total: once counted, once before each window, and the peak.
    assert story.history.size().bytes == 2 * (1 + len(LENGTHS) + 1)
    assert busy == 2 * (1 + 1 + 1 + 1)


def test_a_peak_stays_as_long_as_its_window() -> None:
    """The peak of a busy minute is gone from five minutes first, then from the hour, and never since the start."""
    story = Story()
    story.counts.add("a", 1)
    story.counts.peaks = {"a": 9}

    def peaks() -> list[int | None]:
        of_one = {name: story.window(name, "a").peak_in_use for name in WindowName}
        now, nothing = story.clock.now(), Selection(peaks=True)
        of_all = {name: dict(story.history.every(name, now, nothing))["a"].peak_in_use for name in WindowName}
        assert of_one == of_all
        return list(of_one.values())

    assert peaks() == [9, 9, 9, 9]
    story.sample(60)
    story.counts.peaks = {}
    assert peaks() == [9, 0, 9, 9]
    for _ in range(80):
        story.sample(60)
    assert peaks() == [9, 0, 0, 9]
    for _ in range(26 * 60):
        story.sample(60)
    assert peaks() == [9, 0, 0, 0]


def test_a_peak_nobody_looked_for_is_not_known() -> None:
    """Peaks are remembered for five minutes: where samples lay further apart, a window has none, not a wrong one."""
    story = Story()
    story.counts.add("a", 1)
    story.sample(301)
    assert [story.window(name, "a").peak_in_use for name in WindowName] == [None, 0, None, None]
    for _ in range(80):
        story.sample(60)
    assert [story.window(name, "a").peak_in_use for name in WindowName] == [None, 0, 0, None]


def test_labels_of_several_tenants_have_neither_peak_nor_limit() -> None:
    """What counts under one name for many has no limit of its own, and its peak is not the highest of theirs."""
    story = Story()
    for label in (OTHER, UNKNOWN_TENANT, "acme"):
        story.counts.add(label, 1)
    known = {label: story.window(WindowName.HOUR, label) for label in story.counts.calls}
    assert {label: (window.peak_in_use, window.limit) for label, window in known.items()} == {
        OTHER: (None, None),
        UNKNOWN_TENANT: (None, None),
        "acme": (0, 4),
    }
    every = dict(story.history.every(WindowName.HOUR, story.clock.now(), Selection(limits=True)))
    assert {label: window.limit for label, window in every.items()} == {OTHER: None, UNKNOWN_TENANT: None, "acme": 4}


def test_call_time_is_exact_to_the_millisecond() -> None:
    """Fractions of seconds, added up over many samples, are in the windows as whole milliseconds."""
    story = Story()
    for _ in range(100):
        story.counts.add("a", 1, seconds=12.345)
        story.sample(60)
    time = EVERYTHING.counters.index(TIME)
    assert story.window(WindowName.DAY, "a").numbers[time] == 1_234_500


def test_of_thousands_of_tenants_each_has_its_own() -> None:
    """Many more tenants than are read in one go keep their numbers, also those that come later."""
    story = Story()
    for number in range(1_001):
        story.counts.add(f"tenant-{number}", number)
    story.sample(60)
    for number in range(1_500):
        story.counts.add(f"tenant-{number}", 1)
    story.sample(60)
    every = dict(story.history.every(WindowName.HOUR, story.clock.now(), Selection(("received_calls",))))
    assert [every[f"tenant-{number}"].numbers[0] for number in range(1_500)] == [
        number + 1 if number < 1_001 else 1 for number in range(1_500)
    ]
    assert story.received(WindowName.SINCE_START, "tenant-1499") == 1


def test_reading_while_a_sample_is_made_is_of_one_moment() -> None:
    """A reader in another thread sees the past before a sample or after it, never a half-made one."""
    story = Story()
    wrong: list[int] = []
    for number in range(500):
        story.counts.add(f"tenant-{number}", 1)
    now = story.clock.now()

    def read() -> None:
        while sampling.is_alive():
            for _, window in story.history.every(WindowName.DAY, now, Selection(("received_calls",))):
                if window.numbers[0] != 1:
                    wrong.append(window.numbers[0])

    def sample() -> None:
        for _ in range(20):
            story.sample(60)

    sampling = Thread(target=sample)
    reading = Thread(target=read)
    sampling.start()
    reading.start()
    sampling.join()
    reading.join()
    assert wrong == []


def test_the_live_store_is_what_windows_are_made_of() -> None:
    """Of real calls, every counter and bucket of a whole row is what the live view says by name."""
    with TelemetryKit() as kit:
        history = History(kit.store, kit.tracker, FakeCounts(), kit.clock.now())
        calls.ordinary(kit)
        numbers, distributions = kit.numbers("acme"), kit.distributions("acme")
        window = history.of(kit.clock.now(), "acme")[WindowName.DAY]
    for slot, name in enumerate(EVERYTHING.counters):
        assert window.numbers[slot] == (round(numbers[name] * 60_000) if name == TIME else numbers[name]), name
    buckets = [count for name in EVERYTHING.distributions for count in distributions[name].counts]
    assert list(window.numbers[len(EVERYTHING.counters) :]) == buckets


def test_the_course_of_a_window_adds_up_to_it() -> None:
    """Its parts lie end to end, finer towards now, and hold together just what the window does."""
    counts, clock = FakeCounts(), FakeClock()
    history = History(counts, counts, counts, clock.now())
    chosen = Selection(("received_calls", TIME))
    for minute in range(90):
        counts.add("acme", minute % 7, 1.5)
        clock.advance(SAMPLE_SECONDS)
        history.sample(clock.now())
    counts.add("acme", 4, 0.5)
    clock.advance(20)
    for name in (WindowName.FIVE_MINUTES, WindowName.HOUR, WindowName.DAY):
        parts = history.course(name, clock.now(), chosen, "acme")
        window = history.of(clock.now(), "acme")[name]
        assert sum(part.numbers[0] for part in parts) == window.numbers[RECEIVED]
        assert parts[0].start == pytest.approx(window.seconds)
        assert parts[-1] == history.course(name, clock.now(), chosen, "acme")[-1]
        assert (parts[-1].end, parts[-1].seconds, parts[-1].numbers) == (0.0, 20.0, (4, 500))
        assert all(one.end == pytest.approx(later.start) for one, later in pairwise(parts))
    assert history.course(WindowName.HOUR, clock.now(), chosen, "nobody") == ()
