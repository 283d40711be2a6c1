"""Stopping and coming back: what becomes of the calls that run."""

import asyncio
from pathlib import Path

import pytest

from service.container import Container
from service.records.record import DurationSource
from service.simulator.ground_truth import CallReport
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import CallId, EndReason
from tests.service.gateway.harness import GatewayHarness, fresh_id, on_the_air, serving

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())


CALLER = "+14155550123"
SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")),), CallerHangsUp())


async def test_a_stop_ends_calls_as_shutdown_and_hangs_up(tmp_path: Path) -> None:
    """Without a hand-over no caller is left on a line that nobody watches."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path, hand_over_calls=False) as harness:
            call_id, placing = await _running(harness)
        summary = harness.record(call_id).summary
        assert summary.end_reason is EndReason.SHUTDOWN
        assert (await placing).end == "agent_hung_up"
        assert _open(harness.container) == 0


async def test_a_running_call_is_handed_to_the_next_process(tmp_path: Path) -> None:
    """The caller stays on the line; the next process goes on under the same trace, and the record is one."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path) as first:
            call_id, placing = await _running(first)
            trace_id = first.container.telemetry.traces.trace_id(call_id)
        assert not placing.done()
        async with serving(carrier, tmp_path) as second:
            await second.until(lambda: second.container.telemetry.tracker.usage().active == 1, "the call to go on")
            assert second.container.telemetry.traces.trace_id(call_id) == trace_id
            assert second.container.capacity.in_use == 1
            carrier.hang_up_all()
            await placing
            await second.settled()
            assert await second.container.records.flush(60)
            record = await second.container.records.find(call_id)
        assert record is not None
        assert (record.state, record.outcome, record.reason) == (CallState.ENDED, CallOutcome.HANGUP, "hangup")
        assert record.duration_source is DurationSource.RESUMED
        numbers = await second.numbers()
        assert (numbers["started_calls"], numbers["ended_calls"], numbers["active_calls"]) == (1, 1, 0)


async def test_a_call_taken_over_keeps_its_one_story(tmp_path: Path) -> None:
    """The record's facts stand in every view, the part that this process did not see is marked, the picture draws."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path) as first:
            call_id, placing = await _running(first)
            await first.until(lambda: first.record(call_id).first_audio is not None, "the greeting")
            before = await first.get(f"/api/v1/calls/{call_id}")
        async with serving(carrier, tmp_path) as second:
            await second.until(lambda: second.container.telemetry.tracker.usage().active == 1, "the call to go on")
            after = await second.get(f"/api/v1/calls/{call_id}")
            found = await second.get(f"/api/v1/calls?caller_ends_with={before['caller'][-4:]}")
            picture = await second.client.get(f"/api/v1/calls/{call_id}/timeline.svg")
            by_trace = await second.get(f"/api/v1/traces/{after['trace']['trace_id']}")
            carrier.hang_up_all()
            await placing
            await second.settled()
    same = ("received_at", "started_at", "caller", "caller_hash", "dialled")
    assert {name: str(after[name])[:23] for name in same} == {name: str(before[name])[:23] for name in same}
    assert after["dialled"] is not None
    (listed,) = found["calls"]
    assert {name: listed[name] for name in ("call_id", "caller", "started_at")} == {
        "call_id": call_id,
        "caller": before["caller"],
        "started_at": after["started_at"],
    }
    assert "taken_over" in listed["flags"]
    # Logged once, by the process that it happened in.
    events = [line["attributes"]["event.name"] for line in after["logs"] if "event.name" in line["attributes"]]
    assert events == ["call.taken_over"]
    for name in ("setup_seconds", "time_to_first_audio_seconds"):
        assert after[name] == pytest.approx(before[name], abs=0.002)
    assert after["resumed"] is True
    assert after["seen_from_seconds"] > after["time_to_first_audio_seconds"]
    assert "Taken over from another process" in after["explanation"]
    assert "another process" in after["trace"]["note"]
    assert [step["transition"] for step in after["transitions"]][:3] == ["received", "accepted", "started"]
    assert (picture.status_code, by_trace["call_id"]) == (200, call_id)
    assert "seen by another process" in picture.text


async def test_a_call_that_ended_meanwhile_is_stale(tmp_path: Path) -> None:
    """Nobody saw its end: it is over at its last activity, counts nowhere, and every view says so."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path) as first:
            call_id, placing = await _running(first)
        carrier.hang_up_all()
        await placing
        async with serving(carrier, tmp_path) as second:
            assert await second.container.records.flush(60)
            record = await second.container.records.find(call_id)
            assert (await second.numbers())["started_calls"] == 0
            told = await second.get(f"/api/v1/calls/{call_id}")
            found = await second.get("/api/v1/calls?outcome=stale")
            by_trace = await second.get(f"/api/v1/traces/{told['trace']['trace_id']}")
            on_record = await second.get(f"/api/v1/call-records?caller_hash={told['caller_hash']}")
        assert record is not None
        assert (record.state, record.reason) == (CallState.ENDED, "stale")
        assert record.duration_source is DurationSource.LAST_SIGN_OF_LIFE
    assert "its process was stopped, and nobody saw the end" in told["explanation"]
    assert [call["call_id"] for call in found["calls"]] == [call_id]
    assert [call["call_id"] for call in on_record["calls"]] == [call_id]
    assert by_trace["call_id"] == call_id
    assert told["duration_seconds"] == pytest.approx(record.billed_ms / 1000, abs=0.002)


