"""What 1,000 running calls weigh in the record of calls and as open spans, and what one endless call weighs at most."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import verdict
from telemetry.calls.call import Call
from telemetry.calls.events import Phase, TokenUsage
from telemetry.setup import Telemetry, start_telemetry

CALLS = 1_000
TURNS = 5
"""Of each running call so far: a minute's conversation."""
ENDLESS_TURNS = 2_000
"""Of a call that goes on and on: more than an hour can hold."""

MOST_KILOBYTES = 20.0
"""That a running call may weigh in the record, and as open spans."""
MOST_KILOBYTES_ENDLESS = 150.0
"""That a call may weigh in the record, however long it talks."""

NO_EXPORT = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}

_FRAMES = 8
# Of each allocation's stack: enough to find who of the library asked for it.

RECORD = "/telemetry/recent/"
OPEN_SPANS = ("/opentelemetry/sdk/trace/", "/opentelemetry/trace/", "/telemetry/open_spans.py", "/telemetry/traces.py")


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes that are still allocated."""

    record: int
    spans: int
    everything: int


def main() -> None:
    """Weigh, and say what was found."""
    print(f"Memory of {CALLS:,} running calls, each in its turn {TURNS + 1}")
    with telemetry() as running:
        weight = weighed(lambda: [begin(running, f"rtc_{number}", TURNS) for number in range(CALLS)])
        assert running.recent.size.open_calls == CALLS
        verdict.at_most("the record, a call", weight.record / CALLS / 1e3, MOST_KILOBYTES, " kB")
        verdict.figure("the record's own estimate, a call", running.recent.size.estimated_bytes / CALLS / 1e3, " kB")
        verdict.at_most("open spans (call, session, turn), a call", weight.spans / CALLS / 1e3, MOST_KILOBYTES, " kB")
        verdict.figure("open spans, how many", float(running.spans.count), "")
        verdict.figure("everything, a call", weight.everything / CALLS / 1e3, " kB")
        verdict.figure(f"everything, {CALLS:,} calls", weight.everything / 1e6, " MB")
    with telemetry() as running:
        weight = weighed(lambda: begin(running, "rtc_endless", ENDLESS_TURNS))
        size = running.recent.size
        verdict.at_most(
            f"the record, one call of {ENDLESS_TURNS:,} turns", weight.record / 1e3, MOST_KILOBYTES_ENDLESS, " kB"
        )
        verdict.at_least("rows it has left out, and counted", size.left_out, ENDLESS_TURNS)


@contextmanager
def telemetry() -> Iterator[Telemetry]:
    """The whole library as a service runs it, exporting nothing."""
    with start_telemetry(NO_EXPORT, strict=True) as running:
        yield running


def weighed(build: Callable[[], object]) -> Weight:
    """What building leaves allocated, by who allocated it."""
    gc.collect()
    tracemalloc.start(_FRAMES)
    kept = build()
    gc.collect()
    traces = tracemalloc.take_snapshot().traces
    tracemalloc.stop()
    assert kept is not None
    record = spans = everything = 0
    for trace in traces:
        files = [frame.filename for frame in trace.traceback]
        everything += trace.size
        if any(RECORD in name for name in files):
            record += trace.size
        elif any(part in name for name in files for part in OPEN_SPANS):
            spans += trace.size
    return Weight(record, spans, everything)


def begin(running: Telemetry, call_id: str, turns: int) -> Call:
    """A call in the middle of a conversation: set up, some turns behind it, and the caller speaking."""
    call = running.tracker.received(call_id, "acme", caller="+33612345678", dialled="+18005550100")
    for phase in (Phase.INSTRUCTIONS, Phase.ACCEPT):
        with call.phase(phase):
            pass
    call.accepted()
    with call.phase(Phase.CONNECT):
        pass
    call.started()
    for number in range(turns):
        call.caller_started_speaking()
        call.caller_stopped_speaking()
        call.agent_started_speaking()
        call.agent_stopped_speaking()
        call.tokens_used(TokenUsage(input=100, output=50), "gpt-realtime-2.1", f"resp_{number}")
    with call.tool("lookup_order", "call_1"):
        pass
    call.caller_started_speaking()
    return call


if __name__ == "__main__":
    main()
