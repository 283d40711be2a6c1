"""Calls by their records: those no process remembers any more."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from service.records.record import DurationSource
from service.records.record import StoredCall as Row
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.clock import Instant
from telemetry.recent.record import CallDetails, CallSummary, Decision, Ending, StateChange, Talk, Tokens, Trace
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, SetupOutcome, UnansweredReason


@dataclass(frozen=True, slots=True)
class StorySource:
    """The origin of a call's rows, as far as a reader must know."""

    from_record: bool = False
    """Nothing is left but the record: no turn, speech, tool, span or log line."""
    conversation_counted: bool = True
    """The numbers of turns and interruptions and the longest wait are known; older records do not keep them."""


WATCHED: Final = StorySource()
"""This process saw the call, from its beginning or from when it took it over."""


class PastUnavailableError(Exception):
    """The records cannot be read now."""


class PastCalls(Protocol):
    """A look-up of calls by their records, such as :class:`service.records.calls.CallRecords`."""

    async def find(self, call_id: CallId) -> Row | None:
        """Return the call's record, None if there is none; raise :class:`PastUnavailableError` when in doubt."""
        ...

    async def find_by_trace(self, trace_id: str) -> Row | None:
        """Return the record of the call with this trace id, None if there is none; raise likewise."""
        ...


class NoPastCalls:
    """The look-up of a gateway that keeps no records."""

    __slots__ = ()

    async def find(self, call_id: CallId) -> Row | None:  # noqa: ARG002 -- the protocol's signature
        """Return None."""
        return None

    async def find_by_trace(self, trace_id: str) -> Row | None:  # noqa: ARG002 -- the protocol's signature
        """Return None."""
        return None


def source_of(row: Row) -> StorySource:
    """Return what a call that is known by its record alone rests on."""
    return StorySource(from_record=True, conversation_counted=row.turns is not None)


_NOT_ACCEPTED: Final = frozenset({CallState.REJECTED, CallState.UNANSWERED})


def remembered(row: Row) -> CallDetails:
    """Return the call as its record tells it: moments, decision, end and tokens, and nothing of what was said."""
    return CallDetails(
        summary=_summary(row),
        as_of=_offset(row, row.last_seen_ms if row.ended_ms is None else row.ended_ms),
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
        tokens=Tokens(row.tokens, responses=0, partial=(), models=()),
        trace=_trace(row),
        logs=(),
        dropped={},
        gaps=(),
        talk=_talk(row),
    )


def _talk(row: Row) -> Talk | None:
    if row.conversation_ms is None or row.ended_ms is None:
        return None
    return Talk(
        seconds=row.conversation_ms / 1000,
        caller_seconds=(row.caller_talk_ms or 0) / 1000,
        agent_seconds=(row.agent_talk_ms or 0) / 1000,
        talk_over_seconds=(row.talk_over_ms or 0) / 1000,
        dead_air_seconds=(row.dead_air_ms or 0) / 1000,
        dead_airs=row.dead_airs or 0,
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
        longest_wait=(row.longest_wait_ms or 0) / 1000,
        turns=row.turns or 0,
        interruptions=row.interruptions or 0,
        rejection_reason=_rejection(row),
        unanswered_reason=_unanswered(row),
        end_reason=_end(row),
        error_type=row.error_type,
        trace_id=row.trace_id,
        sampled=row.trace_id is not None,
        caller=row.caller_masked,
        dialled=row.dialled_masked,
        talked_over=row.agent_interruptions or 0,
        direction=row.direction,
        source=row.source,
        fault=row.fault,
        caller_hash=row.caller_hash,
        lost=row.given_up and row.taken_over,
    )


def _steps(row: Row) -> Iterator[StateChange]:
    yield StateChange(Transition.RECEIVED, 0.0)
    if row.decided_ms is not None and row.state not in _NOT_ACCEPTED:
        yield StateChange(Transition.ACCEPTED, _offset(row, row.decided_ms))
    for transition, at_ms in ((Transition.STARTED, row.started_ms), (Transition.REFERRED, row.referred_ms)):
        if at_ms is not None:
            yield StateChange(transition, _offset(row, at_ms))
    if row.ended_ms is not None:
        yield StateChange(Transition(row.state.value), _offset(row, row.ended_ms))


def _decision(row: Row) -> Decision | None:
    if row.state is CallState.UNANSWERED:
        return None
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
    at_ms = row.ended_ms or row.last_seen_ms
    return None if reason is None else Ending(reason, _offset(row, at_ms), row.error_type, row.fault)


def _rejection(row: Row) -> RejectionReason | None:
    return RejectionReason(row.reason) if row.state is CallState.REJECTED and row.reason else None


def _unanswered(row: Row) -> UnansweredReason | None:
    return UnansweredReason(row.reason) if row.state is CallState.UNANSWERED and row.reason else None


def _end(row: Row) -> EndReason | None:
    return EndReason(row.reason) if row.state in (CallState.ENDED, CallState.ABANDONED) and row.reason else None


def _trace(row: Row) -> Trace | None:
    if row.trace_id is None or row.span_id is None:
        return None
    return Trace(row.trace_id, row.span_id, sampled=True)


def _offset(row: Row, at_ms: int) -> float:
    return max(0.0, (at_ms - row.received_ms) / 1000)


def _perhaps(row: Row, at_ms: int | None) -> float | None:
    return None if at_ms is None else _offset(row, at_ms)
