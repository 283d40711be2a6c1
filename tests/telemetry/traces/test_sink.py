"""One trace a call: a tree without orphans, closed whatever way the call ends."""

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from importlib.metadata import version

import pytest
from opentelemetry import trace

from telemetry.calls.call import Call
from telemetry.calls.events import (
    LimitHit,
    Phase,
    TokenUsage,
)
from telemetry.calls.sinks import FanOut
from telemetry.calls.timing import TypedError
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import (
    CallId,
    CapacityScope,
    EndReason,
    RejectionReason,
)
from telemetry.testing import ORIGIN, SpanTree, TelemetryKit
from telemetry.traces import sink as trace_sink
from telemetry.traces.sink import CallTraces
from tests.telemetry.threads import together

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def started(kit: TelemetryKit, call_id: str = "rtc_1") -> Call:
    call = kit.tracker.received(call_id, "acme")
    call.accepted()
    call.started()
    return call


def the_trace(kit: TelemetryKit) -> SpanTree:
    (root,) = kit.spans()
    return root


def shape(span: SpanTree) -> object:
    """A tree as nested names."""
    return {span.name: [shape(child) for child in span.children]} if span.children else span.name


def test_a_call_is_one_tree(kit: TelemetryKit) -> None:
    """Phases hang below the call, turns and tools below its session, speech below the turn it belongs to."""
    call = kit.tracker.received("rtc_1", "acme", caller="+4915112345678", dialled="+18005550100")
    for phase in (Phase.CAPACITY, Phase.INSTRUCTIONS, Phase.ACCEPT):
        with call.phase(phase):
            kit.clock.advance(0.125)
    call.accepted()
    with call.phase(Phase.CONNECT):
        kit.clock.advance(0.125)
        call.started()
    call.agent_started_speaking()
    kit.clock.advance(1)
    call.agent_stopped_speaking()
    call.caller_started_speaking()
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    with call.tool("lookup", "item_1"):
        kit.clock.advance(1)
    call.tokens_used(TokenUsage(input=10, output=2, cached_input=4), "gpt-realtime")
    call.agent_started_speaking()
    kit.clock.advance(1)
    call.agent_stopped_speaking()
    call.tokens_used(TokenUsage(input=20, output=3, input_audio=1, output_audio=1), "gpt-realtime")
    call.fallback_used()
    call.ended(EndReason.COMPLETED)
    root = the_trace(kit)
    assert shape(root) == {
        "call": [
            "capacity",
            "instructions",
            "accept",
            "connect",
            {"session": ["speech", {"turn": ["speech", "execute_tool lookup", "speech"]}]},
        ]
    }
    assert root.seconds == 4.5
    assert not any(span.failed for span in root.walk())
    assert all(span.attributes["tenant.id"] == "acme" for span in root.walk())
    assert root.attributes == {
        "tenant.id": "acme",
        "voice.call.id": "rtc_1",
        **ORIGIN,
        "voice.caller.number": "…5678",
        "voice.caller.hash": root.attributes["voice.caller.hash"],
        "voice.dialled.number": "…0100",
        "voice.call.outcome": "completed",
        "voice.call.setup.duration_s": 0.375,
        "voice.call.time_to_first_audio_s": 0.5,
        "voice.call.end.reason": "completed",
        "voice.call.duration_s": 4.0,
        "voice.instructions.fallback": True,
    }
    session, turn = root.one("session"), root.one("turn")
    assert session.attributes == {
        "tenant.id": "acme",
        "voice.call.id": "rtc_1",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-realtime",
        "gen_ai.conversation.id": "rtc_1",
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.audio.input_tokens": 1,
        "gen_ai.usage.audio.output_tokens": 1,
    }
    assert turn.attributes == {
        "tenant.id": "acme",
        "voice.turn.number": 1,
        "voice.turn.time_to_first_audio_s": 1.0,
        "voice.turn.end.reason": "call_ended",
    }
    assert [speech.attributes["voice.speaker"] for speech in root.all("speech")] == ["agent", "caller", "agent"]


