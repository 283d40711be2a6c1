"""A transport that breaks is not a call that ended: sessions are attached to again, and messages passed over."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.gateway import session
from service.gateway.carriers.carrier import CallerSpeech, PlaybackStarted, Signal
from service.gateway.carriers.openai_realtime import RealtimeSession
from service.simulator.faults import ALWAYS, CallFaults, DropConnection, Refuse, SidebandBreak
from service.simulator.ground_truth import CallReport
from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    AgentUsesTool,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    Pause,
    SendsUnusable,
    SidebandCloses,
)
from service.simulator.script_player import SILENCE_SECONDS
from service.simulator.script_writer import Shares
from service.simulator.traffic import Plan
from telemetry.calls.events import Phase
from telemetry.recent.record import CallDetails, CallOutcome
from telemetry.semconv.attributes import EndReason
from tests.service.gateway.harness import LOSSY, QUICK, SETTLED_SECONDS, GatewayHarness, fresh_id, running_harness
from tests.service.gateway.receptions import PRECISION, Step

HELLO = AgentGreets(AgentSpeaks("Hello"))
TURN = (CallerSpeaks("Hi"), AgentSpeaks("Yes?"))
LASTING = CallScript("lasting", (HELLO, *TURN, Pause(200.0), *TURN, Pause(5.0)), AgentHangsUp())
"""The break comes in the pause, in which nothing is said for two seconds of real time."""
CODES = (None, 1001, 1006, 1011, 1012, 1013, 3000)


def phases(record: CallDetails) -> list[tuple[Phase, str | None]]:
    return [(phase.phase, phase.error_type) for phase in record.phases if phase.phase is Phase.REATTACH]


async def broken(
    harness: GatewayHarness, *faults: SidebandBreak, script: CallScript = LASTING, **further: object
) -> tuple[CallReport, CallDetails]:
    call_id = fresh_id()
    report = await harness.call(script, faults=CallFaults(breaks=faults, **further), call_id=call_id)  # type: ignore[arg-type]
    return report, harness.record(call_id)


@pytest.mark.parametrize("code", [code for code in CODES if code != 1006], ids=repr)
async def test_a_session_that_breaks_is_attached_again(shared: GatewayHarness, code: int | None) -> None:
    """Reset or closed by whatever code: one call, one trace, the gap on its timeline and in its minutes."""
    report, record = await broken(shared, SidebandBreak(12, code))
    assert (report.counts["sidebands_broken"], report.counts["sidebands_reattached"]) == (1, 1)
    assert report.end == "agent_hung_up"
    assert (record.summary.end_reason, record.summary.error_type) == (EndReason.COMPLETED, None)
    assert phases(record) == [(Phase.REATTACH, None)]
    assert record.trace is not None
    assert "reattach" in {span.name for span in record.trace.spans}
    numbers = await shared.numbers()
    assert (numbers["started_calls"], numbers["ended_calls"], numbers["failed_calls"]) == (1, 1, 0)
    assert await shared.differences() == []


async def test_a_session_may_break_again_and_again(shared: GatewayHarness) -> None:
    """Each break is replaced, also one whose first handshakes fail."""
    breaks = (SidebandBreak(8), SidebandBreak(8, 1012, refusals=(503,)), SidebandBreak(8, 1011))
    report, record = await broken(shared, *breaks)
    assert report.counts["sidebands_reattached"] == report.counts["sidebands_broken"] == 3
    assert phases(record) == [(Phase.REATTACH, None)] * 3
    assert record.summary.end_reason is EndReason.COMPLETED
    assert await shared.differences() == []


@pytest.mark.parametrize(
    ("ending", "reason", "error_type"),
    [
        (CallerHangsUp(), EndReason.HANGUP, None),
        (SidebandCloses(1001), EndReason.COMPLETED, None),
        (SidebandCloses(1012), EndReason.ERROR, "ws_1012"),
        (SidebandCloses(3000), EndReason.ERROR, "ws_3000"),
    ],
    ids=repr,
)
async def test_a_call_that_is_not_found_was_over_when_it_broke(
    shared: GatewayHarness, ending: CallerHangsUp | SidebandCloses, reason: EndReason, error_type: str | None
) -> None:
    """404 on attaching: no gap is shown, and the call ended at the moment of the break."""
    report, record = await broken(shared, script=CallScript("over", (HELLO, *TURN), ending))
    assert (record.summary.end_reason, record.summary.error_type) == (reason, error_type)
    assert phases(record) == []
    assert "sidebands_reattached" not in report.counts
    assert await shared.differences() == []


async def test_a_call_that_cannot_be_attached_to_is_hung_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is not left on a line nobody watches; the call ends with an error, and a log line says so."""
    monkeypatch.setattr(session, "REATTACH_DELAYS", (0.0, 0.01, 0.01))
    async with running_harness(tmp_path) as harness:
        report, record = await broken(harness, SidebandBreak(12, 1011, refusals=(500,) * ALWAYS_REFUSED))
        assert report.end == "agent_hung_up"
        assert (record.summary.end_reason, record.summary.error_type) == (EndReason.ERROR, "ws_1011")
        assert phases(record) == [(Phase.REATTACH, "500")]
        assert harness.container.capacity.in_use == 0
    assert [line for line in caplog.messages if "could not be attached again (500); hanging up" in line]


