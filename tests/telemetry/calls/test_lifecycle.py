"""The transitions between states, against the table of the design written out by hand."""

from itertools import product

import pytest

from telemetry.calls.lifecycle import STEPS, CallState, Transition, violation_of
from telemetry.semconv.attributes import Violation

ALLOWED = {
    ("pending", "rejected"): "rejected",
    ("pending", "unanswered"): "unanswered",
    ("pending", "handed_over"): "handed_over",
    ("accepted", "handed_over"): "handed_over",
    ("started", "handed_over"): "handed_over",
    ("pending", "accepted"): "accepted",
    ("accepted", "started"): "started",
    ("accepted", "abandoned"): "abandoned",
    ("started", "referred"): "started",
    ("started", "ended"): "ended",
}
TERMINAL = {"rejected", "unanswered", "abandoned", "ended", "handed_over"}


@pytest.mark.parametrize(("state", "transition"), list(product(CallState, STEPS)))
def test_exactly_the_steps_of_the_design_are_allowed(state: CallState, transition: Transition) -> None:
    """Each pair of state and transition is allowed, out of order, or after the end, as the design says."""
    target = ALLOWED.get((state.value, transition.value))
    if target is not None:
        expected = None
        assert STEPS[transition][1].value == target
    elif state.value in TERMINAL:
        expected = Violation.AFTER_END
    else:
        expected = Violation.OUT_OF_ORDER
    assert violation_of(transition, state, made_before=False) is expected
    assert violation_of(transition, state, made_before=True) is Violation.DUPLICATE


def test_states_know_what_they_hold() -> None:
    """Terminal states are the five without a way out; pending slots are held until the start."""
    assert {state.value for state in CallState if state.terminal} == TERMINAL
    assert {state.value for state in CallState if state.pending} == {"pending", "accepted"}
