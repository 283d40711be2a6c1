"""What a call's session becomes: its end, its turns, its tools, its tokens."""

import asyncio
from pathlib import Path

import pytest

from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    AgentUsesTool,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    Ending,
    LineGoesDead,
    Pause,
    ResponseFails,
    SessionExpires,
    SessionWarns,
    SidebandCloses,
)
from telemetry.semconv.attributes import EndReason
from tests.service.gateway.harness import GatewayHarness, fresh_id, running_harness

HELLO = AgentGreets(AgentSpeaks("Hello"))
TURN = (CallerSpeaks("Hi"), AgentSpeaks("Yes?"))


@pytest.mark.parametrize(
    ("ending", "reason", "error_type"),
    [
        (CallerHangsUp(), EndReason.HANGUP, None),
        (AgentHangsUp(), EndReason.COMPLETED, None),
        (AgentTransfers("sales"), EndReason.REFERRED, None),
        (SessionExpires(), EndReason.ERROR, "session_expired"),
        (SidebandCloses(1011), EndReason.ERROR, "ws_1011"),
        (SidebandCloses(1000), EndReason.COMPLETED, None),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
async def test_how_a_session_ends(
    shared: GatewayHarness, ending: Ending, reason: EndReason, error_type: str | None
) -> None:
    """A hang-up looks like a broken connection and is no error; a crash and an expired session are."""
    call_id = fresh_id()
    await shared.call(CallScript("ends", (HELLO, *TURN), ending), call_id=call_id)
    summary = shared.record(call_id).summary
    assert (summary.end_reason, summary.error_type) == (reason, error_type)
    numbers = await shared.numbers()
    assert (numbers["ended_calls"], numbers["failed_calls"]) == (1, int(error_type is not None))
    assert numbers["referred_calls"] == int(reason is EndReason.REFERRED)
    assert shared.container.capacity.in_use == 0


async def test_turns_latencies_and_interruptions_are_the_carriers(shared: GatewayHarness) -> None:
    """Two turns, the second cut short; each wait is what passed at the carrier between speech and answer."""
    cut = AgentSpeaks("A long story", speak_seconds=20.0, cut_after=10.0)
    script = CallScript("talk", (HELLO, *TURN, CallerSpeaks("And?"), cut, CallerSpeaks("Stop!"), AgentSpeaks("Sorry.")))
    call_id = fresh_id()
    await shared.call(script, call_id=call_id)
    record = shared.record(call_id)
    assert (record.summary.turns, record.summary.interruptions) == (3, 1)
    assert [turn.interrupted for turn in record.turns] == [False, True, False]
    assert record.first_audio is not None
    assert (await shared.numbers())["interruptions"] == 1


async def test_a_turn_with_a_tool_waits_for_the_answer_that_is_heard(shared: GatewayHarness) -> None:
    """The tool's response has no audio: the turn's wait runs on to the response after it."""
    script = CallScript(
        "tool", (HELLO, CallerSpeaks("What time is it?"), AgentUsesTool("current_time"), AgentSpeaks("Noon."))
    )
    call_id = fresh_id()
    await shared.call(script, call_id=call_id)
    record = shared.record(call_id)
    assert [(tool.tool, tool.error_type) for tool in record.tools] == [("current_time", None)]
    assert record.summary.turns == 1


async def test_a_tool_nobody_has_is_answered_with_an_error(shared: GatewayHarness) -> None:
    """The model hears that there is no such tool, the caller an answer; the made-up name is no label."""
    script = CallScript(
        "tool", (HELLO, CallerSpeaks("Do it"), AgentUsesTool("made_up_by_the_model"), AgentSpeaks("No."))
    )
    call_id = fresh_id()
    report = await shared.call(script, call_id=call_id)
    record = shared.record(call_id)
    assert [(tool.tool, tool.error_type) for tool in record.tools] == [("_other", "unknown_tool")]
    assert record.summary.end_reason is EndReason.HANGUP
    assert report.accepted


async def test_tokens_are_the_sum_of_the_responses(tmp_path: Path) -> None:
    """Input, output and cached tokens are what the carrier billed, a response that was cut off included."""
    cut = AgentSpeaks("Long", generate_seconds=20.0, speak_seconds=20.0, cut_after=5.0)
    script = CallScript("tokens", (HELLO, *TURN, CallerSpeaks("Go on"), cut, CallerSpeaks("Stop"), AgentSpeaks("Yes.")))
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        await harness.call(script, call_id=call_id)
        ground_truth, tokens = harness.carrier.ground_truth()["global"], harness.record(call_id).tokens
        counted = (tokens.usage.input, tokens.usage.output, tokens.usage.cached_input)
        assert counted == (ground_truth["tokens_input"], ground_truth["tokens_output"], ground_truth["tokens_cached"])
        assert ground_truth["tokens_output"] > 0


async def test_errors_that_end_nothing(shared: GatewayHarness) -> None:
    """A warning and a failed response are on the record; the call goes on and is no failure."""
    script = CallScript(
        "warned", (HELLO, SessionWarns("invalid_value"), CallerSpeaks("Hi"), ResponseFails(), AgentSpeaks("Yes"))
    )
    call_id = fresh_id()
    await shared.call(script, call_id=call_id)
    record = shared.record(call_id)
    assert {error.detail for error in record.errors} == {"invalid_value", "server_error"}
    assert (await shared.numbers())["failed_calls"] == 0


async def test_a_line_that_goes_dead_is_swept(tmp_path: Path) -> None:
    """A session that shows no activity is ended as stale, billed no further than that, and hung up."""
    script = CallScript("dead", (HELLO, *TURN), LineGoesDead())
    async with running_harness(tmp_path, call_heartbeat_seconds=0.05, stale_call_seconds=0.5) as harness:
        call_id = fresh_id()
        await harness.call(script, call_id=call_id)
        record = harness.record(call_id)
        assert record.summary.end_reason is EndReason.STALE
        assert record.summary.started is not None
        billed = (await harness.numbers())["minutes_processed"] * 60
        assert billed <= record.summary.last_seen - record.summary.started + 1e-6
        assert harness.container.capacity.in_use == 0
        assert not harness.container.manager.busy


async def test_a_silent_caller_is_no_dead_line(tmp_path: Path) -> None:
    """A caller who says nothing for many times the limit stays on the line: the session answers when asked."""
    script = CallScript("silent", (HELLO, Pause(300.0)), CallerHangsUp())
    async with running_harness(tmp_path, call_heartbeat_seconds=0.05, stale_call_seconds=0.5) as harness:
        call_id = fresh_id()
        await harness.call(script, call_id=call_id)
        assert harness.record(call_id).summary.end_reason is EndReason.HANGUP


async def test_minutes_grow_while_a_call_runs(tmp_path: Path) -> None:
    """Each heartbeat bills what has passed; the end adds the rest, so that the sum is the duration."""
    async with running_harness(tmp_path, call_heartbeat_seconds=0.05, stale_call_seconds=60) as harness:
        call_id = fresh_id()
        running = asyncio.create_task(harness.call(CallScript("long", (HELLO, Pause(100_000.0))), call_id=call_id))
        seen = {await _minutes(harness) for _ in range(3)}
        await harness.until(lambda: _grown(harness), "minutes to grow while the call runs")
        assert (await harness.numbers())["active_calls"] == 1
        harness.carrier.hang_up_all()
        await running
        billed = await _minutes(harness)
        assert billed > max(seen)
        assert billed * 60 == pytest.approx(harness.record(call_id).summary.duration)


async def _minutes(harness: GatewayHarness) -> float:
    return (await harness.numbers())["minutes_processed"]


def _grown(harness: GatewayHarness) -> bool:
    harness.container.telemetry.live.refresh()
    numbers = harness.container.telemetry.live.store.numbers()
    return numbers is not None and numbers["minutes_processed"] > 0