def test_an_interrupted_turn_keeps_its_own_speech(kit: TelemetryKit) -> None:
    """Where two turns overlap, each speech hangs below the turn it was spoken in."""
    call = started(kit)
    call.caller_started_speaking()
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    call.agent_started_speaking()
    kit.clock.advance(1)
    call.caller_started_speaking()
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    call.agent_stopped_speaking(interrupted=True)
    call.ended(EndReason.HANGUP)
    first, second = the_trace(kit).all("turn")
    assert [speech.attributes["voice.speaker"] for speech in first.children] == ["caller", "agent"]
    assert [speech.attributes["voice.speaker"] for speech in second.children] == ["caller"]
    assert first.attributes["voice.turn.interrupted"] is True
    assert first.attributes["voice.turn.end.reason"] == "interrupted"
    assert first.children[1].attributes["voice.turn.interrupted"] is True


def test_what_happened_within_is_noted_where_it_happened(kit: TelemetryKit) -> None:
    """Failed instructions are noted on their phase, transfers and the carrier's errors on the session."""
    call = kit.tracker.received("rtc_1", "acme")
    with call.phase(Phase.INSTRUCTIONS):
        call.instructions_failed("OperationalError")
    call.accepted()
    call.started()
    call.session_error("rate_limited")
    call.referred("front desk")
    call.ended(EndReason.REFERRED)
    root = the_trace(kit)
    assert root.one("instructions").events == ("instructions.failed",)
    assert root.one("session").events == ("session.error", "call.referred")


def test_a_turn_without_an_answer_says_how_long_the_caller_waited(kit: TelemetryKit) -> None:
    """From the moment the caller fell silent to the turn's end; none if it was answered, or spoken to its end."""
    call = started(kit)
    for silence in (4, 2):
        call.caller_started_speaking()
        kit.clock.advance(1)
        call.caller_stopped_speaking()
        kit.clock.advance(silence)
    call.agent_started_speaking()
    call.caller_started_speaking()
    kit.clock.advance(3)
    call.ended(EndReason.HANGUP)
    turns = the_trace(kit).all("turn")
    assert [turn.attributes.get("voice.turn.unanswered_s") for turn in turns] == [4.0, None, None]


def test_a_call_turned_away_says_why(kit: TelemetryKit) -> None:
    """A rejected call's trace has its reason and the limit that was hit, and only a failure marks it failed."""
    call = kit.tracker.received("rtc_1", "acme")
    call.rejected(RejectionReason.CAPACITY, limit=LimitHit(CapacityScope.TENANT, 10, 10))
    root = the_trace(kit)
    assert not root.failed
    assert root.attributes == {
        "tenant.id": "acme",
        "voice.call.id": "rtc_1",
        **ORIGIN,
        "voice.call.outcome": "rejected",
        "voice.call.rejection.reason": "capacity",
        "voice.call.setup.duration_s": 0.0,
        "voice.capacity.scope": "tenant",
        "voice.capacity.limit": 10,
        "voice.capacity.in_use": 10,
    }


def test_a_rejections_trace_shows_the_carrier_being_told(kit: TelemetryKit) -> None:
    """Counted at once, a rejection's trace stays open until the carrier has been told, and shows how that went."""
    call = kit.tracker.received("rtc_1", "acme")

    def tell_the_carrier() -> None:
        with call.phase(Phase.REJECT):
            call.rejected(RejectionReason.CAPACITY)
            assert kit.live()["rejected_calls_capacity"] == 1
            assert kit.spans() == []
            kit.clock.advance(2)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        tell_the_carrier()
    root = the_trace(kit)
    assert root.one("reject").failed
    assert root.seconds == 2
    assert root.attributes["voice.call.rejection.reason"] == "capacity"
    assert kit.traces.open_calls == 0


