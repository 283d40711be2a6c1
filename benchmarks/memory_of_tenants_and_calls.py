"""What 10,000 tenants weigh: the table of series, the live view and the SDK's storage; and a running call."""

import gc
import tracemalloc
from collections.abc import Callable

from benchmarks import verdict
from benchmarks.pipeline import Pipeline
from benchmarks.scripted_call import through_the_library
from telemetry.calls.events import Phase
from telemetry.calls.tracker import CallTracker
from telemetry.clock import SystemClock

TENANTS = 10_000
CALLS = 1_000
KILOBYTES = 15

TABLE = ("*/telemetry/metrics/*",)
SDK = ("*/opentelemetry/*",)
LIBRARY = ("*/telemetry/*",)
EVERYTHING = ("*",)


def main() -> None:
    """Weigh both, and say what was found."""
    print(f"Memory of {TENANTS:,} tenants that have each had a call, and of a running call")
    tenants = weighed(known_tenants, TABLE, SDK)
    verdict.figure("series and live view, a tenant", tenants[0] / TENANTS / 1e3, " kB")
    verdict.figure("the SDK's storage and exemplars, a tenant", tenants[1] / TENANTS / 1e3, " kB")
    verdict.at_most("all metric storage, a tenant", sum(tenants) / TENANTS / 1e3, KILOBYTES, " kB")
    calls = weighed(running_calls, LIBRARY, EVERYTHING)
    verdict.figure("a running call, in the library", calls[0] / CALLS / 1e3, " kB")
    verdict.figure("a running call, with its three open spans", calls[1] / CALLS / 1e3, " kB")


def weighed(build: Callable[[], object], *files: tuple[str, ...]) -> list[int]:
    """Bytes that building leaves allocated, by the files of each group that allocated them."""
    gc.collect()
    tracemalloc.start()
    kept = build()
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    assert kept is not None
    return [
        sum(trace.size for trace in snapshot.filter_traces([tracemalloc.Filter(True, name) for name in group]).traces)
        for group in files
    ]


def known_tenants() -> Pipeline:
    """A pipeline that has seen a call of every tenant's."""
    pipeline = Pipeline(SystemClock(), beside=False)
    tracker = pipeline.tracker(max_remembered=1)
    for number in range(TENANTS):
        through_the_library(tracker, f"rtc_{number}", f"tenant-{number:05d}", _nothing)
    assert pipeline.live.refresh(600) == 0
    pipeline.live.shutdown()
    return pipeline


def running_calls() -> tuple[Pipeline, CallTracker]:
    """So many calls that run, each in its second turn, and what they run in. One tenant's, so that no series count."""
    pipeline = Pipeline(SystemClock())
    tracker = pipeline.tracker()
    for number in range(CALLS):
        call = tracker.received(f"rtc_{number}", "acme")
        with call.phase(Phase.ACCEPT):
            call.accepted()
        call.started()
        for _ in range(2):
            call.caller_started_speaking()
            call.caller_stopped_speaking()
            call.agent_started_speaking()
            call.agent_stopped_speaking()
    assert tracker.usage().active == CALLS
    assert pipeline.live.refresh(600) == 0
    pipeline.live.shutdown()
    return pipeline, tracker


def _nothing() -> None:
    """Time passes by itself."""


if __name__ == "__main__":
    main()
