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
    SessionExpires,
    SessionWarns,
    SidebandCloses,
    TokenUsage,
)
from tests.service.simulator.stand import FALLBACK, Stand

GREETING = AgentGreets(AgentSpeaks("Hello, how can I help?"))


def _types(stand: Stand) -> list[str]:
    return [event["type"] for event in stand.gateway.events]


def _first(stand: Stand, kind: str) -> dict[str, Any]:
    return next(event for event in stand.gateway.events if event["type"] == kind)


async def test_a_conversation_is_counted_alike_at_both_ends(stand: Stand) -> None:
    """A greeting and one turn give both ends the same calls, turns and tokens."""
    usage = TokenUsage(input_text=10, input_audio=20, cached_text=5, output_text=7, output_audio=30)
    report = await stand.call(CallScript("plain", (GREETING, CallerSpeaks("Hi"), AgentSpeaks("Hello", usage=usage))))
    await stand.gateway.settled()
    seen, totals = stand.gateway.seen, stand.totals
    assert (seen["accepted"], seen["started"], seen["ended"]) == (1, 1, 1)
    assert (totals["accepted_calls"], totals["started_calls"], totals["ended_calls"]) == (1, 1, 1)
    assert seen["tokens_input"] == totals["tokens_input"] == 160 + 30
    assert seen["tokens_output"] == totals["tokens_output"] == 120 + 37
    assert totals["tokens_cached"] == 64 + 5
    assert totals["turns"] == seen["input_audio_buffer.speech_stopped"] == 1
    assert len(report.turn_seconds) == 1
    assert report.first_audio_seconds is not None


