"""What it costs to record a whole call through the library, against the same measurements and spans made by hand.

By hand there are two readers, as whoever wants live numbers and exports has them on the plain SDK; the library needs
one. Before anything is timed, both are compared on a clock that both are told: the same series with the same values,
the same spans with the same attributes, times and parents. Then the two take turns, so that whatever else the machine
does meets both alike.
"""

import gc
import time
from collections.abc import Callable
from itertools import count
from statistics import median

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks import verdict
from benchmarks.by_hand import ByHand
from benchmarks.pipeline import Pipeline
from benchmarks.scripted_call import run, through_the_library
from telemetry.clock import SystemClock
from telemetry.testing import FakeClock, SpanTree, plain_metrics, span_trees

BOUND = 0.95
HELD = (
    "What holds it: the SDK cleans a measurement's attributes once for all readers, so that a second one by hand"
    " costs little; [decision 0004](decisions/0004-what-a-call-costs.md) says what the library does beyond."
)
REPEATS = 60
CALLS_A_ROUND = 100
TENANTS = 20

Record = Callable[[int], object]
"""Records one call, the one of this number."""


def main() -> None:
    """Compare both sides, time them, and say what was found."""
    print("Recording a whole call, two turns, metrics and spans: by hand for two readers, in the library for one")
    assert found(library=True) == found(library=False), "both sides must record the very same"
    sides = (recorder(library=True), recorder(library=False), recorder(library=False, readers=1))
    numbers = count()
    timed = [[seconds(side, numbers) for side in sides] for _ in range(REPEATS)]
    verdict.figure("by hand on the plain SDK, a call", median(hand for _, hand, _ in timed) * 1e6, " us")
    verdict.figure("by hand for one reader alone, of that", median(one / hand for _, hand, one in timed))
    verdict.figure("through the library, a call", median(lib for lib, _, _ in timed) * 1e6, " us")
    ratio = median(lib / hand for lib, hand, _ in timed)
    verdict.at_most("through the library / by hand, median of rounds", ratio, BOUND, held=HELD)


def recorder(*, library: bool, readers: int = 2) -> Record:
    """One side on providers of its own, by the machine's clocks; the library needs one reader, whoever asks for two."""
    pipeline = Pipeline(SystemClock(), beside=not library and readers > 1)
    if library:
        tracker = pipeline.tracker()
        return lambda number: through_the_library(tracker, f"rtc_{number}", f"t{number % TENANTS}", _nothing)
    by_hand = ByHand(pipeline)
    return lambda number: run(by_hand.received(f"rtc_{number}", f"t{number % TENANTS}"), _nothing)


def seconds(record: Record, numbers: "count[int]") -> float:
    """Processor time of one call, averaged over a round: neither the machine's other work nor the collector's turns."""
    gc.collect()
    gc.disable()
    began = time.thread_time()
    for _ in range(CALLS_A_ROUND):
        record(next(numbers))
    took = time.thread_time() - began
    gc.enable()
    return took / CALLS_A_ROUND


def found(*, library: bool) -> tuple[object, object]:
    """What one side records of one call: its spans and its series, as plain values."""
    spans, clock = InMemorySpanExporter(), FakeClock()
    pipeline = Pipeline(clock, SimpleSpanProcessor(spans))

    def tick() -> None:
        clock.advance(0.25)

    if library:
        through_the_library(pipeline.tracker(), "rtc_1", "acme", tick)
    else:
        run(ByHand(pipeline).received("rtc_1", "acme"), tick)
    trees = span_trees(spans.get_finished_spans())
    return [shape(tree) for tree in trees], plain_metrics(pipeline.cumulative.get_metrics_data())


def shape(span: SpanTree) -> object:
    """A tree without the ids that differ from run to run."""
    return span.name, span.attributes, span.seconds, span.failed, [shape(child) for child in span.children]


def _nothing() -> None:
    """Time passes by itself."""


if __name__ == "__main__":
    main()
