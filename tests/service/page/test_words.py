"""What pages say instead of codes: everything has words, and no two reasons are one."""

import pytest

from service.api.call_search import CallSearchStatus, StateFilter
from service.gateway.admission import NO_TENANT, TENANT_DISABLED
from service.page.words import FLAGS, OUTCOMES, STATES, TROUBLES, WHY, outcome_words, state_words
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallFlag, CallOutcome, Trouble
from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason


def test_every_code_has_words() -> None:
    """One that is added needs some; reasons of different kinds share no name, as one table has them all."""
    assert set(OUTCOMES) == set(CallOutcome)
    assert set(FLAGS) == set(CallFlag)
    assert set(STATES) == set(StateFilter)
    assert set(TROUBLES) == set(Trouble)
    reasons = [*RejectionReason, *UnansweredReason, *EndReason]
    assert len(WHY) == len(reasons) == len(set(WHY.values()))
    for said in (*OUTCOMES.values(), *FLAGS.values(), *STATES.values(), *TROUBLES.values(), *WHY.values()):
        assert said
        assert "_" not in said
    for state in (*CallState, *CallSearchStatus):
        assert "_" not in state_words(state)


@pytest.mark.parametrize(
    ("outcome", "reason", "error_type", "said"),
    [
        (None, None, None, ""),
        (CallOutcome.HANGUP, "hangup", None, "caller hung up"),
        (CallOutcome.REJECTED, "capacity", None, "turned away: no free slot"),
        (CallOutcome.REJECTED, "carrier_error", "500", "turned away: carrier refused (500)"),
        (CallOutcome.REJECTED, "tenant_not_configured", NO_TENANT, "turned away: number without a tenant"),
        (
            CallOutcome.REJECTED,
            "tenant_not_configured",
            TENANT_DISABLED,
            "turned away: tenant disabled",
        ),
        (CallOutcome.UNANSWERED, "canceled", None, "not answered: caller gave up"),
        (CallOutcome.ABANDONED, "error", "404", "never started: error (404)"),
        (CallOutcome.FAILED, "error", "SessionLost", "failed: SessionLost"),
        (CallOutcome.FAILED, "error", None, "failed"),
        (CallOutcome.REJECTED, "of_a_later_version", None, "turned away: of a later version"),
    ],
)
def test_an_outcome_is_said_with_its_cause(
    outcome: CallOutcome | None, reason: str | None, error_type: str | None, said: str
) -> None:
    """Once, where the cause says as much."""
    assert outcome_words(outcome, reason, error_type) == said
