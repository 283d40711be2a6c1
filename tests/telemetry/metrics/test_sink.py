"""What each event is counted as, by how much and under which attributes."""

from collections.abc import Callable

import pytest

from telemetry.calls.call import Call
from telemetry.calls.events import Event, TokenUsage
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.calls.sinks import FanOut
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.sink import SYNCHRONOUS, MetricsSink
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import (
    CallDirection,
    EndReason,
    Fault,
    MessageProblem,
    RejectionReason,
    Stage,
    UnansweredReason,
    WebhookOutcome,
)
from telemetry.semconv.genai import GenAiSets
from telemetry.semconv.instrument import Kind
from telemetry.testing import ORIGIN, Labels, TelemetryKit, Value, labels

ACME = labels({"tenant.id": "acme"})


def of_acme(further: dict[str, str]) -> Labels:
    return labels({"tenant.id": "acme", **further})


@pytest.fixture
def call(kit: TelemetryKit) -> Call:
    return kit.tracker.received("rtc_1", "acme")


def changed(kit: TelemetryKit, report: Callable[[], object]) -> dict[str, dict[Labels, Value]]:
    """The series that the report made or changed."""
    before = kit.metrics()
    report()
    after = kit.metrics()
    fresh = {
        name: {key: value for key, value in series.items() if before.get(name, {}).get(key) != value}
        for name, series in after.items()
    }
    return {name: series for name, series in fresh.items() if series}


def started(call: Call) -> Call:
    call.accepted()
    call.started()
    return call


def test_received(kit: TelemetryKit) -> None:
    """A received call counts, and holds a pending slot."""
    assert changed(kit, lambda: kit.tracker.received("rtc_1", "acme")) == {
        "voice.call.received": {of_acme(ORIGIN): 1},
        "voice.call.pending": {ACME: 1},
    }


def test_accepted(kit: TelemetryKit, call: Call) -> None:
    """An accepted call counts with its setup time, and still holds its slot."""
    kit.clock.advance(0.5)
    assert changed(kit, call.accepted) == {
        "voice.call.accepted": {ACME: 1},
        "voice.call.setup.duration": {of_acme({"voice.call.outcome": "accepted"}): (1, 0.5)},
    }


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_rejected(kit: TelemetryKit, call: Call, reason: RejectionReason) -> None:
    """A rejected call counts by reason with its setup time, and gives its slot back."""
    kit.clock.advance(0.5)
    assert changed(kit, lambda: call.rejected(reason)) == {
        "voice.call.rejected": {of_acme(ORIGIN | {"voice.call.rejection.reason": reason.value}): 1},
        "voice.call.pending": {ACME: 0},
        "voice.call.setup.duration": {of_acme({"voice.call.outcome": "rejected"}): (1, 0.5)},
    }


def test_started(kit: TelemetryKit, call: Call) -> None:
    """A started call turns from pending to active."""
    call.accepted()
    assert changed(kit, call.started) == {
        "voice.call.started": {ACME: 1},
        "voice.call.active": {ACME: 1},
        "voice.call.pending": {ACME: 0},
    }


def test_abandoned(kit: TelemetryKit, call: Call) -> None:
    """An abandoned call counts by reason, and gives its slot back."""
    call.accepted()
    assert changed(kit, lambda: call.abandoned(EndReason.HANGUP)) == {
        "voice.call.abandoned": {of_acme({"voice.call.end.reason": "hangup"}): 1},
        "voice.call.pending": {ACME: 0},
    }


def test_referred(kit: TelemetryKit, call: Call) -> None:
    """A referred call counts, and runs on."""
    started(call)
    assert changed(kit, call.referred) == {"voice.call.referred": {ACME: 1}}


def test_ended(kit: TelemetryKit, call: Call) -> None:
    """An ended call counts by reason, with its time and its duration, and gives its slot back."""
    started(call)
    kit.clock.advance(5)
    assert changed(kit, call.heartbeat) == {"voice.call.time": {ACME: 5.0}}
    kit.clock.advance(2)
    assert changed(kit, lambda: call.ended(EndReason.COMPLETED)) == {
        "voice.call.ended": {of_acme(ORIGIN | {"voice.call.end.reason": "completed"}): 1},
        "voice.call.active": {ACME: 0},
        "voice.call.time": {ACME: 7.0},
        "voice.call.duration": {of_acme(ORIGIN | {"voice.call.end.reason": "completed"}): (1, 7.0)},
    }


