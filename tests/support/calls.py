"""Calls of every kind an engineer has to look into, played through the real pipeline on a clock of their own."""

import random
from contextlib import suppress

from telemetry.calls.call import Call
from telemetry.calls.events import LimitHit, Phase, TokenUsage
from telemetry.semconv.attributes import CapacityScope, EndReason, RejectionReason
from telemetry.testing import TelemetryKit

CALLER = "+33612345678"
DIALLED = "+18005550100"


def announced(kit: TelemetryKit, call_id: str = "rtc_1", tenant_id: str = "acme") -> Call:
    """A call whose tenant took 12 ms to find."""
    at = kit.clock.now()
    ref = kit.tracker.announced(call_id, at=at)
    with kit.tracker.phase(ref, Phase.TENANT_LOOKUP):
        kit.clock.advance(0.012)
    return kit.tracker.received(call_id, tenant_id, at=at, caller=CALLER, dialled=DIALLED)


def started(kit: TelemetryKit, call_id: str = "rtc_1", tenant_id: str = "acme") -> Call:
    """A call whose media session runs, 370 ms after it was announced."""
    call = announced(kit, call_id, tenant_id)
    with call.phase(Phase.INSTRUCTIONS):
        kit.clock.advance(0.008)
    with call.phase(Phase.ACCEPT):
        kit.clock.advance(0.23)
    call.accepted()
    with call.phase(Phase.CONNECT):
        kit.clock.advance(0.12)
    call.started()
    return call


def turn(kit: TelemetryKit, call: Call, *, ask: float = 2.0, wait: float = 0.7, answer: float = 3.0) -> None:
    """The caller asks, waits, and is answered."""
    call.caller_started_speaking()
    kit.clock.advance(ask)
    call.caller_stopped_speaking()
    kit.clock.advance(wait)
    call.agent_started_speaking()
    kit.clock.advance(answer)
    call.agent_stopped_speaking()
    call.tokens_used(TokenUsage(input=120, output=60, input_audio=100), "gpt-realtime-2.1", "resp_1")


def interrupted_turn(kit: TelemetryKit, call: Call) -> None:
    """The caller asks and cuts the answer short after 1.2 s; the next turn has begun."""
    call.caller_started_speaking()
    kit.clock.advance(1.5)
    call.caller_stopped_speaking()
    kit.clock.advance(0.6)
    call.agent_started_speaking()
    kit.clock.advance(1.2)
    call.caller_started_speaking()
    kit.clock.advance(0.3)
    call.agent_stopped_speaking(interrupted=True)


def greeting(kit: TelemetryKit, call: Call, seconds: float = 2.4) -> None:
    """The agent speaks first."""
    kit.clock.advance(0.45)
    call.agent_started_speaking()
    kit.clock.advance(seconds)
    call.agent_stopped_speaking()


def failed_tool(kit: TelemetryKit, call: Call, seconds: float = 3.1) -> None:
    """A tool that gives up; its error quotes a number."""
    with suppress(TimeoutError), call.tool("book_table", "call_2"):
        kit.clock.advance(seconds)
        raise TimeoutError("no answer from +4930123456")


def rejected(kit: TelemetryKit) -> Call:
    """Turned away at a tenant's limit of ten."""
    call = announced(kit)
    with call.phase(Phase.REJECT):
        call.rejected(RejectionReason.CAPACITY, limit=LimitHit(CapacityScope.TENANT, 10, 10))
        kit.clock.advance(0.09)
    return call


def at_once(kit: TelemetryKit) -> Call:
    """Hung up by the caller a second after it came in."""
    call = started(kit)
    kit.clock.advance(0.63)
    call.ended(EndReason.HANGUP)
    return call


def ordinary(kit: TelemetryKit) -> Call:
    """A minute's conversation with a bit of everything, transferred at the end."""
    call = started(kit)
    greeting(kit, call)
    turn(kit, call)
    interrupted_turn(kit, call)
    kit.clock.advance(1.8)
    call.caller_stopped_speaking()
    with call.tool("lookup_order", "call_1"):
        kit.clock.advance(1.1)
    kit.clock.advance(1.6)
    call.agent_started_speaking()
    kit.clock.advance(5.0)
    call.agent_stopped_speaking()
    failed_tool(kit, call)
    call.session_error("rate_limit_exceeded")
    for _ in range(4):
        turn(kit, call, wait=0.9)
    with call.phase(Phase.TRANSFER):
        kit.clock.advance(0.4)
    call.referred("billing")
    kit.clock.advance(0.8)
    call.ended(EndReason.REFERRED)
    return call


def hour_long(kit: TelemetryKit, turns: int = 500) -> Call:
    """An hour's conversation of many turns, some interrupted, some with tools, that breaks off in error."""
    chance = random.Random(7)  # noqa: S311 -- the same calls every time
    call = started(kit)
    greeting(kit, call)
    for number in range(turns):
        if number % 9 == 4:
            interrupted_turn(kit, call)
            kit.clock.advance(chance.uniform(0.5, 2))
            call.caller_stopped_speaking()
        else:
            turn(
                kit, call, ask=chance.uniform(1, 4), wait=chance.lognormvariate(-0.4, 0.5), answer=chance.uniform(1, 5)
            )
        if number % 7 == 3:
            with call.tool("lookup_order", f"call_{number}"):
                kit.clock.advance(chance.uniform(0.1, 1))
        call.heartbeat()
    call.ended(EndReason.ERROR, error_type="SessionLost")
    return call


def running(kit: TelemetryKit) -> Call:
    """In the middle of a turn: the caller has asked and waits, and a tool is under way."""
    call = started(kit)
    greeting(kit, call)
    turn(kit, call)
    turn(kit, call, wait=1.4)
    call.caller_started_speaking()
    kit.clock.advance(2.2)
    call.caller_stopped_speaking()
    return call
