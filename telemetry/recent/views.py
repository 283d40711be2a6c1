"""A call's journal put into words: a line for lists, or everything."""

from collections.abc import Iterable
from typing import Final, TypeVar, cast

from opentelemetry.trace import format_span_id, format_trace_id

from telemetry.calls.events import Phase, Speaker
from telemetry.calls.lifecycle import CallState
from telemetry.recent.call_state import AnyRow, RetainedCall, Rows
from telemetry.recent.record import (
    CallDetails,
    CallOutcome,
    CallSummary,
    DurationBasis,
    ErrorRow,
    Gap,
    LogRow,
    PhaseRow,
    SpanRow,
    SpeechRow,
    ToolRow,
    Trace,
    TurnRow,
)
from telemetry.semconv.attributes import EndReason

_OUTCOMES: Final = {
    EndReason.COMPLETED: CallOutcome.COMPLETED,
    EndReason.HANGUP: CallOutcome.HANGUP,
    EndReason.REFERRED: CallOutcome.REFERRED,
    EndReason.ERROR: CallOutcome.FAILED,
    EndReason.STALE: CallOutcome.STALE,
    EndReason.SHUTDOWN: CallOutcome.SHUTDOWN,
    EndReason.MAX_DURATION: CallOutcome.MAX_DURATION,
    EndReason.SILENCE: CallOutcome.SILENCE,
}

_Stretch = TurnRow | SpeechRow | ToolRow

RowT = TypeVar("RowT", bound=AnyRow)


def summary_of(journal: RetainedCall, now: float) -> CallSummary:
    """The call in one line; ``now`` is the present as an offset."""
    moment = journal.ended if journal.ended is not None else now
    decision, ending = journal.decision, journal.ending
    return CallSummary(
        call_id=journal.ref.call_id,
        tenant_id=journal.ref.tenant_id,
        state=journal.state,
        outcome=_outcome(journal),
        received=journal.received,
        started=journal.started,
        ended=journal.ended,
        last_seen=journal.last_seen,
        ending=journal.ending_under_way and not journal.state.terminal,
        duration=_duration(journal, moment),
        duration_basis=DurationBasis.RECEIVED if journal.started is None else DurationBasis.STARTED,
        longest_wait=_longest_wait(journal, moment),
        turns=journal.turns,
        interruptions=journal.interruptions,
        rejection_reason=decision.reason if decision else None,
        end_reason=ending.reason if ending else None,
        error_type=(ending and ending.error_type) or (decision and decision.error_type) or None,
        trace_id=format_trace_id(journal.trace.trace_id) if journal.trace else None,
        sampled=bool(journal.trace and journal.trace.trace_flags.sampled),
        caller=journal.caller_masked,
    )


def record_of(journal: RetainedCall, now: float, open_spans: Iterable[SpanRow] = ()) -> CallDetails:
    """Everything about the call; ``now`` is the present as an offset."""
    moment = journal.ended if journal.ended is not None else now
    return CallDetails(
        summary=summary_of(journal, now),
        as_of=moment,
        dialled=journal.dialled_masked,
        caller_hash=journal.caller_hash,
        steps=tuple(journal.steps),
        decision=journal.decision,
        ending=journal.ending,
        first_audio=journal.first_audio,
        time_to_first_audio=journal.time_to_first_audio,
        referred_to=journal.referred_to,
        fallback_instructions=journal.fallback,
        resumed=journal.resumed,
        phases=tuple(sorted(_phases(journal), key=lambda row: row.start)),
        turns=tuple(sorted(_turns(journal), key=_start)),
        speech=tuple(sorted(_speech(journal), key=_start)),
        tools=tuple(sorted(_tools(journal), key=_start)),
        errors=_rows(journal, Rows.ERRORS, ErrorRow),
        tokens=journal.tokens.total(),
        trace=_trace(journal, open_spans),
        logs=_rows(journal, Rows.LOGS, LogRow),
        dropped=_dropped(journal),
        gaps=tuple(_gaps(journal)),
    )