def test_failed(kit: TelemetryKit, call: Call) -> None:
    """A failed call's end has the kind of failure beside its reason."""
    started(call)
    call.ended(EndReason.ERROR, error_type="TimeoutError", fault=Fault.CARRIER)
    failure = {"voice.call.end.reason": "error", "error.type": "TimeoutError", "voice.call.fault": "carrier"}
    assert kit.metrics()["voice.call.ended"] == {of_acme(ORIGIN | failure): 1}


@pytest.mark.parametrize("reason", list(UnansweredReason))
def test_unanswered(kit: TelemetryKit, call: Call, reason: UnansweredReason) -> None:
    """An unanswered call counts by reason and gives its slot back; nobody set it up."""
    kit.clock.advance(0.5)
    assert changed(kit, lambda: call.unanswered(reason)) == {
        "voice.call.unanswered": {of_acme(ORIGIN | {"voice.call.unanswered.reason": reason.value}): 1},
        "voice.call.pending": {ACME: 0},
    }


def test_unusable_messages_count_by_problem(kit: TelemetryKit, call: Call) -> None:
    """Each message counts under what was wrong with it; nothing else changes."""
    assert changed(kit, lambda: call.unusable_message(MessageProblem.SHAPE)) == {
        "callscope.session.unusable_messages": {of_acme({"voice.session.message.problem": "shape"}): 1}
    }


def test_handed_over_while_it_runs(kit: TelemetryKit, call: Call) -> None:
    """A running call left to another process counts by its state with its time to now, and as no end."""
    started(call)
    kit.clock.advance(3)
    assert changed(kit, call.handed_over) == {
        "voice.call.handed_over": {of_acme({"voice.call.state": "started"}): 1},
        "voice.call.active": {ACME: 0},
        "voice.call.time": {ACME: 3.0},
    }


def test_handed_over_before_its_start(kit: TelemetryKit, call: Call) -> None:
    """A call that had not started gives its pending slot back."""
    found = changed(kit, call.handed_over)
    assert found.pop("voice.call.time") == {ACME: 0.0}
    assert found == {
        "voice.call.handed_over": {of_acme({"voice.call.state": "pending"}): 1},
        "voice.call.pending": {ACME: 0},
    }


def test_taken_over(kit: TelemetryKit) -> None:
    """A call taken over while it ran counts whole, and apart; its set-up was another process's."""
    assert changed(kit, lambda: kit.tracker.taken_over("rtc_1", "acme", CallState.STARTED)) == {
        "voice.call.taken_over": {of_acme({"voice.call.state": "started"}): 1},
        "voice.call.received": {of_acme(ORIGIN): 1},
        "voice.call.accepted": {ACME: 1},
        "voice.call.started": {ACME: 1},
        "voice.call.active": {ACME: 1},
        "voice.call.pending": {ACME: 0},
    }


def test_a_failed_call_names_its_model_and_no_other_does(kit: TelemetryKit) -> None:
    """The model stands on the end of a failed call alone; models past the budget count together."""
    for number in range(catalogue.MAX_MODELS + 3):
        failed = kit.tracker.received(f"failed_{number}", "acme")
        failed.runs_on(f"model-{number}")
        failed.accepted()
        failed.started()
        failed.ended(EndReason.ERROR, error_type="server_error", fault=Fault.MODEL)
    well = kit.tracker.received("well", "acme")
    well.runs_on("model-0")
    well.accepted()
    well.started()
    well.ended(EndReason.HANGUP)
    ended = [dict(key) for key in kit.metrics()["voice.call.ended"]]
    models = {key["gen_ai.request.model"] for key in ended if "error.type" in key}
    assert len(models) == catalogue.MAX_MODELS + 1
    assert "_other" in models
    assert ["gen_ai.request.model" in key for key in ended if "error.type" not in key] == [False]


