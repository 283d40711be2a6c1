"""Calls with a known story, told alike by every view: the sentence, the search, the picture, the terminal, the log."""

from asyncio import CancelledError
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import httpx2
import pytest
from rich.console import Console

from service.gateway.carriers.carrier import CarrierError
from service.timeline.detail import CallDetail
from service.timeline.terminal import render_terminal
from service.timeline.timeline import waterfall
from telemetry.calls.call import Call
from telemetry.calls.events import Phase
from telemetry.semconv.attributes import UNKNOWN_TENANT, EndReason, RejectionReason
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import Gateway
from tests.support import calls

CALLS = "/api/v1/calls"
STORY = f"{CALLS}/rtc_1"


@dataclass(frozen=True)
class Story:
    """A call, and what each view must say of it."""

    play: Callable[[TelemetryKit], object]
    sentence: str
    finds: dict[str, str | float] = field(default_factory=lambda: {"state": "all"})
    """A search that finds it."""
    misses: dict[str, str | float] = field(default_factory=lambda: {"outcome": "stale"})
    """A search that must not find it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Fields of the JSON."""
    moments: tuple[str, ...] = ()
    """The lines below the picture."""
    warnings: tuple[str, ...] = ()
    """Log lines at WARNING."""


def talking(kit: TelemetryKit) -> Call:
    """Return a call whose agent has greeted."""
    call = calls.started(kit)
    calls.greeting(kit, call)
    return call


def asks(kit: TelemetryKit, call: Call, *, wait: float) -> None:
    """Have the caller ask, and wait in vain for so many seconds."""
    call.caller_started_speaking()
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    kit.clock.advance(wait)


def answers(kit: TelemetryKit, call: Call, seconds: float) -> None:
    """Have the agent speak."""
    call.agent_started_speaking()
    kit.clock.advance(seconds)
    call.agent_stopped_speaking()


def refused(kit: TelemetryKit, call: Call, phase: Phase, target: str | None = None) -> None:
    """Have the carrier refuse a transfer or a hang-up after 0.2 s."""
    with suppress(CarrierError), call.phase(phase, target):
        kit.clock.advance(0.2)
        raise CarrierError("503", 503)


def without_an_answer(kit: TelemetryKit) -> None:
    call = talking(kit)
    asks(kit, call, wait=6.1)
    call.ended(EndReason.HANGUP)


def before_the_agent(kit: TelemetryKit) -> None:
    call = calls.started(kit)
    kit.clock.advance(4)
    call.ended(EndReason.HANGUP)


def failed_tool(kit: TelemetryKit) -> None:
    call = talking(kit)
    asks(kit, call, wait=0)
    calls.failed_tool(kit, call)
    answers(kit, call, 2)
    call.ended(EndReason.HANGUP)


def overcome_tool(kit: TelemetryKit) -> None:
    call = talking(kit)
    calls.failed_tool(kit, call)
    calls.turn(kit, call)
    call.ended(EndReason.HANGUP)


def refused_transfer(kit: TelemetryKit) -> None:
    call = talking(kit)
    refused(kit, call, Phase.TRANSFER, "support")
    kit.clock.advance(3)
    call.ended(EndReason.HANGUP)


def rate_limit(kit: TelemetryKit) -> None:
    call = talking(kit)
    asks(kit, call, wait=0.4)
    call.session_error("rate_limit_exceeded")
    kit.clock.advance(2)
    call.ended(EndReason.HANGUP)


def ended_by_the_agent(kit: TelemetryKit) -> None:
    call = talking(kit)
    with call.phase(Phase.HANGUP):
        kit.clock.advance(0.1)
    call.ended(EndReason.COMPLETED)


def refused_hangup(kit: TelemetryKit) -> None:
    call = talking(kit)
    refused(kit, call, Phase.HANGUP)
    kit.clock.advance(1)


def aside(kit: TelemetryKit) -> None:
    """The caller says "mhm" while the agent goes on for 3.6 s."""
    call = calls.started(kit)
    call.agent_started_speaking()
    kit.clock.advance(1)
    asks(kit, call, wait=3.6)
    call.agent_stopped_speaking()
    call.ended(EndReason.HANGUP)


