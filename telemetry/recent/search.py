"""The query for recent calls, its pages, and the cursors between them."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from telemetry.calls.lifecycle import TERMINAL, CallState
from telemetry.clock import Instant
from telemetry.recent.record import CallFlag, CallOutcome, CallSummary
from telemetry.semconv.attributes import (
    CallDirection,
    EndReason,
    Fault,
    RejectionReason,
    TenantId,
    UnansweredReason,
)

RUNNING: Final = frozenset({CallState.ACCEPTED, CallState.STARTED})
"""The states of a call that was accepted and is not over."""

OVER: Final = TERMINAL
"""The states of a call that is over."""

ANY_STATE: Final = frozenset(CallState)


@dataclass(frozen=True, slots=True)
class CallQuery:
    """The conditions that a call must meet; None is no condition."""

    states: frozenset[CallState] = ANY_STATE
    tenant_id: TenantId | None = None
    outcome: CallOutcome | None = None
    slower_than: float | None = None
    """Seconds that :attr:`CallSummary.longest_wait` must exceed."""
    since: float | None = None
    """Earliest reception, in seconds since 1970 UTC."""
    until: float | None = None
    """End of the receptions, exclusive, in seconds since 1970 UTC."""
    caller_ends_with: str | None = None
    """The last digits of the caller's number, at most four."""
    caller_hash: str | None = None
    """The keyed hash of the caller's number."""
    reason: RejectionReason | UnansweredReason | EndReason | None = None
    """The reason of a rejection, of an unanswered call, or of an end."""
    error_type: str | None = None
    fault: Fault | None = None
    direction: CallDirection | None = None
    source: str | None = None
    failed_tool: str | None = None
    """A tool that failed in the call; its registered name, or ``_other``."""
    interrupted: bool | None = None
    """True: the caller cut the agent short; False: never."""
    talked_over: bool | None = None
    """True: the agent began to speak while the caller spoke; False: never."""
    flag: CallFlag | None = None
    silent_longer_than: float | None = None
    """Seconds that :attr:`CallSummary.longest_silence` must exceed; shorter silences than three seconds are none."""

    def may_admit(self, state: CallState, tenant_id: TenantId, received: Instant) -> bool:
        """Return False if the call cannot match, from what is known without making its summary."""
        seconds = received.unix_nanos / 1e9
        return (
            state in self.states
            and (self.tenant_id is None or tenant_id == self.tenant_id)
            and (self.since is None or seconds >= self.since)
            and (self.until is None or seconds < self.until)
        )

    def admits(self, call: CallSummary) -> bool:
        """Return True if the call meets every condition."""
        return (
            self.may_admit(call.state, call.tenant_id, call.received)
            and (self.outcome is None or call.outcome is self.outcome)
            and (self.slower_than is None or call.longest_wait > self.slower_than)
            and (self.caller_ends_with is None or (call.caller or "").endswith(self.caller_ends_with))
            and (self.caller_hash is None or call.caller_hash == self.caller_hash)
            and self._admits_reason(call)
            and (self.direction is None or call.direction is self.direction)
            and (self.source is None or call.source == self.source)
            and self._admits_conversation(call)
        )

    def _admits_reason(self, call: CallSummary) -> bool:
        reasons = (call.rejection_reason, call.unanswered_reason, call.end_reason)
        return (
            (self.reason is None or self.reason in reasons)
            and (self.error_type is None or call.error_type == self.error_type)
            and (self.fault is None or call.fault is self.fault)
        )

    def _admits_conversation(self, call: CallSummary) -> bool:
        return (
            (self.failed_tool is None or self.failed_tool in call.failed_tools)
            and (self.interrupted is None or bool(call.interruptions) is self.interrupted)
            and (self.talked_over is None or bool(call.talked_over) is self.talked_over)
            and (self.flag is None or self.flag in call.flags)
            and (self.silent_longer_than is None or call.longest_silence > self.silent_longer_than)
        )


class Reception(NamedTuple):
    """A call's place in the order of receptions, which means the same in every process."""

    unix_micros: int
    call_id: str

    @classmethod
    def of(cls, call_id: str, received: Instant) -> Self:
        """Return the place of a call that was received at this moment."""
        return cls(received.unix_nanos // 1_000, call_id)


@dataclass(frozen=True, slots=True)
class CallPage:
    """One page of matching calls, newest first."""

    calls: tuple[CallSummary, ...]
    next_before: int | None
    """Place where the next page begins, None on the last one. It stays valid while calls come and go."""