ALWAYS_REFUSED = 100


async def test_a_call_that_can_be_neither_attached_nor_hung_up_ended_when_it_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of it after the break, so nothing after it is billed."""
    monkeypatch.setattr(session, "REATTACH_DELAYS", (0.0, 0.01))
    async with running_harness(tmp_path, time_scale=LOSSY) as harness:
        faults = SidebandBreak(12, None, refusals=(500,) * ALWAYS_REFUSED)
        report, record = await broken(harness, faults, hangup=Refuse(500, times=ALWAYS))
        assert report.counts["sidebands_broken"] == 1
        assert (record.summary.end_reason, record.summary.error_type) == (EndReason.ERROR, "connection_lost")
        gap = next(phase for phase in record.phases if phase.phase is Phase.REATTACH)
        assert record.summary.ended == pytest.approx(gap.start)


async def test_a_tool_answers_on_the_connection_that_replaces_its_own(tmp_path: Path) -> None:
    """A tool that runs while the sideband breaks is answered on the next, and the model goes on."""
    script = CallScript("tool", (HELLO, CallerSpeaks("When?"), AgentUsesTool("current_time"), AgentSpeaks("Now.")))
    async with running_harness(tmp_path, time_scale=LOSSY) as harness:
        whole = await harness.place(script)
        assert whole.counts["turns"] == 1
        calls = (broken(harness, SidebandBreak(after), script=script) for after in range(10, 24))
        for report, record in await asyncio.gather(*calls):
            assert report.counts["sidebands_reattached"] == 1
            assert record.summary.end_reason is EndReason.HANGUP


@pytest.mark.parametrize(("processed", "breaks"), [(False, 2), (True, 1)], ids=["lost", "taken"])
async def test_an_output_that_went_down_with_its_connection_is_sent_again(
    shared: GatewayHarness, processed: bool, breaks: int
) -> None:
    """Sending it succeeded here, and the caller waits: the model gets it on the next connection, and once only."""
    answer = (CallerSpeaks("When?"), AgentUsesTool("current_time"), AgentSpeaks("Now."))
    script = CallScript("tool", (HELLO, *answer, *answer), AgentHangsUp())
    report, record = await broken(shared, script=script, output=DropConnection(times=2, processed=processed))
    assert report.counts["sidebands_broken"] == report.counts["sidebands_reattached"] == breaks + processed
    assert (report.end, report.counts["turns"]) == ("agent_hung_up", 2)
    assert "violations" not in report.counts
    assert record.summary.end_reason is EndReason.COMPLETED
    assert await shared.differences() == []


async def test_a_greeting_that_was_asked_for_as_the_connection_broke_is_asked_for_again(shared: GatewayHarness) -> None:
    """The first sideband breaks with the request still on its way; the caller is greeted all the same."""
    script = CallScript("greeted", (HELLO, *TURN), AgentHangsUp())
    whole = await shared.call(script, call_id=fresh_id())
    report, _ = await broken(shared, SidebandBreak(1), script=script)
    assert report.counts["sidebands_reattached"] == 1
    assert report.counts["tokens_output"] == whole.counts["tokens_output"]


NONSENSE: tuple[SendsUnusable, ...] = (
    SendsUnusable("not JSON"),
    SendsUnusable(""),
    SendsUnusable("[]"),
    SendsUnusable("null"),
    SendsUnusable(b"\x00\x01\xfe"),
    SendsUnusable(b'{"type": "error\xff"}', as_text=True),
    SendsUnusable('{"type": "response.done"}'),
    SendsUnusable('{"type": "error", "n": ' + "9" * 5_000 + "}"),
    SendsUnusable('{"type": "output_audio_buffer.started", "response_id": {}}'),
    SendsUnusable('{"type": "response.done", "response": {"id": "r", "usage": {"input_tokens": 1.5}}}'),
    SendsUnusable('{"type": "response.done", "response": {"id": "s", "usage": {"input_tokens": 1e309}}}'),
    SendsUnusable('{"type": "response.done", "response": {"id": "t", "usage": {"output_tokens": -5}}}'),
)


async def test_messages_that_cannot_be_used_end_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each is counted and each kind logged once; the call goes on, and every answer about it can be read."""
    session._logged.clear()
    caplog.set_level(logging.WARNING, "service.gateway.session")
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        script = CallScript("nonsense", (HELLO, *NONSENSE, *NONSENSE, *TURN), AgentHangsUp())
        report = await harness.call(script, call_id=call_id)
        assert report.counts["unusable_messages"] == 2 * len(NONSENSE)
        record = harness.record(call_id)
        assert (record.summary.end_reason, record.summary.turns) == (EndReason.COMPLETED, 1)
        ground_truth = harness.carrier.ground_truth()["global"]
        assert record.tokens.usage.input == ground_truth["tokens_input"]
        listed = await harness.get("/api/v1/call-records")
        assert [row["call_id"] for row in listed["calls"]] == [call_id]
        assert await harness.get(f"/api/v1/calls/{call_id}")
    logged = [line for line in caplog.messages if "cannot be used" in line]
    assert len(logged) == len(set(logged)) == 5