def greeting_cut_short(kit: TelemetryKit) -> None:
    call = calls.started(kit)
    call.agent_started_speaking()
    kit.clock.advance(1)
    call.caller_started_speaking()
    call.agent_stopped_speaking(interrupted=True)
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    kit.clock.advance(0.5)
    answers(kit, call, 1)
    call.ended(EndReason.HANGUP)


def talked_over(kit: TelemetryKit) -> None:
    call = talking(kit)
    call.caller_started_speaking()
    kit.clock.advance(1)
    call.agent_started_speaking()
    kit.clock.advance(1.5)
    call.caller_stopped_speaking()
    kit.clock.advance(1)
    call.agent_stopped_speaking()
    call.ended(EndReason.HANGUP)


def silent(kit: TelemetryKit) -> None:
    call = talking(kit)
    kit.clock.advance(20)
    calls.turn(kit, call)
    call.ended(EndReason.HANGUP)


def abandoned(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    call.accepted()
    kit.clock.advance(9)
    call.abandoned(EndReason.ERROR, error_type="404")


def cut_off_tool(kit: TelemetryKit) -> None:
    call = talking(kit)
    with suppress(CancelledError), call.tool("lookup_order", "call_1"):
        kit.clock.advance(2)
        raise CancelledError
    call.ended(EndReason.HANGUP)


def unknown_number(kit: TelemetryKit) -> None:
    calls.announced(kit, tenant_id=UNKNOWN_TENANT).rejected(RejectionReason.TENANT_NOT_CONFIGURED)


def disabled_tenant(kit: TelemetryKit) -> None:
    calls.announced(kit).rejected(RejectionReason.TENANT_NOT_CONFIGURED)


def fallback(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    call.fallback_used()
    call.accepted()
    call.started()
    calls.greeting(kit, call)
    call.ended(EndReason.HANGUP)


STORIES = {
    "without an answer": Story(
        without_an_answer,
        "Ended after 10.0 s: the caller hung up 6.1 s after asking, without an answer.",
        {"slower_than": 6, "reason": "hangup"},
        {"slower_than": 6.2},
        {"longest_wait_seconds": 6.1},
        ("turn 1 had no answer for 6.1 s",),
    ),
    "before the agent": Story(
        before_the_agent,
        "Ended after 4.0 s: the caller hung up before the agent had spoken.",
        {"slower_than": 4},
    ),
    "failed tool": Story(
        failed_tool,
        "Ended after 9.0 s: the caller hung up after tool book_table failed (TimeoutError).",
        {"failed_tool": "book_table"},
        {"failed_tool": "lookup_order"},
        moments=("turn 1 was answered after 3.1 s", "tool book_table failed: TimeoutError"),
        warnings=("tool failed",),
    ),
    "overcome tool": Story(
        overcome_tool,
        "Ended after 11.7 s: the caller hung up.",
        {"failed_tool": "book_table"},
        moments=("tool book_table failed: TimeoutError",),
        warnings=("tool failed",),
    ),
    "refused transfer": Story(
        refused_transfer,
        "Ended after 6.0 s: the caller hung up after the transfer to support was refused (503).",
        {"outcome": "hangup"},
        {"outcome": "referred"},
        moments=("transfer failed: 503",),
        warnings=("phase failed",),
    ),
    "rate limit": Story(
        rate_limit,
        "Ended after 6.2 s: the caller hung up 2.4 s after asking, without an answer, "
        "after the carrier reported rate_limit_exceeded.",
        {"slower_than": 2},
        moments=("turn 1 had no answer for 2.4 s", "session error: rate_limit_exceeded"),
        warnings=("session error",),
    ),
    "ended by the agent": Story(
        ended_by_the_agent, "Ended after 2.9 s: the agent ended it.", {"reason": "completed"}, {"reason": "hangup"}
    ),
    "refused hang-up": Story(
        refused_hangup,
        "Running, 4.0 s after its start, after the hang-up was refused (503).",
        {"state": "started"},
        {"state": "over"},
        {"state": "started"},
        ("hangup failed: 503",),
        ("phase failed",),
    ),
    "aside": Story(
        aside,
        "Ended after 5.6 s: the caller hung up.",
        misses={"slower_than": 1},
        facts={"longest_wait_seconds": 0.37, "interruption_count": 0},
    ),
    "greeting cut short": Story(
        greeting_cut_short,
        "Ended after 3.5 s: the caller hung up.",
        {"interrupted": "true"},
        {"interrupted": "false"},
        {"turn_count": 1, "interruption_count": 1, "greeting_interrupted": True},
        ("the caller interrupts the agent after 1.0 s of speech",),
    ),
    "talked over": Story(
        talked_over,
        "Ended after 6.3 s: the caller hung up.",
        {"talked_over": "true"},
        {"talked_over": "false"},
        {"talked_over_count": 1},
        ("the agent talks over the caller for 1.5 s",),
    ),
    "silent": Story(
        silent,
        "Ended after 28.5 s: the caller hung up.",
        {"silent_longer_than": 19},
        {"silent_longer_than": 21},
        {"longest_silence_seconds": 20.0},
        ("nobody speaks for 20.0 s",),
    ),
    "abandoned": Story(
        abandoned,
        "Accepted, but never started: it broke off (404).",
        {"slower_than": 9, "error_type": "404"},
        {"error_type": "503"},
        {"longest_wait_seconds": 9.012},
        ("the call failed: 404",),
        ("call abandoned",),
    ),
    "cut-off tool": Story(
        cut_off_tool,
        "Ended after 4.8 s: the caller hung up.",
        misses={"failed_tool": "lookup_order"},
    ),
    "unknown number": Story(
        unknown_number,
        "Rejected after 12 ms (tenant_not_configured): the dialled number reaches no tenant.",
        {"reason": "tenant_not_configured"},
        {"reason": "capacity"},
    ),
    "disabled tenant": Story(
        disabled_tenant,
        "Rejected after 12 ms (tenant_not_configured): the tenant of the dialled number is disabled.",
        {"tenant_id": "acme", "outcome": "rejected"},
    ),
    "fallback": Story(
        fallback,
        "Ended after 2.9 s: the caller hung up. The fallback instructions stood in for the tenant's own.",
        facts={"fallback_instructions": True},
        warnings=("instructions fallback used",),
    ),
}


@pytest.fixture(params=sorted(STORIES))
def story(request: pytest.FixtureRequest) -> Story:
    """Each story."""
    return STORIES[request.param]


def test_every_view_tells_the_story(story: Story, gateway: Gateway, admin: httpx2.Client) -> None:
    """JSON, sentence, search, picture, terminal and log agree on what happened, when, and for how long."""
    story.play(gateway.kit)
    told = admin.get(STORY).json()
    assert tuple(line["message"] for line in told["logs"] if line["level"] != "INFO") == story.warnings
    assert told["explanation"] == story.sentence
    assert {name: told[name] for name in story.facts} == pytest.approx(story.facts)
    assert [call["call_id"] for call in admin.get(CALLS, params=story.finds).json()["calls"]] == ["rtc_1"]
    assert admin.get(CALLS, params=story.misses).json()["calls"] == []
    drawing = waterfall(CallDetail.model_validate(told))
    assert tuple(moment.text for moment in drawing.moments) == story.moments
    picture = admin.get(f"{STORY}/timeline.svg")
    assert picture.status_code == 200
    paper = StringIO()
    Console(file=paper, width=200).print(render_terminal(drawing, 200))
    for text in story.moments:
        assert text in picture.text
        assert text in paper.getvalue()
    assert story.sentence in paper.getvalue()


def test_failures_stand_where_they_failed(gateway: Gateway, admin: httpx2.Client) -> None:
    """A tool that failed after 3.1 s is told of at its end, not at its start."""
    failed_tool(gateway.kit)
    told = admin.get(STORY).json()
    (tool,) = told["tools"]
    (moment,) = [m for m in waterfall(CallDetail.model_validate(told)).moments if "failed" in m.text]
    assert moment.at == pytest.approx(tool["offset_seconds"] + 3.1)