def test_direction_and_source_stand_on_a_calls_beginning_and_end(kit: TelemetryKit) -> None:
    """An outbound call of a named source counts under both; sources past the budget count together."""
    kit.tracker.received("rtc_1", "acme", direction=CallDirection.OUTBOUND, source="twilio")
    outbound = {"voice.call.direction": "outbound", "voice.call.source": "twilio"}
    assert kit.metrics()["voice.call.received"] == {of_acme(outbound): 1}
    for number in range(catalogue.MAX_SOURCES + 5):
        kit.tracker.received(f"more_{number}", "acme", source=f"source-{number}")
    sources = {dict(key)["voice.call.source"] for key in kit.metrics()["voice.call.received"]}
    assert len(sources) == catalogue.MAX_SOURCES + 1
    assert "_other" in sources


def test_instructions(kit: TelemetryKit, call: Call) -> None:
    """Instructions that cannot be read, and the fallback that stands in, count each."""
    assert changed(kit, lambda: call.instructions_failed("OperationalError")) == {
        "voice.instructions.errors": {ACME: 1}
    }
    assert changed(kit, call.fallback_used) == {"voice.instructions.fallbacks": {ACME: 1}}


def test_audio_and_interruptions(kit: TelemetryKit, call: Call) -> None:
    """The first audio is timed from the call's announcement, an answer's from the caller's last word."""
    kit.clock.advance(2)
    assert changed(kit, call.agent_started_speaking) == {"voice.call.time_to_first_audio": {ACME: (1, 2.0)}}
    assert changed(kit, lambda: call.agent_stopped_speaking(interrupted=True)) == {
        "voice.turn.interruptions": {of_acme({"voice.speaker": "caller"}): 1}
    }
    call.caller_started_speaking()
    call.caller_stopped_speaking()
    kit.clock.advance(0.75)
    assert changed(kit, call.agent_started_speaking) == {"voice.turn.time_to_first_audio": {ACME: (1, 0.75)}}


def test_tokens(kit: TelemetryKit, call: Call) -> None:
    """Tokens count by direction under the conventions' attributes; an unknown count is not taken for zero."""
    conventional = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-realtime",
    }
    assert changed(kit, lambda: call.tokens_used(TokenUsage(input=120, output=30), "gpt-realtime")) == {
        "gen_ai.client.token.usage": {
            of_acme(conventional | {"gen_ai.token.type": "input"}): (1, 120),
            of_acme(conventional | {"gen_ai.token.type": "output"}): (1, 30),
        }
    }
    assert changed(kit, lambda: call.tokens_used(TokenUsage(), "gpt-realtime")) == {}


def test_token_names_of_the_first_release_split_by_modality() -> None:
    """The newer names count by modality and measure each operation; what has no known modality counts without one."""
    named = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-realtime"}
    with TelemetryKit(genai_sets=GenAiSets.V0_1) as kit:
        call = kit.tracker.received("rtc_1", "acme")
        usage = TokenUsage(input=120, output=30, cached_input=64, input_text=20, input_audio=90, output_audio=30)
        inference = "gen_ai.client.inference"
        assert changed(kit, lambda: call.tokens_used(usage, "gpt-realtime")) == {
            f"{inference}.usage.input_tokens": {
                of_acme(named | {"gen_ai.token.modality": "text"}): 20,
                of_acme(named | {"gen_ai.token.modality": "audio"}): 90,
                of_acme(named): 10,
            },
            f"{inference}.usage.output_tokens": {of_acme(named | {"gen_ai.token.modality": "audio"}): 30},
            f"{inference}.usage.cache_read.input_tokens": {of_acme(named): 64},
            f"{inference}.operation.input_tokens": {of_acme(named): (1, 120)},
            f"{inference}.operation.output_tokens": {of_acme(named): (1, 30)},
        }


def test_tools(kit: TelemetryKit, call: Call) -> None:
    """A tool's time counts under its name, and under the kind of failure if it raised."""
    named = {"gen_ai.tool.name": "lookup", "gen_ai.tool.type": "function"}

    def use() -> None:
        with call.tool("lookup", "item_1"):
            kit.clock.advance(0.5)

    def fail() -> None:
        with pytest.raises(TimeoutError), call.tool("lookup", "item_2"):
            raise TimeoutError

    assert changed(kit, use) == {"gen_ai.execute_tool.duration": {of_acme(named): (1, 0.5)}}
    assert changed(kit, fail) == {
        "gen_ai.execute_tool.duration": {of_acme(named | {"error.type": "TimeoutError"}): (1, 0.0)}
    }


