"""Which calls are asked for, and where in the list of them a reader stands."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from telemetry.calls.lifecycle import TERMINAL, CallState
from telemetry.clock import Instant
from telemetry.recent.record import CallOutcome, CallSummary
from telemetry.semconv.attributes import TenantId

RUNNING: Final = frozenset({CallState.ACCEPTED, CallState.STARTED})
"""Taken and not over."""

OVER: Final = TERMINAL
"""Over, whichever way."""

ANY_STATE: Final = frozenset(CallState)


class InvalidCallCursorError(ValueError):
    """The cursor is not one that this record gave out."""


@dataclass(frozen=True, slots=True)
class CallQuery:
    """What is looked for; what is ``None`` does not matter."""

    states: frozenset[CallState] = ANY_STATE
    tenant_id: TenantId | None = None
    outcome: CallOutcome | None = None
    slower_than: float | None = None
    """Seconds: calls in which somebody waited longer, see :attr:`CallSummary.longest_wait`."""
    since: float | None = None
    """Seconds since 1970: calls received then or later."""
    until: float | None = None
    """Seconds since 1970: calls received before."""
    caller_ends_with: str | None = None
    """The last digits of the caller's number, at most four."""

    def may_admit(self, state: CallState, tenant_id: TenantId, received: Instant) -> bool:
        """Whether a call of which so much is known can be one of those looked for: cheaper than to know more of it."""
        seconds = received.unix_nanos / 1e9
        return (
            state in self.states
            and (self.tenant_id is None or tenant_id == self.tenant_id)
            and (self.since is None or seconds >= self.since)
            and (self.until is None or seconds < self.until)
        )

    def admits(self, call: CallSummary) -> bool:
        """Whether the call is one of those looked for."""
        return (
            self.may_admit(call.state, call.tenant_id, call.received)
            and (self.outcome is None or call.outcome is self.outcome)
            and (self.slower_than is None or call.longest_wait > self.slower_than)
            and (self.caller_ends_with is None or (call.caller or "").endswith(self.caller_ends_with))
        )


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some of the calls looked for, newest first."""

    calls: tuple[CallSummary, ...]
    next_cursor: str | None
    """Where the next page begins; ``None`` on the last one. Stays valid while calls come and go."""


def write_cursor(epoch: str, sequence: int) -> str:
    """The opaque text for "what was received before this call"; ``epoch`` tells processes apart."""
    return base64.urlsafe_b64encode(f"{epoch}:{sequence}".encode()).decode().rstrip("=")


def read_cursor(epoch: str, cursor: str) -> int:
    """The sequence number in a cursor.

    Raises:
        InvalidCallCursorError: it is malformed, or was given out by another process or before a restart.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidCallCursorError("not a cursor") from None
    given_epoch, _, sequence = text.partition(":")
    if given_epoch != epoch or not sequence.isdecimal():
        raise InvalidCallCursorError("a cursor of another process, or from before a restart")
    return int(sequence)
