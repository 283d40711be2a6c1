"""Every kind of script, followed by the official SDK's client."""

import asyncio
from typing import Any

import pytest

from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    AgentUsesTool,
    CallerHangsUp,
    CallerPressesKey,
    CallerSpeaks,
    CallerStaysSilent,
    CallScript,
    LineGoesDead,
    Pause,
    ResponseFails,
    ScriptedUsage,
    SessionExpires,
    SessionWarns,
    SidebandCloses,
)
from tests.service.simulator.harness import FALLBACK, SimulatorHarness

GREETING = AgentGreets(AgentSpeaks("Hello, how can I help?"))


def _types(harness: SimulatorHarness) -> list[str]:
    return [event["type"] for event in harness.gateway.events]


def _first(harness: SimulatorHarness, kind: str) -> dict[str, Any]:
    return next(event for event in harness.gateway.events if event["type"] == kind)


async def test_a_conversation_is_counted_alike_at_both_ends(harness: SimulatorHarness) -> None:
    """A greeting and one turn give both ends the same calls, turns and tokens."""
    usage = ScriptedUsage(input_text=10, input_audio=20, cached_text=5, output_text=7, output_audio=30)
    report = await harness.call(CallScript("plain", (GREETING, CallerSpeaks("Hi"), AgentSpeaks("Hello", usage=usage))))
    await harness.gateway.settled()
    seen, totals = harness.gateway.seen, harness.totals
    assert (seen["accepted"], seen["started"], seen["ended"]) == (1, 1, 1)
    assert (totals["accepted_calls"], totals["started_calls"], totals["ended_calls"]) == (1, 1, 1)
    assert seen["tokens_input"] == totals["tokens_input"] == 160 + 30
    assert seen["tokens_output"] == totals["tokens_output"] == 120 + 37
    assert totals["tokens_cached"] == 64 + 5
    assert totals["turns"] == seen["input_audio_buffer.speech_stopped"] == 1
    assert len(report.turn_seconds) == 1
    assert report.first_audio_seconds is not None


async def test_a_spoken_turn_has_the_carriers_order(harness: SimulatorHarness) -> None:
    """The events of one turn come in the order the carrier is known for: playback stops after ``response.done``."""
    harness.gateway.greets = False
    await harness.call(CallScript("turn", (CallerSpeaks("Hi"), AgentSpeaks("Hello"), Pause(0.1))))
    await harness.gateway.settled()
    assert _types(harness) == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "output_audio_buffer.started",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
        "output_audio_buffer.stopped",
    ]


async def test_events_have_the_published_shape(harness: SimulatorHarness) -> None:
    """The session repeats what was accepted, usage adds up, and every event but a key has an id of its own."""
    await harness.call(CallScript("shape", (CallerPressesKey("7"), GREETING, Pause(0.1))))
    await harness.gateway.settled()
    session = _first(harness, "session.created")["session"]
    assert (session["model"], session["instructions"]) == ("gpt-realtime-2.1", "You are a test.")
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    usage = _first(harness, "response.done")["response"]["usage"]
    assert usage["input_tokens"] == 160
    assert usage["input_token_details"]["cached_tokens"] == 64
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    key = _first(harness, "input_audio_buffer.dtmf_event_received")
    assert (key["event"], "event_id" in key) == ("7", False)
    ids = [event["event_id"] for event in harness.gateway.events if event is not key]
    assert len(set(ids)) == len(ids)


async def test_a_caller_who_hangs_up_just_vanishes(harness: SimulatorHarness) -> None:
    """The SDK sees a connection that ends without a close frame, and the truth a call that ended and did not fail."""
    report = await harness.call(CallScript("vanishes", (GREETING,), CallerHangsUp()))
    await harness.gateway.settled()
    assert harness.gateway.closes[0].rcvd is None
    assert (report.end, report.failed) == ("caller_hung_up", False)


async def test_an_agent_who_ends_the_call_is_obeyed(harness: SimulatorHarness) -> None:
    """The model asks for the end, the gateway for the hang-up, and the sideband closes in good order."""
    report = await harness.call(CallScript("ends", (GREETING,), AgentHangsUp()))
    await harness.gateway.settled()
    close = harness.gateway.closes[0].rcvd
    assert close is not None
    assert close.code == 1000
    assert (report.end, report.failed) == ("agent_hung_up", False)


