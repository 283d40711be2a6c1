"""Views of a retained call: its summary and its details."""

from collections.abc import Iterable
from typing import Final, TypeVar, cast

from opentelemetry.trace import format_span_id, format_trace_id

from telemetry.calls.conversation import DEAD_AIR_SECONDS
from telemetry.calls.events import Phase
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import (
    CallDetails,
    CallOutcome,
    CallSummary,
    DeadAirRow,
    DurationBasis,
    ErrorRow,
    Gap,
    LogRow,
    PhaseRow,
    SpanRow,
    SpeechRow,
    TalkOverRow,
    ToolRow,
    Trace,
    TurnRow,
)
from telemetry.recent.retained import AnyRow, RetainedCall, Rows
from telemetry.semconv.attributes import EndReason, Speaker

_OVER: Final = {
    CallState.REJECTED: CallOutcome.REJECTED,
    CallState.UNANSWERED: CallOutcome.UNANSWERED,
    CallState.ABANDONED: CallOutcome.ABANDONED,
    CallState.HANDED_OVER: CallOutcome.HANDED_OVER,
}
# The outcomes of calls that are over without an end; those with one take the end's reason.

_Stretch = TurnRow | SpeechRow | ToolRow

RowT = TypeVar("RowT", bound=AnyRow)


def summary_of(call: RetainedCall, now: float) -> CallSummary:
    """Return the call in one line; ``now`` is the present as an offset in seconds."""
    moment = call.ended if call.ended is not None else now
    decision, ending = call.decision, call.ending
    return CallSummary(
        call_id=call.ref.call_id,
        tenant_id=call.ref.tenant_id,
        state=call.state,
        outcome=_outcome(call),
        received=call.received,
        started=call.started,
        ended=call.ended,
        last_seen=call.last_seen,
        ending=call.ending_under_way and not call.state.terminal,
        duration=_duration(call, moment),
        duration_basis=DurationBasis.RECEIVED if call.started is None else DurationBasis.STARTED,
        longest_wait=_longest_wait(call, moment),
        turns=call.turns,
        interruptions=call.interruptions,
        rejection_reason=decision.reason if decision else None,
        end_reason=ending.reason if ending else None,
        error_type=_error_type(call),
        trace_id=format_trace_id(call.trace.trace_id) if call.trace else None,
        sampled=bool(call.trace and call.trace.trace_flags.sampled),
        caller=call.caller_masked,
        dialled=call.dialled_masked,
        caller_hash=call.caller_hash,
        longest_silence=max(call.voices.longest_silence, _silent_for(call, moment)),
        talked_over=call.voices.talked_over,
        failed_tools=call.failed_tools,
        failed_phases=call.failed_phases,
        slowest_answer=_slowest_answer(call, moment),
        fallback=call.fallback,
        seen_before=call.resumed or call.seen_from is not None,
        lost=call.lost,
        unanswered_reason=call.unanswered.reason if call.unanswered else None,
        direction=call.ref.direction,
        source=call.ref.source,
        fault=call.ending.fault if call.ending else None,
    )


def details_of(call: RetainedCall, now: float, open_spans: Iterable[SpanRow] = ()) -> CallDetails:
    """Return everything known of the call; ``now`` is the present as an offset in seconds."""
    moment = call.ended if call.ended is not None else now
    return CallDetails(
        summary=summary_of(call, now),
        as_of=moment,
        steps=tuple(call.steps),
        decision=call.decision,
        ending=call.ending,
        first_audio=call.first_audio,
        time_to_first_audio=call.time_to_first_audio,
        referred_to=call.referred_to,
        fallback_instructions=call.fallback,
        resumed=call.resumed,
        seen_from=call.seen_from,
        handed_over=call.before is not None and call.before.handed_over,
        phases=tuple(sorted(_phases(call), key=lambda row: row.start)),
        turns=tuple(sorted(_turns(call), key=_start)),
        speech=tuple(sorted(_speech(call), key=_start)),
        tools=tuple(sorted(_tools(call), key=_start)),
        errors=_rows(call, Rows.ERRORS, ErrorRow),
        tokens=call.tokens.total(),
        trace=_trace(call, open_spans),
        logs=_rows(call, Rows.LOGS, LogRow),
        dropped=_dropped(call),
        gaps=tuple(_gaps(call)),
        inferred=call.inferred,
        dead_airs=tuple(_dead_airs(call, moment)),
        talk_overs=tuple(_talk_overs(call)),
        talk=call.talk,
    )


def _start(row: PhaseRow | TurnRow | SpeechRow | ToolRow) -> float:
    return row.start


def _outcome(call: RetainedCall) -> CallOutcome | None:
    if call.state in _OVER:
        return _OVER[call.state]
    if call.ending is None:
        return None
    failed = call.ending.error_type is not None
    return CallOutcome.FAILED if failed or call.ending.reason is EndReason.ERROR else CallOutcome(call.ending.reason)