async def test_a_spoken_turn_has_the_carriers_order(stand: Stand) -> None:
    """The events of one turn come in the order the carrier is known for: playback stops after ``response.done``."""
    stand.gateway.greets = False
    await stand.call(CallScript("turn", (CallerSpeaks("Hi"), AgentSpeaks("Hello"), Pause(0.1))))
    await stand.gateway.settled()
    assert _types(stand) == [
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


async def test_events_have_the_published_shape(stand: Stand) -> None:
    """The session repeats what was accepted, usage adds up, and every event but a key has an id of its own."""
    await stand.call(CallScript("shape", (CallerPressesKey("7"), GREETING, Pause(0.1))))
    await stand.gateway.settled()
    session = _first(stand, "session.created")["session"]
    assert (session["model"], session["instructions"]) == ("gpt-realtime-2.1", "You are a test.")
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    usage = _first(stand, "response.done")["response"]["usage"]
    assert usage["input_tokens"] == 160
    assert usage["input_token_details"]["cached_tokens"] == 64
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    key = _first(stand, "input_audio_buffer.dtmf_event_received")
    assert (key["event"], "event_id" in key) == ("7", False)
    ids = [event["event_id"] for event in stand.gateway.events if event is not key]
    assert len(set(ids)) == len(ids)


async def test_a_caller_who_hangs_up_just_vanishes(stand: Stand) -> None:
    """The SDK sees a connection that ends without a close frame, and the truth a call that ended and did not fail."""
    report = await stand.call(CallScript("vanishes", (GREETING,), CallerHangsUp()))
    await stand.gateway.settled()
    assert stand.gateway.closes[0].rcvd is None
    assert (report.end, report.failed) == ("caller_hung_up", False)


async def test_an_agent_who_ends_the_call_is_obeyed(stand: Stand) -> None:
    """The model asks for the end, the gateway for the hang-up, and the sideband closes in good order."""
    report = await stand.call(CallScript("ends", (GREETING,), AgentHangsUp()))
    await stand.gateway.settled()
    close = stand.gateway.closes[0].rcvd
    assert close is not None
    assert close.code == 1000
    assert (report.end, report.failed) == ("agent_hung_up", False)


async def test_a_transfer_is_referred_and_over(stand: Stand) -> None:
    """The model asks for a destination by name, the gateway refers, and the caller leaves this session."""
    report = await stand.call(CallScript("moves", (GREETING,), AgentTransfers("sales")))
    await stand.gateway.settled()
    assert (report.end, report.referred) == ("referred", True)
    assert stand.totals["referred_calls"] == stand.gateway.seen["referred"] == 1


async def test_a_caller_is_told_when_a_transfer_is_not_possible(stand: Stand) -> None:
    """Where the gateway answers the model instead of referring, the agent says so before the caller hangs up."""
    stand.gateway.refuses_transfers = True
    report = await stand.call(CallScript("stays", (GREETING,), AgentTransfers("sales")))
    await stand.gateway.settled()
    assert (report.end, report.referred) == ("caller_hung_up", False)
    said = [event["transcript"] for event in stand.gateway.events if event["type"].endswith("transcript.done")]
    assert said[-1] == "I am sorry, that is not possible right now."


async def test_a_caller_who_talks_over_the_answer_clears_it(stand: Stand) -> None:
    """An answer cut off while it is generated is cancelled; one cut off later is completed and its playback cleared."""
    early = AgentSpeaks("Long answer", generate_seconds=2.0, speak_seconds=4.0, cut_after=0.5)
    late = AgentSpeaks("Long answer", generate_seconds=0.5, speak_seconds=4.0, cut_after=1.5)
    talk = (CallerSpeaks("A"), early, CallerSpeaks("B"), late, CallerSpeaks("C"), AgentSpeaks("End"))
    stand.gateway.greets = False
    await stand.call(CallScript("interrupted", talk))
    await stand.gateway.settled()
    seen = stand.gateway.seen
    assert seen["output_audio_buffer.cleared"] == seen["conversation.item.truncated"] == 2
    assert stand.totals["interruptions"] == 2
    done = [event["response"] for event in stand.gateway.events if event["type"] == "response.done"]
    assert [response["status"] for response in done] == ["cancelled", "completed", "completed"]
    assert done[0]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    order = _types(stand)
    at = order.index("output_audio_buffer.cleared")
    assert order[at - 1] == "input_audio_buffer.speech_started"
    assert order[at + 1 : at + 3] == ["conversation.item.truncated", "response.done"]


async def test_a_tools_answer_brings_the_next_response(stand: Stand) -> None:
    """After a function call nothing more is said until the gateway gives its output and asks to go on."""
    tool = AgentUsesTool("look_up_order", '{"order": "1"}')
    stand.gateway.greets = False
    report = await stand.call(CallScript("tool", (CallerSpeaks("Order?"), tool, AgentSpeaks("Sent"), Pause(0.1))))
    await stand.gateway.settled()
    assert report.counts["tool_calls"] == stand.gateway.seen["tools"] == 1
    order = _types(stand)
    calls = [number for number, kind in enumerate(order) if kind == "response.created"]
    given = [number for number, kind in enumerate(order) if kind == "conversation.item.added"][-2]
    assert calls[0] < order.index("response.function_call_arguments.done") < given < calls[1]
    assert len(report.turn_seconds) == 1


@pytest.mark.parametrize("patience", [0.3])
async def test_a_gateway_that_answers_no_tool_loses_the_caller(stand: Stand) -> None:
    """When a tool's output does not come, the caller runs out of patience and hangs up."""
    stand.gateway.uses_tools = False
    report = await stand.call(CallScript("waits", (GREETING, AgentUsesTool("anything"), AgentSpeaks("Never"))))
    assert report.end == "caller_hung_up"
    assert report.counts["tokens_output"] == 120 + 25


async def test_silence_is_reported(stand: Stand) -> None:
    """A caller who says nothing brings the carrier's idle event, and no turn."""
    await stand.call(CallScript("silent", (GREETING, CallerStaysSilent(), AgentSpeaks("Hello?"))))
    await stand.gateway.settled()
    silence = _first(stand, "input_audio_buffer.timeout_triggered")
    assert silence["audio_end_ms"] > silence["audio_start_ms"]
    assert (stand.totals["silences"], stand.totals["turns"]) == (1, 0)


async def test_errors_that_end_nothing_end_nothing(stand: Stand) -> None:
    """A warning and a failed response leave the session alive, and are no failure of the call."""
    script = CallScript("bumpy", (GREETING, SessionWarns("invalid_value"), ResponseFails("server_error"), Pause(0.1)))
    report = await stand.call(script)
    await stand.gateway.settled()
    assert _first(stand, "error")["error"]["code"] == "invalid_value"
    failed = [event for event in stand.gateway.events if event["type"] == "response.done"][-1]["response"]
    assert (failed["status"], failed["status_details"]["error"]["code"]) == ("failed", "server_error")
    assert (report.counts["session_errors"], report.counts["responses_failed"], report.failed) == (1, 1, False)


async def test_an_expired_session_is_a_failed_call(stand: Stand) -> None:
    """The error event comes last, the close in good order, and the call counts as failed."""
    report = await stand.call(CallScript("expires", (GREETING,), SessionExpires()))
    await stand.gateway.settled()
    assert stand.gateway.events[-1]["error"]["code"] == "session_expired"
    assert (report.end, report.failed, stand.totals["failed_calls"]) == ("expired", True, 1)
    close = stand.gateway.closes[0].rcvd
    assert close is not None
    assert close.code == 1000


@pytest.mark.parametrize(("code", "failed"), [(1011, True), (1001, False)])
async def test_the_close_code_tells_a_crash(stand: Stand, code: int, *, failed: bool) -> None:
    """A sideband closed with an error code is a failed call; one closed in good order is not."""
    report = await stand.call(CallScript("closes", (GREETING,), SidebandCloses(code)))
    await stand.gateway.settled()
    close = stand.gateway.closes[0].rcvd
    assert close is not None
    assert close.code == code
    assert (report.failed, stand.totals["failed_calls"]) == (failed, int(failed))


async def test_a_dead_line_is_over_when_somebody_hangs_up(stand: Stand) -> None:
    """A line that went dead stays open and silent until the carrier's owner or the gateway ends it."""
    placed = asyncio.create_task(stand.call(CallScript("dead", (GREETING,), LineGoesDead())))
    await stand.until(lambda: stand.gateway.seen["output_audio_buffer.stopped"] == 1)
    stand.carrier.hang_up_all()
    report = await placed
    assert (report.end, report.failed) == ("stopped", False)


async def test_transcription_is_spoken_of_where_it_is_switched_on(stand: Stand) -> None:
    """A gateway that asks for transcription gets the caller's words, whose tokens are counted apart."""
    stand.gateway.audio = {"input": {"transcription": {"model": "gpt-transcribe"}}}
    await stand.call(CallScript("transcribed", (CallerSpeaks("Hello there", 2.0), AgentSpeaks("Hi"))))
    await stand.gateway.settled()
    done = _first(stand, "conversation.item.input_audio_transcription.completed")
    assert done["transcript"] == "Hello there"
    assert stand.totals["tokens_transcription"] == done["usage"]["total_tokens"] == 22


async def test_known_general_instructions_are_counted_as_a_fallback(stand: Stand) -> None:
    """An accept with the gateway's general instructions counts as their use; one with others does not."""
    await stand.call(CallScript("own"))
    assert stand.totals["fallback_instructions_used"] == 0
    stand.gateway.instructions = FALLBACK
    await stand.call(CallScript("general"))
    assert stand.totals["fallback_instructions_used"] == 1


async def test_calls_count_under_the_tenant_that_was_dialled(stand: Stand) -> None:
    """The dialled number tells the tenant; a number of nobody counts under ``_unknown``."""
    await stand.call(CallScript("acme"))
    await stand.call(CallScript("globex"), number="+18005550001")
    await stand.call(CallScript("nobody"), number="+12125550000")
    tenants = stand.carrier.counts()["tenants"]
    assert {tenant: row["started_calls"] for tenant, row in tenants.items()} == {
        "_unknown": 1,
        "acme": 1,
        "globex": 1,
        "initech": 0,
    }
