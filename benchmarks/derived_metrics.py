"""What windows of 10,000 tenants cost: memory for a day, a sample, a ranking, and what live reads notice of either.

A day of 100 calls a second over all tenants is played into the live table, in steps as long as the history keeps them.
Then reads follow events through the library: first alone, then with ranking after ranking going on beside them, then
with sample after sample.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from random import Random
from statistics import median, quantiles

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from benchmarks import verdict
from benchmarks.pipeline import Pipeline
from service.tenants.limits import CallLimits
from telemetry.clock import Instant, SystemClock
from telemetry.metrics.figures import FIGURES, summary
from telemetry.metrics.history import History, Ranking
from telemetry.metrics.past import SAMPLE_SECONDS, WindowName
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import TENANT_ID
from telemetry.semconv.instrument import Instrument

TENANTS = 10_000
CALLS_PER_SECOND = 100
CALL_SECONDS = 180.0
TURNS = 12
STEPS = (*[3600.0] * 25, *[300.0] * 12, *[60.0] * 6)
"""A day: the seconds between samples, as coarse as what is kept of them."""
PAGE = 50
READS = 1_000
PAUSE_SECONDS = 0.005

MEMORY_MB = 64.0
RANKING_CPU_MS = 250.0
MEDIAN_RATIO = 3.0
READ_P99_MS = 10.0


class Container:
    """A pipeline whose live table has a day of traffic, and the history of it."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(SystemClock())
        self.tracker = self.pipeline.tracker(max_remembered=1)
        self._calls = count()
        rng = Random(7)  # noqa: S311 -- reproducible, not secret
        self._traffic = {seconds: _traffic(seconds, rng) for seconds in set(STEPS)}
        self._now = SystemClock().now().minus(sum(STEPS))
        self.history = History(self.pipeline.live.store, self.tracker, CallLimits(1_000, 10), self._now)
        self.samples = [self._after(seconds) for seconds in STEPS]

    @property
    def now(self) -> Instant:
        """The moment of the last sample."""
        return self._now

    def rank(self, figure: str, window: WindowName = WindowName.HOUR) -> tuple[float, float]:
        """Rank all tenants; answers the seconds and the processor seconds it took."""
        ranking = Ranking(FIGURES[figure], window, descending=True)
        return took(lambda: ranking.first(PAGE, self.history, self._now))

    def sample(self) -> None:
        """Another minute."""
        self._now = self._now.minus(-SAMPLE_SECONDS)
        self.history.sample(self._now)

    async def read(self) -> float:
        """Record an event and read the live numbers that show it; answers the seconds the read took."""
        self.tracker.received(f"rtc_{next(self._calls)}", "tenant-00000").accepted()
        began = time.perf_counter()
        await self.pipeline.live.refreshed()
        numbers = self.pipeline.live.store.live("tenant-00000")
        seconds = time.perf_counter() - began
        assert numbers is not None
        return seconds

    def _after(self, seconds: float) -> tuple[float, float]:
        self.pipeline.live.store.fold(self._traffic[seconds])
        self._now = self._now.minus(-seconds)
        return took(lambda: self.history.sample(self._now))


def took(what: Callable[[], object]) -> tuple[float, float]:
    """The seconds and the processor seconds something takes."""
    began, cpu = time.perf_counter(), time.thread_time()
    what()
    return time.perf_counter() - began, time.thread_time() - cpu


def _traffic(seconds: float, rng: Random) -> MetricsData:
    """What a collection would bring of so many seconds: each tenant has as many calls as chance gives it."""
    mean = CALLS_PER_SECOND * seconds / TENANTS
    calls = {tenant: int(rng.expovariate(1 / mean) + 0.5) for tenant in range(TENANTS)}
    busy = {tenant: number for tenant, number in calls.items() if number}
    metrics = [*_sums(busy, rng), *_histograms(busy, rng)]
    scope = ScopeMetrics(InstrumentationScope(catalogue.METER_NAME), metrics, "")
    return MetricsData([ResourceMetrics(Resource({}), [scope], "")])


def _sums(busy: dict[int, int], rng: Random) -> Iterator[Metric]:
    shares: dict[Instrument, float] = {
        catalogue.RECEIVED: 1,
        catalogue.ACCEPTED: 1,
        catalogue.STARTED: 1,
        catalogue.ENDED: 1,
        catalogue.CALL_TIME: CALL_SECONDS,
        catalogue.REFERRED: 0.1,
        catalogue.ABANDONED: 0.02,
    }
    for instrument, share in shares.items():
        points = [
            NumberDataPoint(_attributes(tenant), 0, 0, _about(number * share, rng)) for tenant, number in busy.items()
        ]
        yield _metric(instrument, Sum(points, AggregationTemporality.DELTA, is_monotonic=True))