async def test_a_call_on_record_alone_is_found_by_its_trace(tmp_path: Path) -> None:
    """No process remembers it; its record has the trace, the caller's last digits, and the hash of the number."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path) as first:
            call_id = fresh_id()
            await first.call(SHORT, call_id=call_id, caller=CALLER)
            before = await first.get(f"/api/v1/calls/{call_id}")
        async with serving(carrier, tmp_path) as second:
            trace_id, digits = before["trace"]["trace_id"], before["caller"][-4:]
            by_trace = await second.get(f"/api/v1/traces/{trace_id}")
            found = [
                await second.get(f"/api/v1/call-records?{query}")
                for query in (
                    f"caller_ends_with={digits}",
                    f"caller_ends_with={digits[-2:]}",
                    f"caller_hash={before['caller_hash']}",
                )
            ]
            none = await second.get(f"/api/v1/call-records?caller_hash={'0' * 16}")
            unknown = await second.client.get(f"/api/v1/traces/{'0' * 31}1")
    assert (by_trace["call_id"], by_trace["from_record"]) == (call_id, True)
    assert [[call["call_id"] for call in page["calls"]] for page in found] == [[call_id]] * 3
    assert (none["calls"], unknown.status_code) == ([], 404)


async def test_a_call_that_another_process_runs_is_told_as_such(tmp_path: Path) -> None:
    """It is neither over nor forgotten: what its record says so far is told, and whose it is."""
    async with on_the_air() as carrier, serving(carrier, tmp_path) as first:
        call_id, placing = await _running(first)
        assert await first.container.records.flush(60)
        async with serving(carrier, tmp_path) as second:
            told = await second.get(f"/api/v1/calls/{call_id}")
        carrier.hang_up_all()
        await placing
    assert (told["from_record"], told["ended_at"]) == (True, None)
    assert told["explanation"].startswith("Running for ")
    assert told["explanation"].endswith(
        " Another process has the call: this is how its record stood when it was last written."
    )


async def test_a_third_start_changes_nothing(tmp_path: Path) -> None:
    """What was recovered once is not recovered again."""
    async with on_the_air() as carrier:
        async with serving(carrier, tmp_path) as first:
            call_id, placing = await _running(first)
        carrier.hang_up_all()
        await placing
        found = []
        for _ in range(2):
            async with serving(carrier, tmp_path) as again:
                assert await again.container.records.flush(60)
                found.append(await again.container.records.find(call_id))
        assert found[0] == found[1]


@pytest.mark.parametrize("hand_over", [True, False])
async def test_the_counters_agree_after_a_stop(tmp_path: Path, hand_over: bool) -> None:
    """Every slot is given back and every started call has ended, whether calls go on elsewhere or not."""
    async with on_the_air() as carrier, serving(carrier, tmp_path, hand_over_calls=hand_over) as harness:
        await asyncio.gather(*(_running(harness) for _ in range(5)))
        await harness.container.stop()
        assert (harness.container.capacity.in_use, _open(harness.container)) == (0, 0)
        numbers = harness.container.telemetry.live.store.numbers()
        assert numbers is not None
        assert (numbers["started_calls"], numbers["active_calls"]) == (5, 0)
        assert (numbers["ended_calls"], numbers["handed_over_calls_started"]) == ((0, 5) if hand_over else (5, 0))
        carrier.hang_up_all()


async def _running(harness: GatewayHarness) -> tuple[CallId, asyncio.Task[CallReport]]:
    """A call whose session runs."""
    call_id = CallId(fresh_id())
    placing: asyncio.Task[CallReport] = asyncio.create_task(harness.place(TALK, call_id=call_id, caller=CALLER))
    tracker = harness.container.telemetry.tracker
    await harness.until(
        lambda: tracker.knows(call_id) and tracker.call(call_id).state is CallState.STARTED, "a session"
    )
    return call_id, placing


def _open(container: Container) -> int:
    return container.telemetry.tracker.usage().in_use
