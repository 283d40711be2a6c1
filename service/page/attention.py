"""Calls that need attention, the worst first, each with its reasons in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import nlargest
from typing import Final

from pydantic import ConfigDict, Field

from service.http.problems import writable
from service.http.schemas import FrozenSchema, moment
from service.page.verdicts import SILENT_SECONDS
from service.page.words import REASONS
from service.timeline.explain import as_tool, span_of_time
from telemetry.clock import Instant
from telemetry.recent.record import CallOutcome, CallSummary
from telemetry.recent.search import CallQuery
from telemetry.semconv.attributes import RejectionReason, TenantId

ATTENTION: Final = "attention"
"""The name under which processes ask each other for these calls."""

LOOK_BACK_SECONDS: Final = 3600.0
"""Calls received longer ago are not listed."""
LOOKED_AT: Final = 500
"""The latest calls that are looked at."""
LISTED: Final = 8
"""The most calls listed."""

SLOW_SECONDS: Final = 4.0
"""A wait that a caller minds."""
SILENCE_SECONDS: Final = 15.0
"""A silence in the conversation that a caller minds."""
INTERRUPTIONS: Final = 3
"""Interruptions of the agent from which on something is wrong with what it says."""

_WORST: Final = 3
_BAD: Final = 2
_ODD: Final = 1

Reason = tuple[int, str]
"""A weight, and a clause."""


class AttentionCall(FrozenSchema):
    """One call that needs attention."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"additionalProperties": False})
    # Another process tells it, too; a newer version may tell more. What this one answers has no more.

    call_id: str
    tenant_id: str
    received_at: datetime
    running: bool
    score: int = Field(
        description="The sum of its reasons' weights: 3 for a failure, 2 for a bad sign, 1 for an odd one."
    )
    reasons: tuple[str, ...] = Field(description="Why, in words, the worst first.")


class ToldAttention(FrozenSchema):
    """The calls that need attention, as one process tells them to another."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    calls: tuple[AttentionCall, ...]


class AttentionQuestion(FrozenSchema):
    """The question for them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tenant_id: str | None


def worst_of(told: Iterable[Sequence[AttentionCall]], most: int = LISTED) -> tuple[AttentionCall, ...]:
    """Return the worst of what several processes tell, each call once, of equal ones the latest first."""
    once: dict[str, AttentionCall] = {}
    for calls in told:
        for call in calls:
            # Of two processes that had the call one after the other, the one that has more to say.
            if call.call_id not in once or once[call.call_id].score < call.score:
                once[call.call_id] = call
    return tuple(nlargest(most, once.values(), key=lambda call: (call.score, call.received_at)))


def attention_query(now: Instant, tenant_id: str | None) -> CallQuery:
    """Return the query for the calls to look at."""
    since = now.unix_nanos / 1e9 - LOOK_BACK_SECONDS
    return CallQuery(tenant_id=None if tenant_id is None else TenantId(tenant_id), since=since)


def needing_attention(
    calls: Iterable[CallSummary], silent: Mapping[str, float], most: int = LISTED
) -> tuple[AttentionCall, ...]:
    """Return the calls with the highest scores, of equal ones the latest first.

    Args:
        calls: The calls to choose from.
        silent: Seconds without a sign of life of calls that run, by their ids.
        most: The most calls to return.
    """
    judged = [(call, sorted(reasons(call, silent.get(call.call_id, 0.0)), reverse=True)) for call in calls]
    scored = [(sum(weight for weight, _ in found), call.received.unix_nanos, call, found) for call, found in judged]
    worst = nlargest(most, (entry for entry in scored if entry[0]), key=lambda entry: entry[:2])
    return tuple(
        AttentionCall(
            call_id=writable(call.call_id),
            tenant_id=writable(call.tenant_id),
            received_at=moment(call.received),
            running=call.outcome is None,
            score=score,
            reasons=tuple(writable(text) for _, text in found),
        )
        for score, _, call, found in worst
    )


def reasons(call: CallSummary, silent_seconds: float = 0.0) -> Iterator[Reason]:
    """Yield what makes a call need attention; a running one showed no sign of life for ``silent_seconds``."""
    if call.outcome is CallOutcome.FAILED:
        yield _WORST, f"failed ({call.error_type})"
    elif call.outcome is CallOutcome.STALE:
        yield _WORST, "its process was lost" if call.lost else "nothing was heard of it any more"
    elif call.outcome is CallOutcome.ABANDONED:
        yield _BAD, "accepted, but never started"
    elif call.outcome is CallOutcome.REJECTED and call.lost:
        yield _WORST, "its process was lost before it had decided"
    elif call.outcome is CallOutcome.REJECTED:
        yield from _rejected(call.rejection_reason)
    elif call.outcome is CallOutcome.SILENCE:
        yield _BAD, "hung up after a long silence"
    elif call.outcome is None and silent_seconds > SILENT_SECONDS:
        yield _BAD, f"no sign of life for {span_of_time(silent_seconds)}"
    yield from _conversation(call)


def _rejected(reason: RejectionReason | None) -> Iterator[Reason]:
    # A full house and a wrong number are told of by the verdicts; each such call alone needs no look.
    if reason not in (None, RejectionReason.CAPACITY, RejectionReason.TENANT_NOT_CONFIGURED):
        yield _BAD, f"turned away: {REASONS[reason]}"


def _conversation(call: CallSummary) -> Iterator[Reason]:
    if call.started is None:
        return
    if call.longest_wait > SLOW_SECONDS:
        yield _BAD, f"somebody waited {span_of_time(call.longest_wait)}"
    if call.longest_silence > SILENCE_SECONDS:
        yield _ODD, f"nobody spoke for {span_of_time(call.longest_silence)}"
    for tool in call.failed_tools:
        yield _ODD, f"{as_tool(tool)} failed"
    if call.interruptions >= INTERRUPTIONS:
        yield _ODD, f"the caller interrupted {call.interruptions} times"