@pytest.mark.parametrize("outcome", list(WebhookOutcome))
def test_webhooks(kit: TelemetryKit, outcome: WebhookOutcome) -> None:
    """A delivery counts by what became of it, without a tenant."""
    kit.tracker.webhook(outcome)
    assert kit.metrics() == {"voice.webhook.received": {labels({"voice.webhook.outcome": outcome.value}): 1}}


def test_violations(kit: TelemetryKit, call: Call) -> None:
    """What the lifecycle does not allow counts by kind."""
    assert changed(kit, call.started) == {
        "voice.lifecycle.violations": {of_acme({"voice.lifecycle.violation": "out_of_order"}): 1}
    }


def test_every_measurement_carries_only_what_the_catalogue_declares() -> None:
    """Of all that a full call records, no series has an attribute that its instrument does not declare."""
    with TelemetryKit(genai_sets=GenAiSets.V1_41 | GenAiSets.V0_1) as kit:
        _record_everything(kit, kit.tracker.received("rtc_1", "acme"))
        recorded = kit.metrics()
    declared = {instrument.name: instrument for instrument in catalogue.INSTRUMENTS}
    for name, series in recorded.items():
        assert all({key for key, _ in attributes} <= set(declared[name].attributes) for attributes in series), name
    assert {i.name for i in catalogue.INSTRUMENTS if i.kind in SYNCHRONOUS} <= set(recorded)


def _record_everything(kit: TelemetryKit, call: Call) -> None:
    call.instructions_failed("OperationalError")
    call.fallback_used()
    started(call)
    call.unusable_message(MessageProblem.NUMBER)
    call.agent_started_speaking()
    call.agent_stopped_speaking(interrupted=True)
    call.caller_started_speaking()
    call.caller_stopped_speaking()
    call.agent_started_speaking()
    call.caller_started_speaking()
    call.agent_stopped_speaking()
    call.caller_stopped_speaking()
    kit.clock.advance(5)
    call.stage_waited(Stage.TOOL, 1.0)
    call.tokens_used(TokenUsage(1, 1, 1), "gpt-realtime")
    with pytest.raises(TimeoutError), call.tool("lookup", "item_1"):
        raise TimeoutError
    call.heartbeat()
    call.referred()
    call.ended(EndReason.ERROR)
    call.ended(EndReason.ERROR)
    kit.tracker.received("rtc_2", "acme").rejected(RejectionReason.CAPACITY)
    abandoned = kit.tracker.received("rtc_3", "acme")
    abandoned.accepted()
    abandoned.abandoned(EndReason.HANGUP)
    call.inferred(Transition.ACCEPTED, kit.clock.now())
    kit.tracker.received("rtc_4", "acme").unanswered(UnansweredReason.CANCELED)
    kit.tracker.taken_over("rtc_5", "acme", CallState.STARTED).handed_over()
    kit.tracker.webhook(WebhookOutcome.ACCEPTED)


def test_histograms_have_the_catalogues_boundaries(kit: TelemetryKit, call: Call) -> None:
    """Bucket boundaries come from the catalogue, not from the SDK."""
    call.accepted()
    assert kit.distributions()["voice.call.setup.duration"].bounds == catalogue.WAIT_BOUNDARIES
    assert all(i.boundaries for i in catalogue.INSTRUMENTS if i.kind is Kind.HISTOGRAM)


def test_an_event_that_nothing_counts_passes_by(kit: TelemetryKit) -> None:
    """Events without a measurement record nothing and do not unsettle the live view."""
    barrier = RecordingBarrier()
    sink = MetricsSink(kit.meter, labels=kit.tenant_labels, barrier=barrier)
    FanOut([sink], strict=True).emit(Event(Instant(0, 0)))
    assert barrier.settled


def test_without_traces_measurements_are_made_all_the_same(kit: TelemetryKit) -> None:
    """A sink that knows no traces counts as ever."""
    tracker = CallTracker(FanOut([MetricsSink(kit.meter, labels=kit.tenant_labels, barrier=kit.barrier)], strict=True))
    tracker.received("rtc_1", "acme")
    assert kit.metrics()["voice.call.received"] == {of_acme(ORIGIN): 1}
