"""Spans of calls: open while they are open, kept when they end, and never left behind."""

import gc

import pytest
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Status, StatusCode

from telemetry.calls.events import CallRef, Phase
from telemetry.recent.record import CallDetails, PhaseRow, SpanRow, SpeechRow, ToolRow, Trace, TurnRow
from telemetry.recent.spans import SpanRecorder, SpanRegister
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, TenantId
from telemetry.testing import TelemetryKit
from tests.support import calls


def trace_of(kit: TelemetryKit, call_id: str = "rtc_1") -> Trace:
    found = kit.recent.call(call_id)
    assert found is not None
    assert found.trace is not None
    return found.trace


def names(rows: tuple[SpanRow, ...]) -> list[str]:
    return [row.name for row in rows]


def still_open(kit: TelemetryKit) -> list[str]:
    return sorted(row.name for row in trace_of(kit).spans if row.end_unix_nanos is None)


def test_a_running_call_shows_its_open_spans(kit: TelemetryKit) -> None:
    """Root, session, turn and tool are there while they go on, besides those that are over."""
    call = calls.started(kit)
    call.caller_started_speaking()
    with call.tool("lookup", "call_1"):
        assert still_open(kit) == ["call", "execute_tool lookup", "session", "turn"]
        assert "accept" in names(trace_of(kit).spans)


def test_no_span_stays_open_when_the_call_is_over(kit: TelemetryKit) -> None:
    """Whatever was under way when the session broke off in the middle of a turn has ended with it."""
    call = calls.started(kit)
    call.caller_started_speaking()
    tool = call.tool("lookup", "call_1")
    phase = call.phase(Phase.TRANSFER)
    tool.__enter__()
    phase.__enter__()
    call.ended(EndReason.ERROR, error_type="SessionLost")
    assert still_open(kit) == []
    assert kit.open_spans.count == 0
    found = kit.recent.call("rtc_1")
    assert found is not None
    rows: list[PhaseRow | ToolRow | TurnRow | SpeechRow] = [*found.phases, *found.tools, *found.turns, *found.speech]
    assert all(row.end is not None for row in rows)
    assert [(row.error_type, row.cut_off) for row in found.tools] == [(None, True)]
    phase.__exit__(None, None, None)
    tool.__exit__(None, None, None)
    later = kit.recent.call("rtc_1")
    assert later is not None
    assert ([row.error_type for row in later.tools], [row.phase for row in later.phases][-1]) == (
        [None],
        Phase.TRANSFER,
    )


def test_a_call_over_without_error_marks_what_it_cut_off(kit: TelemetryKit) -> None:
    """A tool under way when the caller hangs up is shown as cut off, which is no error of the tool."""
    call = calls.started(kit)
    tool = call.tool("lookup", "call_1")
    tool.__enter__()
    call.ended(EndReason.HANGUP)
    found = kit.recent.call("rtc_1")
    assert found is not None
    assert [(row.end, row.error_type, row.cut_off) for row in found.tools] == [(found.summary.ended, None, True)]
    assert found.summary.failed_tools == ()
    tool.__exit__(None, None, None)


def test_an_exception_in_a_tool_leaves_nothing_open(kit: TelemetryKit) -> None:
    """A tool that raises ends its span with the error's type, and says nothing of its message."""
    call = calls.started(kit)
    calls.failed_tool(kit, call)
    (row,) = [row for row in trace_of(kit).spans if row.name == "execute_tool book_table"]
    assert (row.error, row.attributes["error.type"]) == (True, "TimeoutError")
    assert row.end_unix_nanos is not None
    assert "4930123456" not in repr(kit.recent.call("rtc_1"))


def test_spans_of_others_join_the_call(kit: TelemetryKit) -> None:
    """A span another instrumentation makes inside a phase hangs below it in the record."""
    tracer = kit.tracer_provider.get_tracer("some.http.client")
    call = calls.announced(kit)
    with call.phase(Phase.ACCEPT), tracer.start_as_current_span("POST"):
        pass
    rows = {row.name: row for row in trace_of(kit).spans}
    assert rows["POST"].parent_id == rows["accept"].span_id
    assert rows["POST"].scope == "some.http.client"


def test_spans_outside_calls_are_not_kept(kit: TelemetryKit) -> None:
    """A span of any other trace is registered while it is open and forgotten when it ends."""
    calls.started(kit)
    before = kit.recent.size.estimated_bytes
    with kit.tracer_provider.get_tracer("other").start_as_current_span("GET"):
        pass
    assert kit.recent.size.estimated_bytes == before


def test_spans_that_end_after_the_call_are_attached(kit: TelemetryKit) -> None:
    """A request that outlives its call, such as the carrier being told, is shown with it all the same."""
    call = calls.announced(kit)
    with call.phase(Phase.REJECT):
        span = kit.tracer_provider.get_tracer("http").start_span("POST")
        call.rejected(RejectionReason.CAPACITY)
    span.end()
    assert "POST" in names(trace_of(kit).spans)


def test_a_call_whose_trace_is_not_sampled_says_so() -> None:
    """Head sampling takes the spans away and nothing else: the record is as complete as ever."""
    with TelemetryKit(sampler=ALWAYS_OFF) as kit:
        calls.ordinary(kit)
        unsampled = kit.recent.call("rtc_1")
    with TelemetryKit() as kit:
        calls.ordinary(kit)
        sampled = kit.recent.call("rtc_1")
    assert unsampled is not None
    assert unsampled.trace is not None
    assert sampled is not None
    assert (unsampled.trace.sampled, unsampled.trace.spans) == (False, ())
    assert _without_trace(unsampled) == _without_trace(sampled)