async def test_a_transfer_is_referred_and_over(harness: SimulatorHarness) -> None:
    """The model asks for a destination by name, the gateway refers, and the caller leaves this session."""
    report = await harness.call(CallScript("moves", (GREETING,), AgentTransfers("sales")))
    await harness.gateway.settled()
    assert (report.end, report.referred) == ("referred", True)
    assert harness.totals["referred_calls"] == harness.gateway.seen["referred"] == 1


async def test_a_caller_is_told_when_a_transfer_is_not_possible(harness: SimulatorHarness) -> None:
    """Where the gateway answers the model instead of referring, the agent says so before the caller hangs up."""
    harness.gateway.refuses_transfers = True
    report = await harness.call(CallScript("stays", (GREETING,), AgentTransfers("sales")))
    await harness.gateway.settled()
    assert (report.end, report.referred) == ("caller_hung_up", False)
    said = [event["transcript"] for event in harness.gateway.events if event["type"].endswith("transcript.done")]
    assert said[-1] == "I am sorry, that is not possible right now."


async def test_a_caller_who_talks_over_the_answer_clears_it(harness: SimulatorHarness) -> None:
    """An answer cut off while it is generated is cancelled; one cut off later is completed and its playback cleared."""
    early = AgentSpeaks("Long answer", generate_seconds=2.0, speak_seconds=4.0, cut_after=0.5)
    late = AgentSpeaks("Long answer", generate_seconds=0.5, speak_seconds=4.0, cut_after=1.5)
    talk = (CallerSpeaks("A"), early, CallerSpeaks("B"), late, CallerSpeaks("C"), AgentSpeaks("End"))
    harness.gateway.greets = False
    await harness.call(CallScript("interrupted", talk))
    await harness.gateway.settled()
    seen = harness.gateway.seen
    assert seen["output_audio_buffer.cleared"] == seen["conversation.item.truncated"] == 2
    assert harness.totals["interruptions"] == 2
    done = [event["response"] for event in harness.gateway.events if event["type"] == "response.done"]
    assert [response["status"] for response in done] == ["cancelled", "completed", "completed"]
    assert done[0]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    order = _types(harness)
    at = order.index("output_audio_buffer.cleared")
    assert order[at - 1] == "input_audio_buffer.speech_started"
    assert order[at + 1 : at + 3] == ["conversation.item.truncated", "response.done"]


async def test_a_tools_answer_brings_the_next_response(harness: SimulatorHarness) -> None:
    """After a function call nothing more is said until the gateway gives its output and asks to go on."""
    tool = AgentUsesTool("look_up_order", '{"order": "1"}')
    harness.gateway.greets = False
    report = await harness.call(CallScript("tool", (CallerSpeaks("Order?"), tool, AgentSpeaks("Sent"), Pause(0.1))))
    await harness.gateway.settled()
    assert report.counts["tool_calls"] == harness.gateway.seen["tools"] == 1
    order = _types(harness)
    calls = [number for number, kind in enumerate(order) if kind == "response.created"]
    given = [number for number, kind in enumerate(order) if kind == "conversation.item.added"][-2]
    assert calls[0] < order.index("response.function_call_arguments.done") < given < calls[1]
    assert len(report.turn_seconds) == 1


@pytest.mark.parametrize("caller_timeout", [0.3])
async def test_a_gateway_that_answers_no_tool_loses_the_caller(harness: SimulatorHarness) -> None:
    """When a tool's output does not come, the caller runs out of patience and hangs up."""
    harness.gateway.uses_tools = False
    report = await harness.call(CallScript("waits", (GREETING, AgentUsesTool("anything"), AgentSpeaks("Never"))))
    assert report.end == "caller_hung_up"
    assert report.counts["tokens_output"] == 120 + 25


async def test_silence_is_reported(harness: SimulatorHarness) -> None:
    """A caller who says nothing brings the carrier's idle event, and no turn."""
    await harness.call(CallScript("silent", (GREETING, CallerStaysSilent(), AgentSpeaks("Hello?"))))
    await harness.gateway.settled()
    silence = _first(harness, "input_audio_buffer.timeout_triggered")
    assert silence["audio_end_ms"] > silence["audio_start_ms"]
    assert (harness.totals["silences"], harness.totals["turns"]) == (1, 0)