def _start(row: PhaseRow | TurnRow | SpeechRow | ToolRow) -> float:
    return row.start


def _outcome(journal: RetainedCall) -> CallOutcome | None:
    if journal.state is CallState.REJECTED:
        return CallOutcome.REJECTED
    if journal.state is CallState.ABANDONED:
        return CallOutcome.ABANDONED
    if journal.ending is None:
        return None
    return CallOutcome.FAILED if journal.ending.error_type else _OUTCOMES[journal.ending.reason]


def _duration(journal: RetainedCall, moment: float) -> float:
    if journal.run_seconds is not None:
        return journal.run_seconds
    return max(0.0, moment - (journal.started or 0.0))


def _longest_wait(journal: RetainedCall, moment: float) -> float:
    waits = [journal.longest_wait, *(turn.row().waited(moment) or 0.0 for turn in journal.open_turns.values())]
    undecided = journal.state is CallState.PENDING
    return max(*waits, moment if undecided or journal.unheard else 0.0)


def _rows(journal: RetainedCall, kind: Rows, _type: type[RowT]) -> tuple[RowT, ...]:
    return cast("tuple[RowT, ...]", tuple(journal.rows.get(kind, ())))


def _phases(journal: RetainedCall) -> Iterable[PhaseRow]:
    yield from _rows(journal, Rows.PHASES, PhaseRow)
    for phase, start in journal.open_phases.items():
        if phase is Phase.REJECT:
            # The carrier is told after the call counts as rejected.
            yield PhaseRow(phase, start, None)
        else:
            yield PhaseRow(phase, start, journal.ended, _fate(journal))


def _turns(journal: RetainedCall) -> Iterable[TurnRow]:
    yield from _rows(journal, Rows.TURNS, TurnRow)
    yield from (turn.row() for turn in journal.open_turns.values())


def _tools(journal: RetainedCall) -> Iterable[ToolRow]:
    yield from _rows(journal, Rows.TOOLS, ToolRow)
    for tool in journal.open_tools.values():
        yield ToolRow(tool.tool, tool.tool_call_id, tool.start, journal.ended, _fate(journal))


def _fate(journal: RetainedCall) -> str | None:
    """The error of something that was under way when the call came to its end: nothing stays open after that."""
    if journal.ended is None:
        return None
    return (journal.ending and journal.ending.error_type) or "call_ended"


def _speech(journal: RetainedCall) -> Iterable[SpeechRow]:
    yield from _rows(journal, Rows.SPEECH, SpeechRow)
    for speaker, since in ((Speaker.CALLER, journal.caller_since), (Speaker.AGENT, journal.agent_since)):
        if since is not None:
            yield SpeechRow(speaker, since, None)


def _trace(journal: RetainedCall, open_spans: Iterable[SpanRow]) -> Trace | None:
    if journal.trace is None:
        return None
    # One that ended after it was found open counts as ended.
    spans = {row.span_id: row for row in (*open_spans, *_rows(journal, Rows.SPANS, SpanRow))}
    return Trace(
        trace_id=format_trace_id(journal.trace.trace_id),
        root_span_id=format_span_id(journal.trace.span_id),
        sampled=journal.trace.trace_flags.sampled,
        spans=tuple(sorted(spans.values(), key=lambda span: span.start_unix_nanos)),
    )


def _gaps(journal: RetainedCall) -> Iterable[Gap]:
    for kind in (Rows.TURNS, Rows.SPEECH, Rows.TOOLS):
        excerpt = journal.rows.get(kind)
        sides = excerpt.gap if excerpt is not None else None
        if excerpt is not None and sides is not None:
            before, after = cast("tuple[_Stretch, _Stretch | None]", sides)
            yield Gap(kind.value, excerpt.dropped, before.end or before.start, after.start if after else None)


def _dropped(journal: RetainedCall) -> dict[str, int]:
    dropped = {kind.value: rows.dropped for kind, rows in journal.rows.items() if rows.dropped}
    for kind, count in journal.overflow.items():
        dropped[kind.value] = dropped.get(kind.value, 0) + count
    return dropped
