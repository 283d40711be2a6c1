"""What it costs to read one tenant's live numbers, against collecting everything to look one tenant up in it.

10,000 tenants are known and 100 calls a second go through the same process. Every live read follows an event that the
reading thread has just recorded, and must show it.
"""

import time
from collections.abc import Callable
from itertools import count
from statistics import median, quantiles

from benchmarks import verdict
from benchmarks.pipeline import Pipeline
from benchmarks.scripted_call import through_the_library
from benchmarks.traffic import traffic
from telemetry.clock import SystemClock
from telemetry.testing import plain_metrics

TENANTS = 10_000
CALLS_PER_SECOND = 100
READS = 1_000
PAUSE_SECONDS = 0.005
COLLECTIONS = 7

RATIO = 500
MEDIAN_MS = 1.0
P99_MS = 10.0


class Container:
    """A pipeline in which every tenant has had a call."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(SystemClock())
        self.tracker = self.pipeline.tracker()
        self._numbers = count()
        for tenant in range(TENANTS):
            self.call(tenant)
        assert self.pipeline.live.refresh(60) == 0
        assert len(self.pipeline.live.store.tenants()) == TENANTS

    def call(self, tenant: int) -> None:
        """A whole call of this tenant's."""
        through_the_library(self.tracker, f"rtc_{next(self._numbers)}", tenant_id(tenant), _nothing)

    def background(self, number: int) -> None:
        """A call of one of the tenants that no read looks at."""
        self.call(number * 2 % TENANTS)

    def read(self, number: int) -> float:
        """Record an event of a tenant that only reads look at, read its numbers, and answer how long the read took."""
        tenant = tenant_id((number * 2 + 1) % TENANTS)
        before = self.pipeline.live.store.live(tenant)
        call = self.tracker.received(f"rtc_read_{number}", tenant)
        call.accepted()
        began = time.perf_counter()
        age = self.pipeline.live.refresh()
        numbers = self.pipeline.live.store.live(tenant)
        took = time.perf_counter() - began
        assert age == 0, f"the read was {age} s old"
        assert before is not None
        assert numbers is not None
        assert numbers["accepted_calls"] == before["accepted_calls"] + 1, "the read does not show the event before it"
        return took

    def collect(self) -> float:
        """Collect everything; answers how long it took."""
        began = time.perf_counter()
        data = self.pipeline.cumulative.get_metrics_data()
        took = time.perf_counter() - began
        assert len(plain_metrics(data)["voice.call.accepted"]) == TENANTS
        return took


def main() -> None:
    """Time both with the same traffic going on, and say what was found."""
    print(f"Reading one tenant of {TENANTS:,} with {CALLS_PER_SECOND} calls a second going through")
    container = Container()
    live = container.pipeline.live
    with traffic(CALLS_PER_SECOND, container.background) as pace:
        began, folding, folds = time.perf_counter(), live.cpu_seconds, live.folds
        reads = timed(container.read, READS, PAUSE_SECONDS)
        share = (live.cpu_seconds - folding) / (time.perf_counter() - began)
        verdict.figure("calls a second that went through meanwhile", pace())
        verdict.figure("folds a second", (live.folds - folds) / (time.perf_counter() - began))
        verdict.figure("share of one processor spent folding", share * 100, " %")
        collections = timed(lambda _: container.collect(), COLLECTIONS, PAUSE_SECONDS)
    series = sum(map(len, plain_metrics(container.pipeline.cumulative.get_metrics_data()).values()))
    verdict.figure(f"collecting all {series:,} series, median", median(collections) * 1e3, " ms")
    verdict.at_most("reading one tenant live, median", median(reads) * 1e3, MEDIAN_MS, " ms")
    verdict.at_most("reading one tenant live, 99th percentile", quantiles(reads, n=100)[98] * 1e3, P99_MS, " ms")
    verdict.at_least("collecting everything / reading live, medians", median(collections) / median(reads), RATIO)
    live.shutdown()


def timed(what: Callable[[int], float], times: int, pause: float) -> list[float]:
    """Do it so many times, with a pause before each."""
    took = []
    for number in range(times):
        time.sleep(pause)
        took.append(what(number))
    return took


def tenant_id(number: int) -> str:
    """The id of the tenant of this number."""
    return f"tenant-{number:05d}"


def _nothing() -> None:
    """Time passes by itself."""


if __name__ == "__main__":
    main()