async def test_a_transfer_that_came_to_nothing_is_no_transfer(shared: GatewayHarness) -> None:
    """REFER is answered 200 and the call goes on: it ends as what happened afterwards, and counts as no hand-off."""
    transfer = AgentUsesTool("transfer_call", '{"target": "sales"}')
    script = CallScript("ignored", (HELLO, CallerSpeaks("Sales!"), transfer, AgentSpeaks("..."), *TURN, *TURN, *TURN))
    call_id = fresh_id()
    report = await shared.call(script, faults=CallFaults(refer_ignored=True), call_id=call_id)
    summary = shared.record(call_id).summary
    assert report.counts["refers_ignored"] == 1
    assert (summary.end_reason, summary.outcome) == (EndReason.HANGUP, CallOutcome.HANGUP)
    assert (await shared.numbers())["referred_calls"] == 0
    assert any(phase.phase is Phase.TRANSFER for phase in shared.record(call_id).phases)
    assert await shared.differences() == []


async def test_a_transfer_that_happens_is_one(shared: GatewayHarness) -> None:
    """The session's end after a refer shows that the caller was handed over."""
    call_id = fresh_id()
    await shared.call(CallScript("refer", (HELLO, *TURN), AgentTransfers("sales")), call_id=call_id)
    assert shared.record(call_id).summary.outcome is CallOutcome.REFERRED
    assert (await shared.numbers())["referred_calls"] == 1
    assert await shared.differences() == []


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"max_call_seconds": 0.5}, EndReason.MAX_DURATION), ({"max_silence_seconds": 0.5}, EndReason.SILENCE)],
    ids=["duration", "silence"],
)
async def test_a_call_ends_at_its_limit(tmp_path: Path, limit: dict[str, Any], reason: EndReason) -> None:
    """A session that answers every probe while nobody speaks is hung up, with a reason of its own and no error."""
    script = CallScript("silent", (HELLO, *TURN, Pause(100_000.0)))
    async with running_harness(tmp_path, call_heartbeat_seconds=0.05, stale_call_seconds=60, **limit) as harness:
        call_id = fresh_id()
        report = await harness.call(script, call_id=call_id)
        summary = harness.record(call_id).summary
        assert report.end == "agent_hung_up"
        assert (summary.end_reason, summary.error_type) == (reason, None)
        assert summary.duration >= 0.5
        assert await harness.container.records.flush(SETTLED_SECONDS)
        (row,) = (await harness.get("/api/v1/call-records"))["calls"]
        assert row["outcome"] == reason.value
        assert (await harness.numbers())["failed_calls"] == 0


