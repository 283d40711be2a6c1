"""What a crash leaves of a call: nothing open, and a trace that says what is known."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.gateway.carriers.carrier import Tool
from service.gateway.tools import CURRENT_TIME, Arguments, CallControl, CallTool, Handler, tools_for
from service.simulator.script import (
    AgentGreets,
    AgentSpeaks,
    AgentUsesTool,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    Pause,
    SidebandCloses,
)
from telemetry.recent.record import CallDetails, CallOutcome, SpanRow
from tests.service.gateway.harness import GatewayHarness, fresh_id, running_harness

HELLO = AgentGreets(AgentSpeaks("Hello"))
SECRET = "+4930123456 said hunter2"


def spans(record: CallDetails, name: str) -> list[SpanRow]:
    assert record.trace is not None
    return [span for span in record.trace.spans if span.name == name]


def nothing_is_open(harness: GatewayHarness, record: CallDetails) -> None:
    """Neither in the record nor among the spans of the process."""
    assert record.trace is not None
    assert all(span.end_unix_nanos is not None for span in record.trace.spans)
    assert all(
        row.end is not None for rows in (record.phases, record.turns, record.tools, record.speech) for row in rows
    )
    assert (harness.container.telemetry.traces.open_calls, harness.container.telemetry.spans.count) == (0, 0)


async def test_a_sideband_that_crashes_in_a_turn(tmp_path: Path) -> None:
    """The turn ends where it stands and keeps its wait; session and call have failed with the socket's code."""
    script = CallScript("crash", (HELLO, CallerSpeaks("Hi"), Pause(30)), SidebandCloses(1011))
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        await harness.call(script, call_id=call_id)
        record = harness.record(call_id)
        nothing_is_open(harness, record)
    assert (record.summary.outcome, record.summary.error_type) == (CallOutcome.FAILED, "ws_1011")
    for name in ("call", "session"):
        (span,) = spans(record, name)
        assert (span.error, span.attributes["error.type"]) == (True, "ws_1011")
    (turn,) = spans(record, "turn")
    assert (turn.attributes["voice.turn.end.reason"], record.turns[0].time_to_first_audio) == ("call_ended", None)
    assert 0 < (record.turns[0].waited(record.as_of) or 0) <= record.summary.longest_wait


async def test_a_line_that_breaks_while_a_tool_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool is cut off, says so, and leaves nothing behind; a caller who hangs up is no failure of the call's."""
    began = asyncio.Event()

    async def endless(_control: CallControl, _arguments: Arguments) -> None:
        began.set()
        await asyncio.Event().wait()

    _current_time_is(monkeypatch, endless)
    script = CallScript("breaks", (HELLO, CallerSpeaks("Hi"), AgentUsesTool(CURRENT_TIME)), CallerHangsUp())
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        placed = asyncio.create_task(harness.call(script, call_id=call_id))
        await began.wait()
        harness.carrier.hang_up_all()
        await placed
        record = harness.record(call_id)
        nothing_is_open(harness, record)
    assert (record.summary.outcome, record.summary.error_type) == (CallOutcome.HANGUP, None)
    (tool,) = spans(record, f"execute_tool {CURRENT_TIME}")
    assert (tool.error, [event.name for event in tool.events]) == (False, ["tool.cut_off"])
    assert [span.error for span in spans(record, "call")] == [False]


async def test_a_tool_that_raises_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool's span and row have the exception's class and not its message; the call goes on to its own end."""

    async def broken(_control: CallControl, _arguments: Arguments) -> None:
        raise LookupError(SECRET)

    _current_time_is(monkeypatch, broken)
    talk = (HELLO, CallerSpeaks("Hi"), AgentUsesTool(CURRENT_TIME), AgentSpeaks("Sorry."))
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        await harness.call(CallScript("broken", talk, CallerHangsUp()), call_id=call_id)
        record = harness.record(call_id)
        nothing_is_open(harness, record)
    assert (record.summary.outcome, record.summary.error_type) == (CallOutcome.HANGUP, None)
    assert [(tool.tool, tool.error_type) for tool in record.tools] == [(CURRENT_TIME, "LookupError")]
    (tool,) = spans(record, f"execute_tool {CURRENT_TIME}")
    assert (tool.error, tool.attributes["error.type"]) == (True, "LookupError")
    assert [span.error for span in spans(record, "call")] == [False]
    assert "hunter2" not in repr(record)


def _current_time_is(monkeypatch: pytest.MonkeyPatch, handle: Handler) -> None:
    """Have every call's `current_time` do this."""

    def tools(targets: Mapping[str, str]) -> dict[str, CallTool]:
        mine = CallTool(Tool(CURRENT_TIME, "The time.", {"type": "object", "properties": {}}), handle)
        return {**tools_for(targets), CURRENT_TIME: mine}

    monkeypatch.setattr("service.gateway.session_manager.tools_for", tools)
