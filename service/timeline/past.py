"""Calls that no process remembers any more: what their records know of them, in the shape of what is remembered."""

from collections.abc import Iterator
from typing import Any, Protocol

from service.records.record import CallRecord as Row
from service.records.record import DurationSource
from telemetry.calls.events import TokenUsage
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.clock import Instant
from telemetry.recent.record import CallDetails, CallSummary, Decision, Ending, StateChange, Tokens, Trace
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, SetupOutcome


class PastCalls(Protocol):
    """Knows calls by their records; :class:`service.records.calls.CallRecords` does."""

    async def find(self, call_id: CallId) -> Row | None:
        """The call's record, if there is one; raises what the database raises."""
        ...


class NoPastCalls:
    """For gateways that keep no records."""

    __slots__ = ()

    async def find(self, call_id: CallId) -> Row | None:  # noqa: ARG002 -- the protocol's signature
        """None."""
        return None


def remembered(row: Row) -> CallDetails:
    """The call as its record tells it: moments, decision, end and tokens, and nothing of what was said."""
    return CallDetails(
        summary=_summary(row),
        as_of=_offset(row, row.last_seen_ms if row.ended_ms is None else row.ended_ms),
        dialled=row.dialled_masked,
        caller_hash=row.caller_hash,
        steps=tuple(sorted(_steps(row), key=lambda step: step.at)),
        decision=_decision(row),
        ending=_ending(row),
        first_audio=_perhaps(row, row.first_audio_ms),
        time_to_first_audio=_perhaps(row, row.first_audio_ms),
        referred_to=None,
        fallback_instructions=False,
        resumed=row.duration_source is DurationSource.RESUMED,
        phases=(),
        turns=(),
        speech=(),
        tools=(),
        errors=(),
        tokens=Tokens(_usage(row), responses=0, partial=(), models=()),
        trace=_trace(row),
        logs=(),
        dropped={},
        gaps=(),
    )


def _summary(row: Row) -> CallSummary:
    return CallSummary(
        call_id=row.call_id,
        tenant_id=row.tenant_id,
        state=row.state,
        outcome=row.outcome,
        received=Instant(0.0, row.received_ms * 1_000_000),
        started=_perhaps(row, row.started_ms),
        ended=_perhaps(row, row.ended_ms),
        last_seen=_offset(row, row.last_seen_ms),
        ending=row.referred_ms is not None and row.ended_ms is None,
        duration=row.billed_ms / 1000,
        duration_basis=row.duration_basis,
        longest_wait=max(_perhaps(row, row.decided_ms) or 0.0, _perhaps(row, row.first_audio_ms) or 0.0),
        turns=0,
        interruptions=0,
        rejection_reason=_rejection(row),
        end_reason=_end(row),
        error_type=row.error_type,
        trace_id=row.trace_id,
        sampled=row.trace_id is not None,
        caller=row.caller_masked,
    )


def _steps(row: Row) -> Iterator[StateChange]:
    yield StateChange(Transition.RECEIVED, 0.0)
    if row.decided_ms is not None and row.state is not CallState.REJECTED:
        yield StateChange(Transition.ACCEPTED, _offset(row, row.decided_ms))
    for transition, at_ms in ((Transition.STARTED, row.started_ms), (Transition.REFERRED, row.referred_ms)):
        if at_ms is not None:
            yield StateChange(transition, _offset(row, at_ms))
    if row.ended_ms is not None:
        yield StateChange(Transition(row.state.value), _offset(row, row.ended_ms))


def _decision(row: Row) -> Decision | None:
    rejected = row.state is CallState.REJECTED
    at_ms = row.ended_ms if rejected and row.decided_ms is None else row.decided_ms
    if at_ms is None:
        return None
    at = _offset(row, at_ms)
    if not rejected:
        return Decision(SetupOutcome.ACCEPTED, at, at)
    return Decision(SetupOutcome.REJECTED, at, at, _rejection(row), error_type=row.error_type)


def _ending(row: Row) -> Ending | None:
    reason = _end(row)
    return None if reason is None else Ending(reason, _offset(row, row.ended_ms or row.last_seen_ms), row.error_type)


def _rejection(row: Row) -> RejectionReason | None:
    return RejectionReason(row.reason) if row.state is CallState.REJECTED and row.reason else None


def _end(row: Row) -> EndReason | None:
    return EndReason(row.reason) if row.state in (CallState.ENDED, CallState.ABANDONED) and row.reason else None


def _usage(row: Row) -> TokenUsage:
    kinds: dict[str, Any] = {kind: getattr(row, f"{kind}_tokens") for kind in TokenUsage.__dataclass_fields__}
    return TokenUsage(**kinds)


def _trace(row: Row) -> Trace | None:
    if row.trace_id is None or row.span_id is None:
        return None
    return Trace(row.trace_id, row.span_id, sampled=True)


def _offset(row: Row, at_ms: int) -> float:
    return max(0.0, (at_ms - row.received_ms) / 1000)


def _perhaps(row: Row, at_ms: int | None) -> float | None:
    return None if at_ms is None else _offset(row, at_ms)
