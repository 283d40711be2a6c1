"""Events of a call in any order, whatever is missing or doubled, leave whole traces."""

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry.calls import events
from telemetry.calls.events import (
    AgentInterrupted,
    CallAbandoned,
    CallAccepted,
    CallAnnounced,
    CallBefore,
    CallEnded,
    CallEvent,
    CallHandedOver,
    CallHeartbeat,
    CallLost,
    CallReceived,
    CallRef,
    CallReferred,
    CallRejected,
    CallStarted,
    CallTakenOver,
    CallUnanswered,
    Content,
    ContentHeard,
    DeadAir,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    LifecycleViolated,
    MessageUnusable,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    SpeechEnded,
    SpeechStarted,
    StageWaited,
    TalkedOver,
    TalkMeasured,
    TokensUsed,
    TokenUsage,
    ToolEnded,
    ToolStarted,
    TransitionInferred,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.calls.sinks import FanOut
from telemetry.clock import Instant
from telemetry.semconv.attributes import (
    CallId,
    EndReason,
    MessageProblem,
    RejectionReason,
    Speaker,
    Stage,
    TenantId,
    TurnEnd,
    UnansweredReason,
    Violation,
)
from telemetry.traces.sink import CallTraces

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

REF = CallRef(CallId("rtc_1"), TenantId("acme"))
MOMENTS = st.integers(0, 10).map(lambda second: Instant(float(second), second * 10**9))
NUMBERS = st.integers(0, 3)
ERRORS = st.none() | st.just("Boom")
IDS = st.sampled_from(["item_1", "item_2"])
PHASES = st.sampled_from([Phase.ACCEPT, Phase.REJECT, Phase.TRANSFER])

EVENTS: dict[type[CallEvent], dict[str, st.SearchStrategy[object]]] = {
    CallAnnounced: {"traceparent": st.sampled_from([None, TRACEPARENT])},
    CallReceived: {},
    CallTakenOver: {
        "state": st.sampled_from(CallState),
        "before": st.none() | st.builds(CallBefore, received=MOMENTS),
    },
    PhaseStarted: {"phase": PHASES},
    PhaseEnded: {"phase": PHASES, "started": MOMENTS, "error_type": ERRORS},
    InstructionsFailed: {"error_type": st.just("Boom")},
    FallbackUsed: {},
    CallAccepted: {"setup_seconds": st.just(1.0)},
    CallStarted: {},
    CallReferred: {"target": st.none() | st.just("desk")},
    CallHeartbeat: {"seconds": st.just(5.0)},
    FirstAudio: {"seconds": st.just(1.0)},
    SpeechStarted: {"speaker": st.sampled_from(Speaker)},
    SpeechEnded: {"speaker": st.sampled_from(Speaker), "started": MOMENTS, "interrupted": st.booleans()},
    TurnStarted: {"number": NUMBERS},
    TurnAnswered: {"number": NUMBERS, "seconds": st.just(1.0)},
    TurnInterrupted: {"number": NUMBERS},
    AgentInterrupted: {},
    TalkedOver: {"seconds": st.just(1.0), "by": st.sampled_from(Speaker)},
    DeadAir: {"started": MOMENTS, "seconds": st.just(3.0)},
    StageWaited: {"stage": st.sampled_from(Stage), "seconds": st.just(0.5)},
    TalkMeasured: {
        name: st.just(1)
        for name in ("seconds", "caller_seconds", "agent_seconds", "talk_over_seconds", "dead_air_seconds", "dead_airs")
    },
    TurnEnded: {"number": NUMBERS, "started": MOMENTS, "reason": st.sampled_from(TurnEnd)},
    TokensUsed: {"usage": st.builds(TokenUsage, st.none() | NUMBERS, st.none() | NUMBERS), "model": st.just("m")},
    ToolStarted: {"tool": st.just("lookup"), "tool_call_id": IDS},
    ToolEnded: {"tool": st.just("lookup"), "tool_call_id": IDS, "started": MOMENTS, "error_type": ERRORS},
    ContentHeard: {"content": st.sampled_from(Content), "text": st.just("Hi"), "tool_call_id": st.none()},
    SessionError: {"code": st.just("odd")},
    MessageUnusable: {"problem": st.sampled_from(MessageProblem)},
    TransitionInferred: {"transition": st.sampled_from(Transition)},
    LifecycleViolated: {"violation": st.sampled_from(Violation), "transition": st.just("started")},
    CallRejected: {"reason": st.sampled_from(RejectionReason), "setup_seconds": st.just(1.0), "error_type": ERRORS},
    CallLost: {"state": st.sampled_from(CallState), "before": st.builds(CallBefore, received=MOMENTS)},
    CallUnanswered: {"reason": st.sampled_from(UnansweredReason), "error_type": ERRORS},
    CallAbandoned: {"reason": st.sampled_from(EndReason), "error_type": ERRORS},
    CallHandedOver: {"state": st.sampled_from(CallState), "unbilled_seconds": st.just(1.0)},
    CallEnded: {
        "reason": st.sampled_from(EndReason),
        "duration_seconds": st.just(1.0),
        "unbilled_seconds": st.just(1.0),
        "error_type": ERRORS,
    },
}
any_event = st.one_of(*(st.builds(kind, at=MOMENTS, call=st.just(REF), **rest) for kind, rest in EVENTS.items()))


@settings(max_examples=300)
@given(st.lists(any_event, max_size=40))
def test_any_order_of_events_leaves_whole_trees(happened: list[CallEvent]) -> None:
    """Events in any order, whatever is missing or doubled: once a call's end has come, all its spans have ended."""
    finished = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    begun: list[int] = []

    class Begun(SimpleSpanProcessor):
        def on_start(self, span: object, parent_context: object = None) -> None:  # noqa: ARG002 -- the SDK's signature
            begun.append(id(span))

    provider.add_span_processor(Begun(finished))
    sink = CallTraces(provider.get_tracer("test"))
    end = CallEnded(Instant(11, 11 * 10**9), REF, EndReason.STALE, 1.0, 0.0)
    fan_out = FanOut([sink, sink.endings], strict=True)
    for event in [*happened, end]:
        fan_out.emit(event)
    assert sink.open_calls == 0
    assert not sink._calls._announced
    spans = finished.get_finished_spans()
    assert len(spans) == len(begun)
    ids = {span.context.span_id for span in spans}
    assert all(span.parent is None or span.parent.span_id in ids for span in spans)
    assert all(span.parent is None for span in spans if span.name == "call")


def test_the_table_of_events_is_complete() -> None:
    """The property above covers every event there is of a call, and every field of each."""
    declared = {value for value in vars(events).values() if isinstance(value, type) and issubclass(value, CallEvent)}
    assert set(EVENTS) == declared - {CallEvent}
    optional = {
        "caller",
        "cut_off",
        "target",
        "dialled",
        "content",
        "traceparent",
        "continues",
        "resumed",
        "limit",
        "response_id",
        "fault",
        "model",
        "resends",
        "tool_call_id",
    }
    for kind, rest in EVENTS.items():
        assert {field.name for field in fields(kind)} - optional == (set(rest) - optional) | {"at", "call"}, kind