def test_a_failed_call_is_marked_with_all_that_was_under_way(kit: TelemetryKit) -> None:
    """A call that ends with an error takes its open phases, turns and tools with it, marked with the error."""
    call = started(kit)
    call.caller_started_speaking()
    with call.phase(Phase.TRANSFER), call.tool("lookup", "item_1"):
        call.ended(EndReason.ERROR, error_type="ConnectionClosed")
    root = the_trace(kit)
    failed = {span.name for span in root.walk() if span.failed}
    assert failed == {"call", "session", "transfer", "execute_tool lookup"}
    assert root.attributes["error.type"] == "ConnectionClosed"
    assert kit.traces.open_calls == 0


def test_an_abandoned_call_ends_its_trace(kit: TelemetryKit) -> None:
    """An abandoned call's trace says why it never started."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.abandoned(EndReason.ERROR, error_type="ConnectError")
    root = the_trace(kit)
    assert root.failed
    assert root.attributes["voice.call.end.reason"] == "error"


def test_a_trace_the_carrier_named_is_linked_never_a_parent(kit: TelemetryKit) -> None:
    """A valid `traceparent` becomes a link of a root span of our own."""
    kit.tracker.received("rtc_1", "acme", traceparent=TRACEPARENT).finish(EndReason.ERROR)
    root = the_trace(kit)
    assert root.links == ("0af7651916cd43dd8448eb211c80319c",)
    assert root.trace_id != root.links[0]


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "00",
        "garbage",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        TRACEPARENT + "\r\nevil: yes",
        "00-0AF7651916CD43DD8448EB211C80319G-b7ad6b7169203331-01",
        "x" * 10_000,
    ],
)
def test_a_malformed_trace_context_is_ignored(kit: TelemetryKit, traceparent: str | None) -> None:
    """What is not a valid `traceparent` links nothing and breaks nothing."""
    kit.tracker.received("rtc_1", "acme", traceparent=traceparent).finish(EndReason.ERROR)
    assert the_trace(kit).links == ()


def test_exemplars_lead_to_the_calls_trace(kit: TelemetryKit) -> None:
    """Every measurement a call ends with finds the call's trace still there, so its exemplar names it."""
    call = started(kit)
    kit.clock.advance(30)
    call.caller_started_speaking()
    call.caller_stopped_speaking()
    call.agent_started_speaking()
    call.ended(EndReason.HANGUP)
    root = the_trace(kit)
    examples = [example for found in kit.distributions().values() for example in found.examples.values()]
    assert len(kit.distributions()) == 4
    assert {example.trace_id for example in examples} == {root.trace_id}


def test_other_spans_join_the_call(kit: TelemetryKit) -> None:
    """What other instrumentations record inside a scope hangs below the innermost open span; outside, nowhere."""
    call = started(kit)
    tracer = kit.tracer_provider.get_tracer("someone.else")
    with kit.traces.scope(call.ref):
        tracer.start_span("inside").end()
    assert not trace.get_current_span().get_span_context().is_valid
    call.ended(EndReason.HANGUP)
    with kit.traces.scope(call.ref):
        assert not trace.get_current_span().get_span_context().is_valid
    assert [span.name for span in the_trace(kit).one("session").children] == ["inside"]


def test_an_open_calls_trace_can_be_asked_for(kit: TelemetryKit) -> None:
    """The trace's id is known while the call is open, and not afterwards."""
    call = started(kit)
    found = kit.traces.trace_id(call.call_id)
    call.ended(EndReason.HANGUP)
    assert found == the_trace(kit).trace_id
    assert kit.traces.trace_id(call.call_id) is None


def test_a_child_leaves_before_its_call_is_over(kit: TelemetryKit) -> None:
    """Turns and phases are exported as they end, not when the hour-long call does."""
    call = kit.tracker.received("rtc_1", "acme")
    with call.phase(Phase.ACCEPT):
        pass
    with pytest.raises(LookupError, match="'accept' is an orphan"):
        kit.spans()


