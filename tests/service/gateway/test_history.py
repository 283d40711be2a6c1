"""What a process answers about the calls of the one before it."""

from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from service.records.record import StoredCall
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallerSpeaks, CallScript
from service.timeline.detail import CallDetail
from service.timeline.past import remembered, source_of
from service.timeline.serializer import NO_BACKEND, call_detail
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, TenantId, UnansweredReason
from tests.service.gateway.harness import fresh_id, on_the_air, serving

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?")), CallerHangsUp())
NOBODYS = "+19995550199"


async def test_a_second_start_shows_the_history_of_the_first(tmp_path: Path) -> None:
    """Calls of an earlier process answer by their ids, are drawn, listed and billed, as far as their records go."""
    async with on_the_air() as carrier:
        ended, rejected = fresh_id(), fresh_id()
        async with serving(carrier, tmp_path) as first:
            await first.call(TALK, call_id=ended)
            await first.call(TALK, call_id=rejected, number=NOBODYS)
            before = CallDetail.model_validate(await first.get(f"/api/v1/calls/{ended}"))
        async with serving(carrier, tmp_path) as second:
            after = CallDetail.model_validate(await second.get(f"/api/v1/calls/{ended}"))
            turned_away = CallDetail.model_validate(await second.get(f"/api/v1/calls/{rejected}"))
            drawing = await second.client.get(f"/api/v1/calls/{ended}/timeline.svg")
            listed = await second.get("/api/v1/call-records")
            usage = await second.get(f"/api/v1/usage?{_around(before.received_at)}")
            unknown = await second.client.get(f"/api/v1/calls/{fresh_id()}")
    assert (before.from_record, after.from_record) == (False, True)
    assert _told(after) == _told(before)
    assert after.duration_seconds == pytest.approx(before.duration_seconds, abs=0.002)
    assert after.trace is not None
    assert before.trace is not None
    assert after.trace.trace_id == before.trace.trace_id
    assert turned_away.decision is not None
    assert turned_away.decision.reason is RejectionReason.TENANT_NOT_CONFIGURED
    assert ET.fromstring(drawing.text).tag.endswith("svg")  # noqa: S314 -- our own document
    assert {call["call_id"] for call in listed["calls"]} == {ended, rejected}
    # The call to a number without a tenant is nobody's to pay for.
    assert (usage["total"]["calls"], usage["total"]["answered_calls"]) == (1, 1)
    assert unknown.status_code == HTTPStatus.NOT_FOUND


def _told(call: CallDetail) -> tuple[Any, ...]:
    """What the memory and the record of a call tell alike."""
    transitions = [step.transition for step in call.transitions]
    tokens = (call.tokens.input, call.tokens.output)
    return call.tenant_id, call.state, call.outcome, call.caller, call.dialled, call.caller_hash, transitions, tokens


def _around(moment: datetime) -> str:
    begin, end = moment.date() - timedelta(days=1), moment.date() + timedelta(days=2)
    return f"from={begin}&to={end}"


@pytest.mark.parametrize(
    ("state", "outcome", "reason", "explained"),
    [
        (CallState.PENDING, None, None, "Being decided upon"),
        (CallState.ACCEPTED, None, None, "Accepted"),
        (CallState.STARTED, None, None, "Running"),
        (CallState.REJECTED, CallOutcome.REJECTED, RejectionReason.CARRIER_ERROR, "Turned away after 2.0 s"),
        (CallState.UNANSWERED, CallOutcome.UNANSWERED, UnansweredReason.CANCELED, "the caller gave up"),
        (CallState.ABANDONED, CallOutcome.ABANDONED, EndReason.STALE, "never started"),
        (CallState.ENDED, CallOutcome.FAILED, EndReason.ERROR, "Failed after 30.0 s"),
        (CallState.ENDED, CallOutcome.STALE, EndReason.STALE, "nothing was heard of it"),
    ],
)
def test_a_record_of_any_state_is_told(
    state: CallState, outcome: CallOutcome | None, reason: str | None, explained: str
) -> None:
    """Whatever state a record was left in, there is a sentence for it, and it says that it is only the record."""
    record = _a_record(state)
    record.outcome, record.reason = outcome, reason
    record.error_type = "404" if outcome is CallOutcome.FAILED else None
    detail = call_detail(remembered(record), NO_BACKEND, source_of(record))
    assert explained in detail.explanation
    assert "record" in detail.explanation
    assert (detail.ended_at is None) == (outcome is None)
    answered = [step.transition for step in detail.transitions if step.transition is Transition.ACCEPTED]
    assert bool(answered) == (state not in (CallState.PENDING, CallState.REJECTED, CallState.UNANSWERED))
    assert (detail.unanswered_reason is None) == (state is not CallState.UNANSWERED)


@pytest.mark.parametrize("kept", [True, False])
def test_what_a_record_does_not_keep_is_null(kept: bool) -> None:
    """Turns, interruptions and the longest wait are shown as they are on record, and as null where they are not."""
    record = _a_record(CallState.ENDED)
    record.outcome, record.reason = CallOutcome.HANGUP, "hangup"
    if kept:
        record.turns, record.interruptions, record.longest_wait_ms = 7, 0, 4_200
    detail = call_detail(remembered(record), NO_BACKEND, source_of(record))
    shown = (detail.turn_count, detail.interruption_count, detail.longest_wait_seconds)
    assert shown == ((7, 0, 4.2) if kept else (None, None, None))


def _a_record(state: CallState) -> StoredCall:
    record = StoredCall(
        CallId("rtc_1"),
        TenantId("acme"),
        received_ms=1_000,
        last_seen_ms=33_000,
        usage_from_ms=3_000,
        instance_id="one",
        claim=1,
        state=state,
    )
    if state in (CallState.STARTED, CallState.ENDED):
        record.started_ms, record.billed_ms = 3_000, 30_000
    if state is not CallState.PENDING:
        record.decided_ms = 3_000
    if state.terminal:
        record.ended_ms = 3_000 if state is CallState.REJECTED else 33_000
    return record
