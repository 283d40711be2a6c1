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
    ABANDONED = "abandoned"
    """Accepted, never started."""
    ENDED = "ended"

    @property
    def terminal(self) -> bool:
        """True if no transition leads away from this state."""
        return self in TERMINAL

    @property
    def pending(self) -> bool:
        """True if a call in this state counts in ``voice.call.pending``."""
        return self in UNSTARTED


TERMINAL: Final = frozenset({CallState.REJECTED, CallState.ABANDONED, CallState.ENDED})

UNSTARTED: Final = frozenset({CallState.PENDING, CallState.ACCEPTED})


class Transition(StrEnum):
    """The transitions that can be reported."""

    RECEIVED = "received"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    STARTED = "started"
    ABANDONED = "abandoned"
    REFERRED = "referred"
    ENDED = "ended"


STEPS: Final[dict[Transition, tuple[CallState, CallState]]] = {
    Transition.REJECTED: (CallState.PENDING, CallState.REJECTED),
    Transition.ACCEPTED: (CallState.PENDING, CallState.ACCEPTED),
    Transition.STARTED: (CallState.ACCEPTED, CallState.STARTED),
    Transition.ABANDONED: (CallState.ACCEPTED, CallState.ABANDONED),
    Transition.REFERRED: (CallState.STARTED, CallState.STARTED),
    Transition.ENDED: (CallState.STARTED, CallState.ENDED),
}
"""The state that each transition leads from, and the one it leads to."""


def _path_to(state: CallState) -> frozenset[Transition]:
    for transition, (before, after) in STEPS.items():
        if after is state and before is not state:
            return _path_to(before) | {transition}
    return frozenset({Transition.RECEIVED})


PATHS: Final = {state: _path_to(state) for state in CallState}
"""The transitions that a call in a state has made. A referral is not among them: it leaves the state as it is."""


def violation_of(transition: Transition, state: CallState, *, made_before: bool) -> Violation | None:
    """Return how ``transition`` breaks the lifecycle in ``state``, None if it is allowed.

    A transition the call has made before is a duplicate wherever the call stands now.
    """
    if made_before:
        return Violation.DUPLICATE
    if state in TERMINAL:
        return Violation.AFTER_END
    if STEPS[transition][0] is not state:
        return Violation.OUT_OF_ORDER
    return None
