"""Calls with a known story, told alike by every view: the sentence, the search, the picture, the terminal, the log."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import httpx2
import pytest
from rich.console import Console

from service.timeline.detail import CallDetail
from service.timeline.terminal import render_terminal
from service.timeline.timeline import waterfall
from telemetry.testing import TelemetryKit
from tests.service.api import plays
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
    """Log lines above INFO."""
    flags: tuple[str, ...] = ()
    """What is worth a look."""


STORIES = {
    "without an answer": Story(
        plays.without_an_answer,
        "Ended after 10.0 s: the caller hung up 6.1 s after asking, without an answer.",
        {"slower_than": 6, "reason": "hangup"},
        {"slower_than": 6.2},
        {"longest_wait_seconds": 6.1},
        ("turn 1 had no answer for 6.1 s",),
        flags=("slow_answer", "dead_air"),
    ),
    "before the agent": Story(
        plays.before_the_agent,
        "Ended after 4.0 s: the caller hung up before the agent had spoken.",
        {"slower_than": 4},
        flags=("dead_air",),
    ),
    "failed tool": Story(
        plays.failed_tool,
        "Ended after 9.0 s: the caller hung up after tool book_table failed (TimeoutError).",
        {"failed_tool": "book_table"},
        {"failed_tool": "lookup_order"},
        moments=("turn 1 was answered after 3.1 s", "tool book_table failed: TimeoutError"),
        warnings=("tool failed",),
        flags=("slow_answer", "dead_air", "tool_failed"),
    ),
    "overcome tool": Story(
        plays.overcome_tool,
        "Ended after 11.7 s: the caller hung up.",
        {"failed_tool": "book_table"},
        moments=("tool book_table failed: TimeoutError",),
        warnings=("tool failed",),
        flags=("dead_air", "tool_failed"),
    ),
    "refused transfer": Story(
        plays.refused_transfer,
        "Ended after 6.0 s: the caller hung up after the transfer to support was refused (503).",
        {"outcome": "hangup"},
        {"outcome": "referred"},
        moments=("transfer failed: 503",),
        warnings=("phase failed",),
        flags=("dead_air", "transfer_refused"),
    ),
    "rate limit": Story(
        plays.rate_limit,
        "Ended after 6.2 s: the caller hung up 2.4 s after asking, without an answer, "
        "after the carrier reported rate_limit_exceeded.",
        {"slower_than": 2},
        moments=("turn 1 had no answer for 2.4 s", "session error: rate_limit_exceeded"),
        warnings=("session error",),
        flags=("slow_answer",),
    ),
    "ended by the agent": Story(
        plays.ended_by_the_agent,
        "Ended after 2.9 s: the agent ended it.",
        {"reason": "completed"},
        {"reason": "hangup"},
    ),
    "refused hang-up": Story(
        plays.refused_hangup,
        "Running for 4.0 s, after the hang-up was refused (503).",
        {"state": "started"},
        {"state": "over"},
        {"state": "started"},
        ("hangup failed: 503",),
        ("phase failed",),
        flags=("hangup_refused",),
    ),
    "aside": Story(
        plays.aside,
        "Ended after 5.6 s: the caller hung up.",
        misses={"slower_than": 1},
        facts={"longest_wait_seconds": 0.37, "interruption_count": 0},
    ),
    "greeting cut short": Story(
        plays.greeting_cut_short,
        "Ended after 3.5 s: the caller hung up.",
        {"interrupted": "true"},
        {"interrupted": "false"},
        {"turn_count": 1, "interruption_count": 1, "greeting_interrupted": True},
        ("the caller interrupts the agent after 1.0 s of speech",),
        flags=("interrupted",),
    ),
    "talked over": Story(
        plays.talked_over,
        "Ended after 6.3 s: the caller hung up. The agent talked over the caller.",
        {"talked_over": "true"},
        {"talked_over": "false"},
        {"talked_over_count": 1},
        ("the agent talks over the caller for 1.5 s",),
        flags=("talked_over",),
    ),
    "silent": Story(
        plays.silent,
        "Ended after 28.5 s: the caller hung up. Nobody spoke for 20.0 s.",
        {"silent_longer_than": 19},
        {"silent_longer_than": 21},
        {"longest_silence_seconds": 20.0},
        ("nobody speaks for 20.0 s",),
        flags=("dead_air", "long_silence"),
    ),
    "abandoned": Story(
        plays.abandoned,
        "Accepted, but never started: it broke off (404).",
        {"slower_than": 9, "error_type": "404"},
        {"error_type": "503"},
        {"longest_wait_seconds": 9.012},
        ("the call failed: 404",),
        ("call abandoned",),
    ),
    "cut-off tool": Story(
        plays.cut_off_tool,
        "Ended after 4.8 s: the caller hung up.",
        misses={"failed_tool": "lookup_order"},
    ),
    "unknown number": Story(
        plays.unknown_number,
        "Turned away after 12 ms: the dialled number reaches no tenant.",
        {"reason": "tenant_not_configured"},
        {"reason": "capacity"},
    ),
    "disabled tenant": Story(
        plays.disabled_tenant,
        "Turned away after 12 ms: the tenant of the dialled number is disabled.",
        {"tenant_id": "acme", "outcome": "rejected"},
    ),
    "fallback": Story(
        plays.fallback,
        "Ended after 2.9 s: the caller hung up. The fallback instructions stood in for the tenant's own.",
        facts={"fallback_instructions": True},
        warnings=("instructions fallback used",),
        flags=("fallback",),
    ),
    "refused attach": Story(
        plays.refused_attach,
        "Ended after 2.9 s: the caller hung up. 2 tries to attach to the media session failed (404).",
        {"flag": "attach_refused"},
        {"flag": "tool_failed"},
        moments=("attach failed: 404, the first of 2 tries",),
        flags=("attach_refused",),
    ),
    "never attached": Story(
        plays.never_attached,
        "Accepted, but never started: it broke off (404). 3 tries to attach to the media session failed (404).",
        {"flag": "attach_refused", "outcome": "abandoned"},
        moments=("attach failed: 404, the first of 3 tries", "the call failed: 404", "connect failed: 404"),
        warnings=("call abandoned",),
        flags=("attach_refused",),
    ),
    "capacity": Story(
        calls.rejected,
        "Turned away after 12 ms: there was no free slot; the tenant's limit of 10 was reached, with 10 in use.",
        {"reason": "capacity"},
        {"reason": "carrier_error"},
        {"state": "rejected"},
    ),
    "lookup failed": Story(
        plays.lookup_failed,
        "Turned away after 12 ms: the tenant of the dialled number could not be looked up (timeout).",
        {"reason": "tenant_lookup_failed", "error_type": "timeout"},
        {"reason": "tenant_not_configured"},
    ),
    "no instructions": Story(
        plays.no_instructions,
        "Turned away after 12 ms: there were no instructions for the agent.",
        {"reason": "instructions_missing"},
        moments=("instructions error: OperationalError",),
        warnings=("instructions failed",),
    ),
    "refused acceptance": Story(
        plays.refused_acceptance,
        "Turned away after 312 ms: the carrier did not take the acceptance (500).",
        {"error_type": "500"},
        {"error_type": "404"},
        moments=("accept failed: 500",),
    ),
    "canceled": Story(
        plays.canceled,
        "Not answered: the caller gave up before it was decided.",
        {"outcome": "unanswered", "slower_than": 3},
        {"slower_than": 4},
        {"longest_wait_seconds": 3.012},
    ),
    "transferred": Story(
        plays.transferred,
        "Ended after 3.2 s: it was handed to billing.",
        {"outcome": "referred"},
        {"flag": "transfer_refused"},
        {"referred_to": "billing"},
    ),
    "refused transfer by a tool": Story(
        plays.refused_transfer_by_a_tool,
        "Ended after 3.1 s: the caller hung up after the transfer to support was refused (503).",
        {"flag": "transfer_refused", "failed_tool": "transfer_call"},
        {"failed_tool": "current_time"},
        moments=("transfer failed: 503", "tool transfer_call failed: 503"),
        warnings=("phase failed", "tool failed"),
        flags=("tool_failed", "transfer_refused"),
    ),
    "unknown tool": Story(
        plays.unknown_tool,
        "Ended after 5.9 s: the caller hung up after an unknown tool failed.",
        {"failed_tool": "_other"},
        {"failed_tool": "transfer_call"},
        moments=("unknown tool failed",),
        warnings=("tool failed",),
        flags=("tool_failed",),
    ),
    "bad arguments": Story(
        plays.bad_arguments,
        "Ended after 5.9 s: the caller hung up after tool transfer_call failed (invalid_arguments).",
        {"failed_tool": "transfer_call"},
        {"flag": "transfer_refused"},
        moments=("tool transfer_call failed: invalid_arguments",),
        warnings=("tool failed",),
        flags=("tool_failed",),
    ),
    "broken off": Story(
        plays.broken_off,
        "Failed after 8.6 s: it broke off (connection_lost).",
        {"outcome": "failed", "error_type": "connection_lost"},
        {"outcome": "hangup"},
        moments=("the call failed: connection_lost",),
        warnings=("call ended",),
    ),
    "swept": Story(
        plays.swept,
        "Ended after 2.8 s: nothing was heard of it for too long.",
        {"outcome": "stale"},
        {"outcome": "shutdown"},
    ),
    "stopped": Story(
        plays.stopped, "Ended after 2.8 s: the service was stopped.", {"reason": "shutdown"}, {"reason": "stale"}
    ),
    "too long": Story(
        plays.too_long,
        "Ended after 8.6 s: it had run for as long as a call may.",
        {"outcome": "max_duration"},
    ),
    "too silent": Story(
        plays.too_silent,
        "Ended after 1 min 03 s: nobody had spoken for as long as a call may be silent. Nobody spoke for 1 min 00 s.",
        {"outcome": "silence", "silent_longer_than": 59},
        {"silent_longer_than": 61},
        moments=("nobody speaks for 1 min 00 s",),
        flags=("dead_air", "long_silence"),
    ),
    "interrupted": Story(
        plays.interrupted,
        "Ended after 9.0 s: the caller hung up.",
        {"interrupted": "true", "flag": "interrupted"},
        {"interrupted": "false"},
        {"turn_count": 2, "interruption_count": 1, "greeting_interrupted": False},
        ("the caller interrupts the agent after 1.5 s of speech",),
        flags=("interrupted",),
    ),
    "waiting": Story(
        plays.waiting,
        "Running for 8.3 s; the caller has been waiting for an answer for 4.5 s.",
        {"state": "running", "slower_than": 4},
        {"slower_than": 5},
        {"longest_wait_seconds": 4.5},
        ("turn 1 had no answer for 4.5 s",),
        flags=("slow_answer", "dead_air"),
    ),
    "quiet": Story(
        plays.quiet,
        "Running for 14.8 s. Nobody spoke for 12.0 s.",
        {"flag": "long_silence", "silent_longer_than": 11},
        {"silent_longer_than": 13},
        {"longest_silence_seconds": 12.0},
        ("nobody speaks for 12.0 s",),
        flags=("dead_air", "long_silence"),
    ),
    "undecided": Story(
        plays.undecided,
        "Being decided upon for 2.0 s.",
        {"state": "pending"},
        {"state": "running"},
    ),
    "not attached yet": Story(
        plays.not_attached_yet,
        "Accepted 1.0 s after it was received; its media session has not begun.",
        {"state": "accepted"},
        {"state": "started"},
    ),
    "reattached": Story(
        plays.reattached,
        "Ended after 9.6 s: the caller hung up. One try to attach to the media session failed (503).",
        {"flag": "attach_refused"},
        moments=("attach failed: 503",),
        flags=("attach_refused",),
    ),
    "resumed": Story(
        plays.resumed,
        "Ended after 35.2 s: the caller hung up. Taken over from another process 30.0 s after it was received.",
        {"caller_ends_with": "5678", "flag": "taken_over"},
        {"caller_ends_with": "5679"},
        {
            "received_at": "2027-01-15T07:59:30Z",
            "caller": "…5678",
            "turn_count": 4,
            "setup_seconds": 0.1,
            "time_to_first_audio_seconds": 1.0,
            "seen_from_seconds": 30.0,
        },
        flags=("taken_over",),
    ),
    "resumed from the lost": Story(
        plays.resumed_from_the_lost,
        "Running for 37.5 s. Taken over from a process that was lost 30.0 s after it was received.",
        {"caller_hash": "c797d50ec17bf310"},
        {"caller_hash": "c797d50ec17bf311"},
        {"longest_silence_seconds": 8.0, "resumed": True},
        flags=("dead_air", "taken_over"),
    ),
    "taken up": Story(
        plays.taken_up,
        "Turned away after 30.0 s: there were no instructions for the agent. "
        "Taken over from another process 30.0 s after it was received.",
        {"caller_ends_with": "78", "slower_than": 29},
        {"slower_than": 31},
        flags=("taken_over",),
    ),
    "lost": Story(
        plays.lost,
        "Ended after 24.5 s: its process was lost (killed, or cut off from the database), and nobody saw the end. "
        "No process remembers the call: this is what its record keeps.",
        {"outcome": "stale", "caller_ends_with": "5678", "flag": "lost"},
        {"outcome": "hangup"},
        {"ended_at": "2027-01-15T07:59:55Z", "from_record": True},
        warnings=("call ended",),
        flags=("lost",),
    ),
    "over meanwhile": Story(
        plays.over_meanwhile,
        "Ended after 24.5 s: its process was stopped, and nobody saw the end before another could go on with it. "
        "No process remembers the call: this is what its record keeps.",
        {"outcome": "stale"},
        {"outcome": "hangup"},
        warnings=("call ended",),
        flags=("lost",),
    ),
    "lost undecided": Story(
        plays.lost_undecided,
        "Turned away after 25.0 s: its process was lost (killed, or cut off from the database) before it "
        "had decided. No process remembers the call: this is what its record keeps.",
        {"outcome": "rejected", "error_type": "stale"},
        warnings=("call rejected",),
        flags=("lost",),
    ),
    "handed over": Story(
        plays.handed_over,
        "Left to another process, which goes on with it.",
        {"outcome": "handed_over"},
        {"outcome": "shutdown"},
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
    for name, fact in story.facts.items():
        assert told[name] == (pytest.approx(fact) if isinstance(fact, float) else fact), name
    (found,) = admin.get(CALLS, params=story.finds).json()["calls"]
    assert (found["call_id"], tuple(found["flags"])) == ("rtc_1", story.flags)
    assert (found["received_at"], found["outcome"]) == (told["received_at"], told["outcome"])
    assert found["duration_seconds"] == pytest.approx(told["duration_seconds"])
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
    plays.failed_tool(gateway.kit)
    told = admin.get(STORY).json()
    (tool,) = told["tools"]
    (moment,) = [m for m in waterfall(CallDetail.model_validate(told)).moments if "failed" in m.text]
    assert moment.at == pytest.approx(tool["offset_seconds"] + 3.1)