async def test_a_call_within_its_limits_runs_to_its_end(tmp_path: Path) -> None:
    """Speech starts the silence anew, and a call that is over in time is left alone."""
    script = CallScript("talking", (HELLO, *TURN * 6), AgentHangsUp())
    limits: dict[str, Any] = {"max_call_seconds": 60.0, "max_silence_seconds": 30.0}
    async with running_harness(tmp_path, call_heartbeat_seconds=0.05, stale_call_seconds=60, **limits) as harness:
        call_id = fresh_id()
        await harness.call(script, call_id=call_id)
        assert harness.record(call_id).summary.end_reason is EndReason.COMPLETED


async def test_the_caller_waits_from_the_moment_of_falling_silent(
    shared: GatewayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silence by which the end of speech is detected is part of the wait for the answer."""
    call_id, came, signals = fresh_id(), dict[Signal, Step](), RealtimeSession.signals

    async def noted(session: RealtimeSession) -> AsyncIterator[Signal]:
        async for signal in signals(session):
            if isinstance(signal, CallerSpeech | PlaybackStarted):
                came[signal] = Step.begun()
            yield signal

    monkeypatch.setattr(RealtimeSession, "signals", noted)
    script = CallScript("asked", (HELLO, CallerSpeaks("Well?"), AgentSpeaks("Well.", think_seconds=40.0)))
    await shared.call(script, call_id=call_id)
    (turn,) = shared.record(call_id).turns
    silent = came[CallerSpeech(speaking=False)]
    *_, answer = (came[one] for one in came if isinstance(one, PlaybackStarted))
    assert turn.time_to_first_audio is not None
    wait = turn.time_to_first_audio - SILENCE_SECONDS * QUICK.scale
    assert answer.after - silent.before - PRECISION <= wait <= answer.before - silent.after + PRECISION


async def test_several_break_at_once(tmp_path: Path) -> None:
    """Calls whose sidebands break together are each attached to again, and counted as the carrier counts them."""
    async with running_harness(tmp_path) as harness:
        await asyncio.gather(*(broken(harness, SidebandBreak(10 + n, 1012)) for n in range(20)))
        await harness.settled()
        ground_truth = harness.carrier.ground_truth()["global"]
        assert ground_truth["sidebands_reattached"] == ground_truth["sidebands_broken"] == 20
        assert await harness.differences() == []


async def test_troubled_traffic_is_counted_as_the_carrier_counts_it(tmp_path: Path) -> None:
    """Breaks, unusable messages and refers that come to nothing, in the midst of ordinary calls."""
    shares = Shares(breaks=0.3, unusable=0.5, refers=0.3, ignored_refers=0.5, late=0)
    async with running_harness(tmp_path, time_scale=LOSSY, max_concurrent_calls=500) as harness:
        await harness.traffic(Plan("troubled", seed=3, calls_per_second=8, calls=40, shares=shares))
        ground_truth = harness.carrier.ground_truth()["global"]
        assert min(ground_truth[kind] for kind in ("sidebands_broken", "unusable_messages", "refers_ignored")) > 0
        assert await harness.differences() == []
