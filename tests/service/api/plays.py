"""Calls with a known story, played into a pipeline."""

from asyncio import CancelledError
from contextlib import suppress

from service.gateway.carriers.carrier import CarrierError
from service.gateway.tools import ToolError
from telemetry.calls.call import Call
from telemetry.calls.events import CallBefore, Phase, TokenUsage
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, EndReason, RejectionReason, UnansweredReason
from telemetry.testing import TelemetryKit
from tests.support import calls


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