def _without_trace(record: CallDetails) -> tuple[object, ...]:
    return (
        record.steps,
        record.phases,
        record.turns,
        record.speech,
        record.tools,
        record.errors,
        record.tokens,
        record.decision,
        record.ending,
    )


def test_a_linked_trace_is_named_and_not_joined(kit: TelemetryKit) -> None:
    """A trace context from outside is linked from the root; the call's trace is its own."""
    outside = "4bf92f3577b34da6a3ce929d0e0e4736"
    kit.tracker.received("rtc_1", "acme", traceparent=f"00-{outside}-00f067aa0ba902b7-01")
    (root,) = trace_of(kit).spans
    assert root.linked_trace_ids == (outside,)
    assert trace_of(kit).trace_id != outside


def test_the_call_is_found_by_its_trace(kit: TelemetryKit) -> None:
    """A trace's id leads to the call, until the call is let go."""
    calls.started(kit)
    trace_id = trace_of(kit).trace_id
    found = kit.recent.by_trace(trace_id)
    assert found is not None
    assert (found.summary.call_id, kit.recent.call_of_trace(trace_id)) == ("rtc_1", "rtc_1")


def test_what_spans_of_others_say_is_cleaned(kit: TelemetryKit) -> None:
    """Queries, statements, messages and numbers that other instrumentations record do not get into the record."""
    call = calls.announced(kit)
    tracer = kit.tracer_provider.get_tracer("some.http.client")
    with call.phase(Phase.ACCEPT), tracer.start_as_current_span("GET +4915112345678") as span:
        span.set_attributes(
            {
                "url.full": "https://user:secret@carrier.example/calls/rtc_1?token=secret#secret",
                "url.query": "token=secret",
                "db.query.text": "SELECT secret",
                "client.address": "203.0.113.9",
                "peer": "sip:secret@carrier.example",
                "numbers": ["+4915112345678", "5"],
            }
        )
        span.record_exception(ValueError("secret +4915112345678"))
        span.set_status(Status(StatusCode.ERROR, "secret"))
    (row,) = [row for row in trace_of(kit).spans if row.scope == "some.http.client"]
    assert row.attributes["url.full"] == "https://carrier.example/calls/rtc_1"
    assert row.attributes["peer"] == "sip:…@carrier.example"
    assert row.attributes["numbers"] == "…5678,5"
    assert row.name == "GET …5678"
    (raised,) = row.events
    assert raised.attributes["exception.type"] == "ValueError"
    assert [leak for leak in ("secret", "4915112345678", "203.0.113.9") if leak in repr(row)] == []


def test_long_attributes_are_cut(kit: TelemetryKit) -> None:
    """One span cannot fill the record, however much it says."""
    call = calls.announced(kit)
    with call.phase(Phase.ACCEPT), kit.tracer_provider.get_tracer("x").start_as_current_span("n" * 10_000) as span:
        span.set_attribute("big", "b" * 100_000)
        for _ in range(100):
            span.add_event("again")
    (row,) = [row for row in trace_of(kit).spans if row.scope == "x"]
    assert (len(row.name), len(str(row.attributes["big"])), len(row.events)) == (256, 256, 16)


# The register ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def register() -> SpanRegister:
    return SpanRegister(limit=3)


@pytest.fixture
def provider(register: SpanRegister) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SpanRecorder(register))
    return made


def begin(provider: TracerProvider, name: str = "span") -> Span:
    span = provider.get_tracer("test").start_span(name)
    assert isinstance(span, Span)
    return span


def test_the_register_knows_a_span_from_start_to_end(register: SpanRegister, provider: TracerProvider) -> None:
    """A span is registered while it is open, under its trace."""
    span = begin(provider)
    assert (register.count, register.of_trace(span.context.trace_id)) == (1, [span])
    span.end()
    assert (register.count, register.of_trace(span.context.trace_id)) == (0, [])


def test_a_full_register_takes_no_more(register: SpanRegister, provider: TracerProvider) -> None:
    """Past its bound the register takes no more, and is not confused when those it missed end."""
    spans = [begin(provider) for _ in range(5)]
    assert register.count == 3
    for span in spans:
        span.end()
    assert register.count == 0


def test_lost_spans_make_room(register: SpanRegister, provider: TracerProvider) -> None:
    """Spans their makers dropped without ending them neither stay in memory nor fill the register."""
    for _ in range(3):
        begin(provider)
    gc.collect()
    kept = begin(provider)
    assert register.count == 1
    kept.end()


def test_closing_ends_every_span_and_says_why(register: SpanRegister, provider: TracerProvider) -> None:
    """At shutdown no span is lost: each that is open ends, and says that it was ended from outside."""
    outer, inner = begin(provider, "outer"), begin(provider, "inner")
    assert register.close("shutdown") == 2
    assert (register.count, register.close("shutdown")) == (0, 0)
    for span in (outer, inner):
        assert span.end_time is not None
        assert dict(span.attributes or {})["callscope.span.closed"] == "shutdown"


def test_a_register_without_room_is_refused() -> None:
    """A register that could hold nothing is a mistake."""
    with pytest.raises(ValueError, match="limit must be at least 1"):
        SpanRegister(0)


def test_traces_of_announced_calls_are_not_shown(kit: TelemetryKit) -> None:
    """By its trace, a call is shown from its reception on."""
    ref = kit.tracker.announced("rtc_1", at=kit.clock.now())
    assert ref == CallRef(CallId("rtc_1"), TenantId("_unknown"))
    (span,) = kit.open_spans.of_trace(_only_trace(kit))
    assert kit.recent.by_trace(format(span.context.trace_id, "032x")) is None


def _only_trace(kit: TelemetryKit) -> int:
    trace_id = kit.traces.trace_id(CallId("rtc_1"))
    assert trace_id is not None
    return int(trace_id, 16)