def _error_type(call: RetainedCall) -> str | None:
    for source in (call.ending, call.decision, call.unanswered):
        if source is not None and source.error_type:
            return source.error_type
    return None


def _duration(call: RetainedCall, moment: float) -> float:
    if call.run_seconds is not None:
        return call.run_seconds
    return max(0.0, moment - (call.started or 0.0))


def _longest_wait(call: RetainedCall, moment: float) -> float:
    return max(call.longest_wait, _slowest_answer(call, moment), moment if call.undecided_or_unheard else 0.0)


def _slowest_answer(call: RetainedCall, moment: float) -> float:
    return max(call.slowest_answer, *(turn.row().waited(moment) or 0.0 for turn in call.open_turns.values()), 0.0)


def _rows(call: RetainedCall, kind: Rows, _type: type[RowT]) -> tuple[RowT, ...]:
    return cast("tuple[RowT, ...]", tuple(call.rows.get(kind, ())))


def _phases(call: RetainedCall) -> Iterable[PhaseRow]:
    yield from _rows(call, Rows.PHASES, PhaseRow)
    for phase, start in call.open_phases.items():
        if phase is Phase.REJECT:
            # The carrier is told after the call counts as rejected.
            yield PhaseRow(phase, start, None)
        else:
            yield PhaseRow(phase, start, call.ended, _cut_off_by(call))


def _turns(call: RetainedCall) -> Iterable[TurnRow]:
    yield from _rows(call, Rows.TURNS, TurnRow)
    yield from (turn.row() for turn in call.open_turns.values())


def _tools(call: RetainedCall) -> Iterable[ToolRow]:
    yield from _rows(call, Rows.TOOLS, ToolRow)
    for tool in call.open_tools.values():
        yield ToolRow(tool.tool, tool.tool_call_id, tool.start, call.ended, cut_off=call.ended is not None)


def _cut_off_by(call: RetainedCall) -> str | None:
    """Return the error of what was open when the call ended; None while the call is open."""
    if call.ended is None:
        return None
    return (call.ending and call.ending.error_type) or "call_ended"


def _speech(call: RetainedCall) -> Iterable[SpeechRow]:
    yield from _rows(call, Rows.SPEECH, SpeechRow)
    for speaker, since in ((Speaker.CALLER, call.voices.caller_since), (Speaker.AGENT, call.voices.agent_since)):
        if since is not None:
            yield SpeechRow(speaker, since, None)


def _silent_for(call: RetainedCall, moment: float) -> float:
    """Return the length of the silence that goes on, 0 if there is none or it is none yet."""
    quiet_since = call.voices.quiet_since
    if quiet_since is None and not call.spoken and not call.state.terminal:
        quiet_since = call.started if call.seen_from is None else call.seen_from
    seconds = 0.0 if quiet_since is None else moment - quiet_since
    return seconds if seconds >= DEAD_AIR_SECONDS else 0.0


def _dead_airs(call: RetainedCall, moment: float) -> Iterable[DeadAirRow]:
    yield from _rows(call, Rows.DEAD_AIRS, DeadAirRow)
    if call.voices.quiet_since is not None and _silent_for(call, moment):
        yield DeadAirRow(call.voices.quiet_since, None)


def _talk_overs(call: RetainedCall) -> Iterable[TalkOverRow]:
    yield from _rows(call, Rows.TALK_OVERS, TalkOverRow)
    if call.voices.over_since is not None:
        yield TalkOverRow(call.voices.over_since, None)


def _trace(call: RetainedCall, open_spans: Iterable[SpanRow]) -> Trace | None:
    if call.trace is None:
        return None
    # A span that ended after it was found open counts as ended.
    spans = {row.span_id: row for row in (*open_spans, *_rows(call, Rows.SPANS, SpanRow))}
    return Trace(
        trace_id=format_trace_id(call.trace.trace_id),
        root_span_id=format_span_id(call.trace.span_id),
        sampled=call.trace.trace_flags.sampled,
        spans=tuple(sorted(spans.values(), key=lambda span: span.start_unix_nanos)),
    )


def _gaps(call: RetainedCall) -> Iterable[Gap]:
    for kind in (Rows.TURNS, Rows.SPEECH, Rows.TOOLS):
        buffer = call.rows.get(kind)
        sides = buffer.gap if buffer is not None else None
        if buffer is not None and sides is not None:
            before, after = cast("tuple[_Stretch, _Stretch | None]", sides)
            yield Gap(kind.value, buffer.dropped, before.end or before.start, after.start if after else None)


def _dropped(call: RetainedCall) -> dict[str, int]:
    dropped = {kind.value: rows.dropped for kind, rows in call.rows.items() if rows.dropped}
    for kind, count in call.overflow.items():
        dropped[kind.value] = dropped.get(kind.value, 0) + count
    return dropped