async def test_errors_that_end_nothing_end_nothing(harness: SimulatorHarness) -> None:
    """A warning and a failed response leave the session alive, and are no failure of the call."""
    script = CallScript("bumpy", (GREETING, SessionWarns("invalid_value"), ResponseFails("server_error"), Pause(0.1)))
    report = await harness.call(script)
    await harness.gateway.settled()
    assert _first(harness, "error")["error"]["code"] == "invalid_value"
    failed = [event for event in harness.gateway.events if event["type"] == "response.done"][-1]["response"]
    assert (failed["status"], failed["status_details"]["error"]["code"]) == ("failed", "server_error")
    assert (report.counts["session_errors"], report.counts["responses_failed"], report.failed) == (1, 1, False)


async def test_an_expired_session_is_a_failed_call(harness: SimulatorHarness) -> None:
    """The error event comes last, the close in good order, and the call counts as failed."""
    report = await harness.call(CallScript("expires", (GREETING,), SessionExpires()))
    await harness.gateway.settled()
    assert harness.gateway.events[-1]["error"]["code"] == "session_expired"
    assert (report.end, report.failed, harness.totals["failed_calls"]) == ("expired", True, 1)
    close = harness.gateway.closes[0].rcvd
    assert close is not None
    assert close.code == 1000


@pytest.mark.parametrize(("code", "failed"), [(1011, True), (1001, False)])
async def test_the_close_code_tells_a_crash(harness: SimulatorHarness, code: int, *, failed: bool) -> None:
    """A sideband closed with an error code is a failed call; one closed in good order is not."""
    report = await harness.call(CallScript("closes", (GREETING,), SidebandCloses(code)))
    await harness.gateway.settled()
    close = harness.gateway.closes[0].rcvd
    assert close is not None
    assert close.code == code
    assert (report.failed, harness.totals["failed_calls"]) == (failed, int(failed))


async def test_a_dead_line_is_over_when_somebody_hangs_up(harness: SimulatorHarness) -> None:
    """A line that went dead stays open and silent until the carrier's owner or the gateway ends it."""
    placed = asyncio.create_task(harness.call(CallScript("dead", (GREETING,), LineGoesDead())))
    await harness.until(lambda: harness.gateway.seen["output_audio_buffer.stopped"] == 1)
    harness.carrier.hang_up_all()
    report = await placed
    assert (report.end, report.failed) == ("stopped", False)


async def test_transcription_is_spoken_of_where_it_is_switched_on(harness: SimulatorHarness) -> None:
    """A gateway that asks for transcription gets the caller's words, whose tokens are counted apart."""
    harness.gateway.audio = {"input": {"transcription": {"model": "gpt-transcribe"}}}
    await harness.call(CallScript("transcribed", (CallerSpeaks("Hello there", 2.0), AgentSpeaks("Hi"))))
    await harness.gateway.settled()
    done = _first(harness, "conversation.item.input_audio_transcription.completed")
    assert done["transcript"] == "Hello there"
    assert harness.totals["tokens_transcription"] == done["usage"]["total_tokens"] == 22


async def test_known_general_instructions_are_counted_as_a_fallback(harness: SimulatorHarness) -> None:
    """An accept with the gateway's general instructions counts as their use; one with others does not."""
    await harness.call(CallScript("own"))
    assert harness.totals["fallback_instructions_used"] == 0
    harness.gateway.instructions = FALLBACK
    await harness.call(CallScript("general"))
    assert harness.totals["fallback_instructions_used"] == 1


async def test_calls_count_under_the_tenant_that_was_dialled(harness: SimulatorHarness) -> None:
    """The dialled number tells the tenant; a number of nobody counts under ``_unknown``."""
    await harness.call(CallScript("acme"))
    await harness.call(CallScript("globex"), number="+18005550001")
    await harness.call(CallScript("nobody"), number="+12125550000")
    tenants = harness.carrier.counts()["tenants"]
    assert {tenant: row["started_calls"] for tenant, row in tenants.items()} == {
        "_unknown": 1,
        "acme": 1,
        "globex": 1,
        "initech": 0,
    }
