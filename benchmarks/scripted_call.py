"""The call that benchmarks record: from its announcement to its end, with a greeting and two turns."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from telemetry.calls.events import Phase, TokenUsage
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import EndReason

MODEL = "gpt-realtime"
USAGE = TokenUsage(input=120, output=40)
BEFORE_ACCEPTING = (Phase.TENANT_LOOKUP, Phase.CAPACITY, Phase.INSTRUCTIONS, Phase.ACCEPT)
TURNS = 2

Step = Callable[[], object]
"""Called between the parts of a call; lets time pass where time is a fake."""


class Recorded(Protocol):
    """One call as whoever handles it sees it: it reports what happens, in different places and at different times."""

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        """Time a phase of the call's path."""
        ...

    def accepted(self) -> object:
        """The carrier took the acceptance."""
        ...

    def started(self) -> object:
        """The media session runs."""
        ...

    def caller_started_speaking(self) -> None:
        """A turn begins."""
        ...

    def caller_stopped_speaking(self) -> None:
        """The wait for the answer begins."""
        ...

    def agent_started_speaking(self) -> None:
        """The answer is heard."""
        ...

    def agent_stopped_speaking(self) -> None:
        """The answer is over."""
        ...

    def tokens_used(self, usage: TokenUsage, model: str) -> None:
        """A response was billed."""
        ...

    def heartbeat(self) -> None:
        """The call runs, and its time is counted up to here."""
        ...

    def ended(self, reason: EndReason) -> object:
        """The call is over."""
        ...


def run(call: Recorded, tick: Step) -> None:
    """Let the call that has come in happen."""
    for phase in BEFORE_ACCEPTING:
        with call.phase(phase):
            tick()
    call.accepted()
    with call.phase(Phase.CONNECT):
        tick()
    call.started()
    call.agent_started_speaking()
    tick()
    call.agent_stopped_speaking()
    for _ in range(TURNS):
        call.caller_started_speaking()
        tick()
        call.caller_stopped_speaking()
        tick()
        call.agent_started_speaking()
        tick()
        call.tokens_used(USAGE, MODEL)
        call.agent_stopped_speaking()
    tick()
    call.heartbeat()
    tick()
    call.ended(EndReason.HANGUP)


def through_the_library(tracker: CallTracker, call_id: str, tenant: str, tick: Step) -> None:
    """Record the call by reporting it to the library."""
    run(tracker.received(call_id, tenant), tick)
