"""What a live read, an export and a scrape cost, at growing numbers of tenants.

A read of one tenant should cost the same at any number; what looks at everything grows with what there is.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Final

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource

from benchmarks import verdict
from benchmarks.pipeline import Pipeline
from benchmarks.scripted_call import through_the_library
from telemetry.clock import SystemClock
from telemetry.export.exposition import Exposition
from telemetry.export.metrics import PART
from telemetry.export.plan import Temporality
from telemetry.export.points import Points

SIZES: Final = (100, 300, 1_000, 3_000, 10_000)
TIMES: Final = 5
READS: Final = 200
PLOT: Final = "tenants"
NOBODY: Final = Resource({})


class Known:
    """So many tenants, each of which has had a call."""

    def __init__(self, tenants: int) -> None:
        self._pipeline = Pipeline(SystemClock(), beside=False)
        self._tracker = self._pipeline.tracker(max_remembered=1)
        self._calls = 0
        for number in range(tenants):
            self.call(number)
        self._pipeline.live.fold()

    def call(self, tenant: int) -> None:
        """Have a call of a tenant's happen."""
        self._calls += 1
        through_the_library(self._tracker, f"rtc_{self._calls}", f"tenant-{tenant:05d}", lambda: None)

    def read(self) -> None:
        """Read one tenant, after a call of its own, which the read must show."""
        assert self._pipeline.live.refresh() == 0
        assert self._pipeline.live.store.live("tenant-00007") is not None

    def export(self) -> None:
        """Encode an export of everything."""
        table = self._pipeline.live.store.series
        with table.pinned() as pin:
            for part in Points(table, pin, Temporality.CUMULATIVE, NOBODY, exemplars_since=0, pace=iter).parts(PART):
                encode_metrics(part.data).SerializeToString()

    def scrape(self) -> None:
        """Write everything as Prometheus' text."""
        table = self._pipeline.live.store.series
        with table.pinned() as pin:
            assert sum(map(len, Exposition(table, pin, NOBODY, open_metrics=False, pace=iter).parts()))


def main() -> None:
    """Measure each size, and say what was found."""
    print("Cost over tenants that have each had a call")
    for tenants in SIZES:
        known = Known(tenants)
        for what, milliseconds in (
            ("live read after a call", timed(known.read, READS, before=partial(known.call, 7))),
            ("export, encoded", timed(known.export, TIMES)),
            ("scrape, written", timed(known.scrape, TIMES)),
        ):
            verdict.figure(f"{tenants:,} tenants: {what}", milliseconds, " ms")
            verdict.point(PLOT, what, tenants, milliseconds)


def timed(what: Callable[[], None], times: int, *, before: Callable[[], None] | None = None) -> float:
    """Return the median of so many times in milliseconds; what is done before each does not count."""
    took = []
    for _ in range(times):
        if before is not None:
            before()
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)
    return median(took) * 1e3


if __name__ == "__main__":
    main()