def test_announcements_nobody_follows_up_are_bounded(kit: TelemetryKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of calls announced and never received, the oldest traces end, and those received since are spared."""
    monkeypatch.setattr(trace_sink, "MAX_ANNOUNCED", 3)
    sink = CallTraces(kit.tracer_provider.get_tracer("test"))
    tracker = CallTracker(FanOut([sink], strict=True), clock=kit.clock)
    for number in range(10):
        tracker.announced(f"rtc_{number}", at=kit.clock.now())
        if number == 0:
            tracker.received("rtc_0", "acme")
    assert sink.open_calls == 4
    assert len(kit.spans()) == 6
    assert sink.trace_id(CallId("rtc_0")) is not None


def test_threads_on_one_call_leave_one_whole_tree(kit: TelemetryKit) -> None:
    """Tools, phases and speech reported by many threads while the call ends leave no span open and none orphaned."""

    def busy(number: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(40):
                call = kit.tracker.received(f"rtc_{turn}", "acme")
                call.accepted()
                call.started()
                with call.tool("lookup", f"item_{number}"), call.phase(Phase.TRANSFER):
                    call.caller_started_speaking()
                    call.agent_started_speaking()
                    call.agent_stopped_speaking(interrupted=True)
                call.ended(EndReason.HANGUP)

        return run

    together(*(busy(number) for number in range(4)))
    assert len(kit.spans()) == 40
    assert kit.traces.open_calls == 0


def test_what_a_tool_asked_for_hangs_below_that_tool(kit: TelemetryKit) -> None:
    """Two tools run; the transfer stands under the one that asked, a hang-up that none asked for under the session."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.runs_on("gpt-realtime-2.1")
    call.started()
    with call.tool("transfer_call", "call_1"):
        aside = call.tool("current_time", "call_2")
        begin = copy_context()
        begin.run(aside.__enter__)
        with call.phase(Phase.TRANSFER, "desk"):
            kit.clock.advance(0.2)
        begin.run(aside.__exit__, None, None, None)
    with call.phase(Phase.HANGUP):
        kit.clock.advance(0.1)
    call.ended(EndReason.COMPLETED)
    (root,) = kit.spans()
    session = root.one("session")
    assert [span.name for span in root.one("execute_tool transfer_call").children] == ["transfer"]
    assert root.one("execute_tool current_time").children == ()
    assert "hangup" in [span.name for span in session.children]
    names = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
    assert [session.attributes[name] for name in names] == ["chat", "openai", "gpt-realtime-2.1"]


def test_each_try_to_attach_is_a_span(kit: TelemetryKit) -> None:
    """Under the phase it is a try of, with the carrier's status and the number of tries before it."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    with call.phase(Phase.CONNECT):
        for resends in range(2):
            with suppress(CarrierLikeError), call.attach_try(resends):
                raise CarrierLikeError
        with call.attach_try(2):
            kit.clock.advance(0.1)
    call.started()
    call.passed(Phase.ATTACH, kit.clock.now(), error_type="timeout", resends=1)
    call.ended(EndReason.HANGUP)
    (root,) = kit.spans()
    tries = root.one("connect").children
    assert [span.name for span in tries] == ["attach"] * 3
    assert [span.attributes.get("http.request.resend_count") for span in tries] == [None, 1, 2]
    assert [span.attributes.get("http.response.status_code") for span in tries] == [404, 404, None]
    assert [span.failed for span in tries] == [True, True, False]
    assert [span.attributes["error.type"] for span in root.one("session").all("attach")] == ["timeout"]


class CarrierLikeError(TypedError):
    error_type = "404"


def test_scopes_have_the_distributions_version(kit: TelemetryKit) -> None:
    """Spans and instruments say which version made them."""
    kit.tracker.received("rtc_1", "acme").rejected(RejectionReason.CAPACITY)
    (span,) = kit._finished.get_finished_spans()
    scope = span.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("callscope", version("callscope"))
    kit.numbers()
    scopes = {stream.descriptor.scope for stream in kit.store.series._streams.values()}
    assert {found.version for found in scopes if found.name == "callscope"} == {version("callscope")}
