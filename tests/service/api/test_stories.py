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
from service.gateway.tools import ToolError
from service.timeline.detail import CallDetail
from service.timeline.terminal import render_terminal
from service.timeline.timeline import waterfall
from telemetry.calls.call import Call
from telemetry.calls.events import CallBefore, Phase, TokenUsage
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, EndReason, RejectionReason, UnansweredReason
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
    """Log lines above INFO."""
    flags: tuple[str, ...] = ()
    """What is worth a look."""


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


def tries_to_attach(kit: TelemetryKit, call: Call, *, refused: int, works: bool) -> None:
    """Have the carrier refuse so many tries to attach, 0.2 s each, before one works, or none does."""
    with call.phase(Phase.CONNECT):
        for resends in range(refused):
            with suppress(CarrierError), call.attach_try(resends):
                kit.clock.advance(0.2)
                raise CarrierError("404", 404)
        if not works:
            raise CarrierError("404", 404)
        with call.attach_try(refused):
            kit.clock.advance(0.1)


def refused_attach(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    call.accepted()
    tries_to_attach(kit, call, refused=2, works=True)
    call.started()
    calls.greeting(kit, call)
    call.ended(EndReason.HANGUP)


def never_attached(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    call.accepted()
    with suppress(CarrierError):
        tries_to_attach(kit, call, refused=3, works=False)
    call.abandoned(EndReason.ERROR, error_type="404")


def lookup_failed(kit: TelemetryKit) -> None:
    calls.announced(kit, tenant_id=UNKNOWN_TENANT).rejected(RejectionReason.TENANT_LOOKUP_FAILED, error_type="timeout")


def no_instructions(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    call.instructions_failed("OperationalError")
    call.rejected(RejectionReason.INSTRUCTIONS_MISSING)


def refused_acceptance(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    with suppress(CarrierError), call.phase(Phase.ACCEPT):
        kit.clock.advance(0.3)
        raise CarrierError("500", 500)
    call.rejected(RejectionReason.CARRIER_ERROR, error_type="500")


def canceled(kit: TelemetryKit) -> None:
    call = calls.announced(kit)
    kit.clock.advance(3)
    call.unanswered(UnansweredReason.CANCELED)


def transferred(kit: TelemetryKit) -> None:
    call = talking(kit)
    with call.tool("transfer_call", "call_1"), call.phase(Phase.TRANSFER, "billing"):
        kit.clock.advance(0.4)
    call.referred("billing")
    call.ended(EndReason.REFERRED)


def refused_transfer_by_a_tool(kit: TelemetryKit) -> None:
    call = talking(kit)
    with suppress(CarrierError), call.tool("transfer_call", "call_1"):
        with call.tool("current_time", "call_2"):
            kit.clock.advance(0.1)
        refusing = call.phase(Phase.TRANSFER, "support")
        with refusing:
            kit.clock.advance(0.2)
            raise CarrierError("503", 503)
    call.ended(EndReason.HANGUP)


def unusable_tool(kit: TelemetryKit, name: str, error: ToolError) -> None:
    call = talking(kit)
    asks(kit, call, wait=0)
    with suppress(ToolError), call.tool(name, "call_1"):
        kit.clock.advance(0.01)
        raise error
    answers(kit, call, 2)
    call.ended(EndReason.HANGUP)


def unknown_tool(kit: TelemetryKit) -> None:
    unusable_tool(kit, OTHER, ToolError("there is no such tool", "unknown_tool"))


def bad_arguments(kit: TelemetryKit) -> None:
    unusable_tool(kit, "transfer_call", ToolError("arguments are not JSON"))


def broken_off(kit: TelemetryKit) -> None:
    call = talking(kit)
    calls.turn(kit, call)
    call.ended(EndReason.ERROR, error_type="connection_lost")


def swept(kit: TelemetryKit) -> None:
    talking(kit)
    kit.clock.advance(300)
    kit.tracker.sweep(120)


def stopped(kit: TelemetryKit) -> None:
    talking(kit).ended(EndReason.SHUTDOWN)


def too_long(kit: TelemetryKit) -> None:
    call = talking(kit)
    calls.turn(kit, call)
    call.ended(EndReason.MAX_DURATION)


def too_silent(kit: TelemetryKit) -> None:
    call = talking(kit)
    kit.clock.advance(60)
    call.ended(EndReason.SILENCE)


def interrupted(kit: TelemetryKit) -> None:
    call = talking(kit)
    calls.interrupted_turn(kit, call)
    kit.clock.advance(1)
    call.caller_stopped_speaking()
    kit.clock.advance(0.5)
    answers(kit, call, 1)
    call.ended(EndReason.HANGUP)


def waiting(kit: TelemetryKit) -> None:
    asks(kit, talking(kit), wait=4.5)


def quiet(kit: TelemetryKit) -> None:
    talking(kit)
    kit.clock.advance(12)


def undecided(kit: TelemetryKit) -> None:
    calls.announced(kit)
    kit.clock.advance(2)


def not_attached_yet(kit: TelemetryKit) -> None:
    calls.announced(kit).accepted()
    kit.clock.advance(1)


def reattached(kit: TelemetryKit) -> None:
    call = talking(kit)
    broke = kit.clock.now()
    call.unobserved()
    kit.clock.advance(0.5)
    call.passed(Phase.ATTACH, broke, error_type="503")
    began = kit.clock.now()
    kit.clock.advance(0.5)
    call.passed(Phase.ATTACH, began, resends=1)
    call.passed(Phase.REATTACH, broke)
    calls.turn(kit, call)
    call.ended(EndReason.HANGUP)


def recorded(kit: TelemetryKit, *, handed_over: bool = True, started: bool = True) -> CallBefore:
    """Return what is on record of a call that was received 30 s ago, and started and heard unless it was not."""
    now = kit.clock.now()
    return CallBefore(
        received=now.minus(30),
        decided=now.minus(29.9) if started else None,
        started=now.minus(29.5) if started else None,
        first_audio=now.minus(29) if started else None,
        caller_masked="…5678",
        caller_hash="c797d50ec17bf310",
        dialled_masked="…0100",
        turns=3 if started else 0,
        longest_wait_seconds=1.5 if started else 0.0,
        tokens=TokenUsage(input=900, output=300) if started else TokenUsage(),
        handed_over=handed_over,
    )


def taken_over(kit: TelemetryKit, state: CallState = CallState.STARTED, **left: bool) -> Call:
    """Return a call that another process left five seconds ago."""
    before = recorded(kit, **left)
    last = kit.clock.now().minus(5)
    return kit.tracker.taken_over("rtc_1", "acme", state, at=last, since=last, before=before)


def resumed(kit: TelemetryKit) -> None:
    call = taken_over(kit)
    calls.turn(kit, call)
    call.ended(EndReason.HANGUP)


def resumed_from_the_lost(kit: TelemetryKit) -> None:
    taken_over(kit, handed_over=False)
    kit.clock.advance(8)


def taken_up(kit: TelemetryKit) -> None:
    taken_over(kit, CallState.PENDING, started=False).rejected(RejectionReason.INSTRUCTIONS_MISSING)


def lost(kit: TelemetryKit) -> None:
    before = recorded(kit, handed_over=False)
    kit.tracker.lost("rtc_1", "acme", CallState.STARTED, before, at=kit.clock.now().minus(5))


def over_meanwhile(kit: TelemetryKit) -> None:
    before = recorded(kit)
    kit.tracker.lost("rtc_1", "acme", CallState.STARTED, before, at=kit.clock.now().minus(5))


def lost_undecided(kit: TelemetryKit) -> None:
    before = recorded(kit, handed_over=False, started=False)
    kit.tracker.lost("rtc_1", "acme", CallState.PENDING, before, at=kit.clock.now().minus(5))


def handed_over(kit: TelemetryKit) -> None:
    talking(kit).handed_over()


STORIES = {
    "without an answer": Story(
        without_an_answer,
        "Ended after 10.0 s: the caller hung up 6.1 s after asking, without an answer.",
        {"slower_than": 6, "reason": "hangup"},
        {"slower_than": 6.2},
        {"longest_wait_seconds": 6.1},
        ("turn 1 had no answer for 6.1 s",),
        flags=("slow_answer", "dead_air"),
    ),
    "before the agent": Story(
        before_the_agent,
        "Ended after 4.0 s: the caller hung up before the agent had spoken.",
        {"slower_than": 4},
        flags=("dead_air",),
    ),
    "failed tool": Story(
        failed_tool,
        "Ended after 9.0 s: the caller hung up after tool book_table failed (TimeoutError).",
        {"failed_tool": "book_table"},
        {"failed_tool": "lookup_order"},
        moments=("turn 1 was answered after 3.1 s", "tool book_table failed: TimeoutError"),
        warnings=("tool failed",),
        flags=("slow_answer", "dead_air", "tool_failed"),
    ),
    "overcome tool": Story(
        overcome_tool,
        "Ended after 11.7 s: the caller hung up.",
        {"failed_tool": "book_table"},
        moments=("tool book_table failed: TimeoutError",),
        warnings=("tool failed",),
        flags=("dead_air", "tool_failed"),
    ),
    "refused transfer": Story(
        refused_transfer,
        "Ended after 6.0 s: the caller hung up after the transfer to support was refused (503).",
        {"outcome": "hangup"},
        {"outcome": "referred"},
        moments=("transfer failed: 503",),
        warnings=("phase failed",),
        flags=("dead_air", "transfer_refused"),
    ),
    "rate limit": Story(
        rate_limit,
        "Ended after 6.2 s: the caller hung up 2.4 s after asking, without an answer, "
        "after the carrier reported rate_limit_exceeded.",
        {"slower_than": 2},
        moments=("turn 1 had no answer for 2.4 s", "session error: rate_limit_exceeded"),
        warnings=("session error",),
        flags=("slow_answer",),
    ),
    "ended by the agent": Story(
        ended_by_the_agent, "Ended after 2.9 s: the agent ended it.", {"reason": "completed"}, {"reason": "hangup"}
    ),
    "refused hang-up": Story(
        refused_hangup,
        "Running for 4.0 s, after the hang-up was refused (503).",
        {"state": "started"},
        {"state": "over"},
        {"state": "started"},
        ("hangup failed: 503",),
        ("phase failed",),
        flags=("hangup_refused",),
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
        flags=("interrupted",),
    ),
    "talked over": Story(
        talked_over,
        "Ended after 6.3 s: the caller hung up. The agent talked over the caller.",
        {"talked_over": "true"},
        {"talked_over": "false"},
        {"talked_over_count": 1},
        ("the agent talks over the caller for 1.5 s",),
        flags=("talked_over",),
    ),
    "silent": Story(
        silent,
        "Ended after 28.5 s: the caller hung up. Nobody spoke for 20.0 s.",
        {"silent_longer_than": 19},
        {"silent_longer_than": 21},
        {"longest_silence_seconds": 20.0},
        ("nobody speaks for 20.0 s",),
        flags=("dead_air", "long_silence"),
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
        "Turned away after 12 ms: the dialled number reaches no tenant.",
        {"reason": "tenant_not_configured"},
        {"reason": "capacity"},
    ),
    "disabled tenant": Story(
        disabled_tenant,
        "Turned away after 12 ms: the tenant of the dialled number is disabled.",
        {"tenant_id": "acme", "outcome": "rejected"},
    ),
    "fallback": Story(
        fallback,
        "Ended after 2.9 s: the caller hung up. The fallback instructions stood in for the tenant's own.",
        facts={"fallback_instructions": True},
        warnings=("instructions fallback used",),
        flags=("fallback",),
    ),
    "refused attach": Story(
        refused_attach,
        "Ended after 2.9 s: the caller hung up. 2 tries to attach to the media session failed (404).",
        {"flag": "attach_refused"},
        {"flag": "tool_failed"},
        moments=("attach failed: 404, the first of 2 tries",),
        flags=("attach_refused",),
    ),
    "never attached": Story(
        never_attached,
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
        lookup_failed,
        "Turned away after 12 ms: the tenant of the dialled number could not be looked up (timeout).",
        {"reason": "tenant_lookup_failed", "error_type": "timeout"},
        {"reason": "tenant_not_configured"},
    ),
    "no instructions": Story(
        no_instructions,
        "Turned away after 12 ms: there were no instructions for the agent.",
        {"reason": "instructions_missing"},
        moments=("instructions error: OperationalError",),
        warnings=("instructions failed",),
    ),
    "refused acceptance": Story(
        refused_acceptance,
        "Turned away after 312 ms: the carrier did not take the acceptance (500).",
        {"error_type": "500"},
        {"error_type": "404"},
        moments=("accept failed: 500",),
    ),
    "canceled": Story(
        canceled,
        "Not answered: the caller gave up before it was decided.",
        {"outcome": "unanswered", "slower_than": 3},
        {"slower_than": 4},
        {"longest_wait_seconds": 3.012},
    ),
    "transferred": Story(
        transferred,
        "Ended after 3.2 s: it was handed to billing.",
        {"outcome": "referred"},
        {"flag": "transfer_refused"},
        {"referred_to": "billing"},
    ),
    "refused transfer by a tool": Story(
        refused_transfer_by_a_tool,
        "Ended after 3.1 s: the caller hung up after the transfer to support was refused (503).",
        {"flag": "transfer_refused", "failed_tool": "transfer_call"},
        {"failed_tool": "current_time"},
        moments=("transfer failed: 503", "tool transfer_call failed: 503"),
        warnings=("phase failed", "tool failed"),
        flags=("tool_failed", "transfer_refused"),
    ),
    "unknown tool": Story(
        unknown_tool,
        "Ended after 5.9 s: the caller hung up after an unknown tool failed.",
        {"failed_tool": "_other"},
        {"failed_tool": "transfer_call"},
        moments=("unknown tool failed",),
        warnings=("tool failed",),
        flags=("tool_failed",),
    ),
    "bad arguments": Story(
        bad_arguments,
        "Ended after 5.9 s: the caller hung up after tool transfer_call failed (invalid_arguments).",
        {"failed_tool": "transfer_call"},
        {"flag": "transfer_refused"},
        moments=("tool transfer_call failed: invalid_arguments",),
        warnings=("tool failed",),
        flags=("tool_failed",),
    ),
    "broken off": Story(
        broken_off,
        "Failed after 8.6 s: it broke off (connection_lost).",
        {"outcome": "failed", "error_type": "connection_lost"},
        {"outcome": "hangup"},
        moments=("the call failed: connection_lost",),
        warnings=("call ended",),
    ),
    "swept": Story(
        swept,
        "Ended after 2.8 s: nothing was heard of it for too long.",
        {"outcome": "stale"},
        {"outcome": "shutdown"},
    ),
    "stopped": Story(
        stopped, "Ended after 2.8 s: the service was stopped.", {"reason": "shutdown"}, {"reason": "stale"}
    ),
    "too long": Story(
        too_long,
        "Ended after 8.6 s: it had run for as long as a call may.",
        {"outcome": "max_duration"},
    ),
    "too silent": Story(
        too_silent,
        "Ended after 1 min 03 s: nobody had spoken for as long as a call may be silent. Nobody spoke for 1 min 00 s.",
        {"outcome": "silence", "silent_longer_than": 59},
        {"silent_longer_than": 61},
        moments=("nobody speaks for 1 min 00 s",),
        flags=("dead_air", "long_silence"),
    ),
    "interrupted": Story(
        interrupted,
        "Ended after 9.0 s: the caller hung up.",
        {"interrupted": "true", "flag": "interrupted"},
        {"interrupted": "false"},
        {"turn_count": 2, "interruption_count": 1, "greeting_interrupted": False},
        ("the caller interrupts the agent after 1.5 s of speech",),
        flags=("interrupted",),
    ),
    "waiting": Story(
        waiting,
        "Running for 8.3 s; the caller has been waiting for an answer for 4.5 s.",
        {"state": "running", "slower_than": 4},
        {"slower_than": 5},
        {"longest_wait_seconds": 4.5},
        ("turn 1 had no answer for 4.5 s",),
        flags=("slow_answer", "dead_air"),
    ),
    "quiet": Story(
        quiet,
        "Running for 14.8 s. Nobody spoke for 12.0 s.",
        {"flag": "long_silence", "silent_longer_than": 11},
        {"silent_longer_than": 13},
        {"longest_silence_seconds": 12.0},
        ("nobody speaks for 12.0 s",),
        flags=("dead_air", "long_silence"),
    ),
    "undecided": Story(
        undecided,
        "Being decided upon for 2.0 s.",
        {"state": "pending"},
        {"state": "running"},
    ),
    "not attached yet": Story(
        not_attached_yet,
        "Accepted 1.0 s after it was received; its media session has not begun.",
        {"state": "accepted"},
        {"state": "started"},
    ),
    "reattached": Story(
        reattached,
        "Ended after 9.6 s: the caller hung up. One try to attach to the media session failed (503).",
        {"flag": "attach_refused"},
        moments=("attach failed: 503",),
        flags=("attach_refused",),
    ),
    "resumed": Story(
        resumed,
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
        resumed_from_the_lost,
        "Running for 37.5 s. Taken over from a process that was lost 30.0 s after it was received.",
        {"caller_hash": "c797d50ec17bf310"},
        {"caller_hash": "c797d50ec17bf311"},
        {"longest_silence_seconds": 8.0, "resumed": True},
        flags=("dead_air", "taken_over"),
    ),
    "taken up": Story(
        taken_up,
        "Turned away after 30.0 s: there were no instructions for the agent. "
        "Taken over from another process 30.0 s after it was received.",
        {"caller_ends_with": "78", "slower_than": 29},
        {"slower_than": 31},
        flags=("taken_over",),
    ),
    "lost": Story(
        lost,
        "Ended after 24.5 s: its process was lost (killed, or cut off from the database), and nobody saw the end. "
        "No process remembers the call: this is what its record keeps.",
        {"outcome": "stale", "caller_ends_with": "5678", "flag": "lost"},
        {"outcome": "hangup"},
        {"ended_at": "2027-01-15T07:59:55Z", "from_record": True},
        warnings=("call ended",),
        flags=("lost",),
    ),
    "over meanwhile": Story(
        over_meanwhile,
        "Ended after 24.5 s: its process was stopped, and nobody saw the end before another could go on with it. "
        "No process remembers the call: this is what its record keeps.",
        {"outcome": "stale"},
        {"outcome": "hangup"},
        warnings=("call ended",),
        flags=("lost",),
    ),
    "lost undecided": Story(
        lost_undecided,
        "Turned away after 25.0 s: its process was lost (killed, or cut off from the database) before it "
        "had decided. No process remembers the call: this is what its record keeps.",
        {"outcome": "rejected", "error_type": "stale"},
        warnings=("call rejected",),
        flags=("lost",),
    ),
    "handed over": Story(
        handed_over,
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
    failed_tool(gateway.kit)
    told = admin.get(STORY).json()
    (tool,) = told["tools"]
    (moment,) = [m for m in waterfall(CallDetail.model_validate(told)).moments if "failed" in m.text]
    assert moment.at == pytest.approx(tool["offset_seconds"] + 3.1)
