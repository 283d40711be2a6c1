"""What a call's drawing says in words: its facts, what stands out of it, and what it leaves out."""

from collections.abc import Iterable
from typing import Final

from service.debugging.detail import CallDetail, SpeechDetail
from service.debugging.explain import span_of_time, tool_name
from service.debugging.waterfall import Moment
from telemetry.attributes import OTHER

MOST_MOMENTS: Final = 8
"""More than these are only counted: a picture in a ticket is read at a glance."""

MOST_INTERRUPTIONS: Final = 3
"""More than these are told in one line."""

NOTABLE_WAIT: Final = 2.0
"""Seconds a caller waits for an answer before the wait is worth a line."""

_KINDS: Final = {"speech": "stretches of speech", "logs": "log lines"}
# How rows are called where their plain names would not do.


def facts_of(call: CallDetail) -> tuple[tuple[str, str], ...]:
    """Names and values, those that are known."""
    numbers = " → ".join(filter(None, (call.caller, call.dialled)))
    turns = f"{call.turn_count}, {call.interruption_count} interrupted" if call.turn_count else None
    facts = (
        ("tenant", call.tenant_id),
        ("from → to", numbers or None),
        ("received", call.received_at.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("state", f"{call.state}" + (f" ({call.outcome})" if call.outcome and call.outcome != str(call.state) else "")),
        ("duration", f"{span_of_time(call.duration_seconds)} since {call.duration_basis}"),
        ("setup", _time(call.setup_seconds)),
        ("first audio", _time(call.time_to_first_audio_seconds)),
        ("longest wait", _time(call.longest_wait_seconds)),
        ("turns", turns),
        ("tokens", _tokens(call)),
        ("trace", call.trace.trace_id if call.trace else None),
    )
    return tuple((name, value) for name, value in facts if value is not None)


def moments_of(call: CallDetail) -> tuple[Moment, ...]:
    """What stands out, by weight if there is too much of it, in the order it happened."""
    weighed = [*_failures(call), *_waits(call), *_interruptions(call)]
    kept, more = weighed[:MOST_MOMENTS], len(weighed) - MOST_MOMENTS
    moments = sorted(kept, key=lambda moment: moment.at)
    if more > 0:
        moments.append(Moment(moments[-1].at, f"… and {more} more"))
    return tuple(moments)


def notes_of(call: CallDetail) -> tuple[str, ...]:
    """What the drawing leaves out."""
    dropped = ", ".join(f"{count} {_KINDS.get(kind, kind)}" for kind, count in call.dropped.items())
    left_out = f"Left out between the first and the last: {dropped}." if dropped else None
    resumed = "Taken over from another process: what happened before is in that one's part of the trace."
    unsampled = call.trace.note if call.trace and not call.trace.sampled else None
    return tuple(note for note in (resumed if call.resumed else None, left_out, unsampled) if note)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else span_of_time(seconds)


def _tokens(call: CallDetail) -> str | None:
    tokens = call.tokens
    if not tokens.responses:
        return None
    return f"{_count(tokens.input)} in, {_count(tokens.output)} out"


def _count(tokens: int | None) -> str:
    return "unknown" if tokens is None else f"{tokens:,}"


def _failures(call: CallDetail) -> Iterable[Moment]:
    if call.ending is not None and call.ending.error_type:
        yield Moment(call.ending.offset_seconds, f"the call failed: {call.ending.error_type}")
    for phase in call.phases:
        if phase.error_type:
            yield Moment(phase.offset_seconds, f"{phase.phase} failed: {phase.error_type}")
    for tool in call.tools:
        if tool.error_type:
            yield Moment(tool.offset_seconds, f"{_tool(tool.tool)} failed: {tool.error_type}")
    for error in call.errors:
        yield Moment(error.offset_seconds, f"{error.trouble} error: {error.detail}")


def _tool(tool: str) -> str:
    return tool_name(tool) if tool == OTHER else f"tool {tool}"


def _waits(call: CallDetail) -> Iterable[Moment]:
    """The long ones, the longest first."""
    turns = [turn for turn in call.turns if (turn.waited_seconds or 0.0) >= NOTABLE_WAIT]
    for turn in sorted(turns, key=lambda turn: -(turn.waited_seconds or 0.0)):
        said = "was answered after" if turn.time_to_first_audio_seconds is not None else "had no answer for"
        at = turn.waited_from_seconds or turn.offset_seconds
        yield Moment(at, f"turn {turn.number} {said} {span_of_time(turn.waited_seconds or 0.0)}")


def _interruptions(call: CallDetail) -> Iterable[Moment]:
    cut = [speech for speech in call.speech if speech.interrupted]
    if call.interruption_count > MOST_INTERRUPTIONS and cut:
        yield Moment(_end(cut[0]), f"the first of {call.interruption_count} interruptions")
        return
    for speech in cut:
        said = f"after {span_of_time(speech.duration_seconds or 0.0)} of speech"
        yield Moment(_end(speech), f"the caller interrupts the agent {said}")


def _end(speech: SpeechDetail) -> float:
    return speech.offset_seconds + (speech.duration_seconds or 0.0)