def _histograms(busy: dict[int, int], rng: Random) -> Iterator[Metric]:
    measured = {
        catalogue.SETUP_DURATION: 1,
        catalogue.CALL_FIRST_AUDIO: 1,
        catalogue.TURN_FIRST_AUDIO: TURNS,
        catalogue.DURATION: 1,
    }
    for instrument, each in measured.items():
        points = [_measurements(tenant, number * each, instrument, rng) for tenant, number in busy.items()]
        yield _metric(instrument, Histogram(points, AggregationTemporality.DELTA))


def _measurements(tenant: int, number: int, instrument: Instrument, rng: Random) -> HistogramDataPoint:
    """Spread over the buckets as waits are: most in a few, some in all."""
    counts = [0] * (len(instrument.boundaries) + 1)
    left, bucket = number, rng.randrange(2, 5)
    while left:
        share = (left + 1) // 2
        counts[bucket % len(counts)] += share
        left, bucket = left - share, bucket + 1
    return HistogramDataPoint(
        _attributes(tenant), 0, 0, number, 0.0, counts, instrument.boundaries, 0.0, 0.0, exemplars=[]
    )


def _metric(instrument: Instrument, data: Sum | Histogram) -> Metric:
    return Metric(instrument.name, "", instrument.unit, data)


def _attributes(tenant: int) -> dict[str, str]:
    return {TENANT_ID: f"tenant-{tenant:05d}"}


def _about(amount: float, rng: Random) -> int:
    """The amount, whole, up or down by chance."""
    return int(amount + rng.random())


async def reads(container: Container) -> list[float]:
    """How long reads take, one every few milliseconds."""
    times = []
    for _ in range(READS):
        await asyncio.sleep(PAUSE_SECONDS)
        times.append(await container.read())
    return times


async def reads_beside(container: Container, work: Callable[[], object]) -> tuple[list[float], int]:
    """The same with other work done over and over in a thread; and how often it was done."""
    over, done = asyncio.Event(), 0

    async def go_on() -> None:
        nonlocal done
        while not over.is_set():
            await asyncio.to_thread(work)
            done += 1

    working = asyncio.create_task(go_on())
    times = await reads(container)
    over.set()
    await working
    return times, done


def main() -> None:
    """Play the day, measure, and say what was found."""
    print(f"Windows of {TENANTS:,} tenants over a day of {CALLS_PER_SECOND} calls a second")
    container = Container()
    size = container.history.size()
    verdict.figure("steps kept", size.steps)
    verdict.at_most("numbers kept, all tenants", size.bytes / 1e6, MEMORY_MB, " MB")
    verdict.figure("numbers kept, a tenant", size.bytes / TENANTS / 1e3, " kB")
    verdict.figure("a sample, median", median(wall for wall, _ in container.samples) * 1e3, " ms")
    verdict.figure("a sample, processor time, median", median(cpu for _, cpu in container.samples) * 1e3, " ms")
    rankings = {(figure, window): container.rank(figure, window) for figure in FIGURES for window in WindowName}
    verdict.figure("a ranking, median of all figures and windows", median(w for w, _ in rankings.values()) * 1e3, " ms")
    worst = max(rankings, key=lambda one: rankings[one][1])
    verdict.figure("a ranking, processor time, median", median(cpu for _, cpu in rankings.values()) * 1e3, " ms")
    verdict.at_most(f"the dearest ({', '.join(worst)})", rankings[worst][1] * 1e3, RANKING_CPU_MS, " ms")
    verdict.figure("a tenant's summary, all windows", took(lambda: _summaries(container))[0] * 1e3, " ms")
    asyncio.run(compare(container))
    container.pipeline.live.shutdown()


def _summaries(container: Container) -> None:
    for window in container.history.of(container.now, "tenant-00042").values():
        summary(window)


async def compare(container: Container) -> None:
    """Live reads alone, beside rankings and beside samples."""
    figures = cycle(FIGURES)
    await container.read()
    alone = await reads(container)
    verdict.figure("a live read alone, median", median(alone) * 1e3, " ms")
    verdict.figure("a live read alone, 99th percentile", _p99(alone) * 1e3, " ms")
    for what, work in (("rankings", lambda: container.rank(next(figures))), ("samples", container.sample)):
        beside, done = await reads_beside(container, work)
        verdict.figure(f"{what} made meanwhile", done)
        verdict.figure(f"a live read beside {what}, median", median(beside) * 1e3, " ms")
        verdict.at_most(f"a live read beside {what}, 99th percentile", _p99(beside) * 1e3, READ_P99_MS, " ms")
        verdict.at_most("medians, beside / alone", median(beside) / median(alone), MEDIAN_RATIO)


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


if __name__ == "__main__":
    main()
