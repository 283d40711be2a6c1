"""The states of a call and the transitions between them, as data."""

from enum import StrEnum
from typing import Final

from telemetry.semconv.attributes import Violation


class CallState(StrEnum):
    """The states of a call."""

    PENDING = "pending"
    """Received and not decided; holds a slot."""
    ACCEPTED = "accepted"
    """The carrier took the acceptance; still holds its pending slot."""
    STARTED = "started"
    """The media session runs."""
    REJECTED = "rejected"
    UNANSWERED = "unanswered"
    """The other side gave up or could not be had before a decision."""
    ABANDONED = "abandoned"
    """Accepted, never started."""
    ENDED = "ended"
    HANDED_OVER = "handed_over"
    """Left to another process; the call itself goes on."""

    @property
    def terminal(self) -> bool:
        """True if no transition leads away from this state."""
        return self in TERMINAL

    @property
    def pending(self) -> bool:
        """True if a call in this state counts in ``voice.call.pending``."""
        return self in UNSTARTED


TERMINAL: Final = frozenset(
    {CallState.REJECTED, CallState.UNANSWERED, CallState.ABANDONED, CallState.ENDED, CallState.HANDED_OVER}
)

UNSTARTED: Final = frozenset({CallState.PENDING, CallState.ACCEPTED})


class Transition(StrEnum):
    """The transitions that can be reported."""

    RECEIVED = "received"
    REJECTED = "rejected"
    UNANSWERED = "unanswered"
    ACCEPTED = "accepted"
    STARTED = "started"
    ABANDONED = "abandoned"
    REFERRED = "referred"
    ENDED = "ended"
    HANDED_OVER = "handed_over"

    @property
    def bit(self) -> int:
        """The transition's bit in a set of transitions kept as a number: one small integer a call."""
        return _BITS[self]


_BITS: Final = {transition: 1 << position for position, transition in enumerate(Transition)}

_PENDING: Final = frozenset({CallState.PENDING})
_ACCEPTED: Final = frozenset({CallState.ACCEPTED})
_STARTED: Final = frozenset({CallState.STARTED})

STEPS: Final[dict[Transition, tuple[frozenset[CallState], CallState]]] = {
    Transition.REJECTED: (_PENDING, CallState.REJECTED),
    Transition.UNANSWERED: (_PENDING, CallState.UNANSWERED),
    Transition.ACCEPTED: (_PENDING, CallState.ACCEPTED),
    Transition.STARTED: (_ACCEPTED, CallState.STARTED),
    Transition.ABANDONED: (_ACCEPTED, CallState.ABANDONED),
    Transition.REFERRED: (_STARTED, CallState.STARTED),
    Transition.ENDED: (_STARTED, CallState.ENDED),
    Transition.HANDED_OVER: (_PENDING | _ACCEPTED | _STARTED, CallState.HANDED_OVER),
}
"""The states that each transition leads from, and the one it leads to."""


def violation_of(transition: Transition, state: CallState, *, made_before: bool) -> Violation | None:
    """Return how ``transition`` breaks the lifecycle in ``state``, None if it is allowed.

    A transition the call has made before is a duplicate wherever the call stands now.
    """
    if made_before:
        return Violation.DUPLICATE
    if state in TERMINAL:
        return Violation.AFTER_END
    if state not in STEPS[transition][0]:
        return Violation.OUT_OF_ORDER
    return None
