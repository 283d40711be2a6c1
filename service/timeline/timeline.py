"""A call as a timeline, whatever shows it: panels, tracks of bars and marks, and what stands out, in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from service.timeline.detail import (
    CallDetail,
    GapDetail,
    PhaseDetail,
    SpeechDetail,
    StretchDetail,
    ToolDetail,
    TurnDetail,
)
from service.timeline.explain import span_of_time, tool_error, tool_name
from telemetry.calls.events import Phase
from telemetry.calls.lifecycle import TERMINAL, CallState, Transition
from telemetry.recent.record import NOTABLE_SILENCE, NOTABLE_WAIT
from telemetry.semconv.attributes import OTHER, Speaker

MOST_MOMENTS: Final = 8
"""More than these are only counted: a picture in a ticket is read at a glance."""
MOST_INTERRUPTIONS: Final = 3
"""More than these are counted in one line."""
_KINDS: Final = {"speech": "stretches of speech", "logs": "log lines"}
CLOSE_UP: Final = 3.0
"""A call this many times as long as its setup shows the setup apart, on an axis of its own."""
TOOL_TRACKS: Final = 4
"""Tools with a track of their own; further ones share one."""
_ON_THE_WAY: Final = frozenset({Transition.REJECTED, Transition.ACCEPTED, Transition.STARTED})
_LEAST: Final = 0.001
# Seconds an axis has at least, so that a call that was over at once can be drawn.


class Paint(StrEnum):
    """The meaning of a bar."""

    SETUP = "setup"
    """The call before its media session."""
    SESSION = "session"
    """The media session."""
    PHASE = "phase"
    CALLER = "caller"
    AGENT = "agent"
    WAIT = "wait"
    """The caller waits for an answer."""
    SILENCE = "silence"
    """Nobody speaks."""
    TOOL = "tool"
    LEFT_OUT = "left_out"
    """Something was here and has not been kept."""
    FAILED = "failed"
    """A phase or a tool that failed."""


class Sign(StrEnum):
    """The meaning of a mark."""

    STEP = "step"
    """A transition of the call's state."""
    INTERRUPTION = "interruption"
    """The caller cut the agent short."""
    TALKED_OVER = "talked_over"
    """The agent began to speak while the caller spoke."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that took time."""

    start: float
    end: float
    paint: Paint
    text: str
    """Its label where there is room, and its tooltip."""
    open: bool = False
    """True while it goes on: the end is merely now."""


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """Something that happened at a moment."""

    at: float
    sign: Sign
    text: str


@dataclass(frozen=True, slots=True)
class Track:
    """A line of bars and marks of one kind."""

    label: str
    bars: tuple[Bar, ...] = ()
    marks: tuple[TimelineMark, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Tracks on one axis of time, from 0 to ``end``."""

    title: str
    end: float
    tracks: tuple[Track, ...]
    open: bool = False
    """True if the call goes on past the right edge."""


@dataclass(frozen=True, slots=True)
class NotableMoment:
    """Something worth reading in words, at a moment in seconds from the reception."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The whole timeline of one call."""

    title: str
    explanation: str
    """The call in a sentence."""
    facts: tuple[tuple[str, str], ...]
    """Names and values."""
    panels: tuple[Panel, ...]
    moments: tuple[NotableMoment, ...]
    """Moments that stand out, in order."""
    notes: tuple[str, ...]
    """Sentences about what the timeline leaves out."""


def facts_of(call: CallDetail) -> tuple[tuple[str, str], ...]:
    """Return names and values of the call's facts, those that are known."""
    numbers = " → ".join(filter(None, (call.caller, call.dialled)))
    facts = (
        ("tenant", call.tenant_id),
        ("from → to", numbers or None),
        ("received", call.received_at.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("state", _state(call)),
        ("duration", f"{span_of_time(call.duration_seconds)} since {call.duration_basis}"),
        ("setup", _time(call.setup_seconds)),
        ("first audio", _time(call.time_to_first_audio_seconds)),
        ("longest wait", _time(call.longest_wait_seconds)),
        ("silence up to", _time(call.longest_silence_seconds or None)),
        ("flags", _flags(call)),
        ("turns", _turns(call)),
        ("tokens", _tokens(call)),
        ("trace", call.trace.trace_id if call.trace else None),
    )
    return tuple((name, value) for name, value in facts if value is not None)


def moments_of(call: CallDetail) -> tuple[NotableMoment, ...]:
    """Return what stands out in the order it happened; if it is too much, the weightiest and the number of the rest."""
    weighed = [*_failures(call), *_wait_facts(call), *_silences(call), *_talked_over(call), *_interruptions(call)]
    kept, more = weighed[:MOST_MOMENTS], len(weighed) - MOST_MOMENTS
    moments = sorted(kept, key=lambda moment: moment.at)
    if more > 0:
        moments.append(NotableMoment(moments[-1].at, f"… and {more} more"))
    return tuple(moments)


def notes_of(call: CallDetail) -> tuple[str, ...]:
    """Return sentences about what the timeline leaves out."""
    dropped = ", ".join(f"{count} {_KINDS.get(kind, kind)}" for kind, count in call.dropped.items())
    left_out = f"Left out between the first and the last: {dropped}." if dropped else None
    resumed = "Taken over from another process: what was said before it did is not known here."
    unsampled = call.trace.note if call.trace and not call.trace.sampled else None
    notes = (resumed if call.resumed and not call.from_record else None, left_out, unsampled)
    return tuple(note for note in notes if note)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else span_of_time(seconds)


def _state(call: CallDetail) -> str:
    told = call.outcome is None or str(call.outcome) == str(call.state)
    return _words(call.state) if told else f"{_words(call.state)} ({_words(str(call.outcome))})"


def _flags(call: CallDetail) -> str | None:
    return ", ".join(_words(flag) for flag in call.flags or ()) or None


def _tokens(call: CallDetail) -> str | None:
    tokens = call.tokens
    if not tokens.responses:
        return None
    return f"{_count(tokens.input)} in, {_count(tokens.output)} out"


def _count(tokens: int | None) -> str:
    return "unknown" if tokens is None else f"{tokens:,}"


def _failures(call: CallDetail) -> Iterable[NotableMoment]:
    if call.ending is not None and call.ending.error_type:
        yield NotableMoment(call.ending.offset_seconds, f"the call failed: {call.ending.error_type}")
    tries = [phase for phase in call.phases if phase.phase is Phase.ATTACH and phase.error_type]
    if tries:
        more = f", the first of {len(tries)} tries" if len(tries) > 1 else ""
        yield NotableMoment(_end_of(tries[0]), f"attach failed: {tries[0].error_type}{more}")
    for phase in call.phases:
        if phase.error_type and phase.phase is not Phase.ATTACH:
            yield NotableMoment(_end_of(phase), f"{_words(phase.phase)} failed: {phase.error_type}")
    for tool in call.tools:
        if tool.error_type:
            told = tool_error(tool.tool, tool.error_type)
            yield NotableMoment(_end_of(tool), f"{_tool(tool.tool)} failed" + (f": {told}" if told else ""))
    for error in call.errors:
        yield NotableMoment(error.offset_seconds, f"{error.trouble} error: {error.detail}")


def _tool(tool: str) -> str:
    return tool_name(tool) if tool == OTHER else f"tool {tool}"


def _wait_facts(call: CallDetail) -> Iterable[NotableMoment]:
    """Yield the long waits, the longest first."""
    turns = [turn for turn in call.turns if (turn.waited_seconds or 0.0) >= NOTABLE_WAIT]
    for turn in sorted(turns, key=lambda turn: -(turn.waited_seconds or 0.0)):
        said = "was answered after" if turn.time_to_first_audio_seconds is not None else "had no answer for"
        at = turn.waited_from_seconds or turn.offset_seconds
        yield NotableMoment(at, f"turn {turn.number} {said} {span_of_time(turn.waited_seconds or 0.0)}")


def _interruptions(call: CallDetail) -> Iterable[NotableMoment]:
    cut = [speech for speech in call.speech if speech.interrupted]
    if (call.interruption_count or 0) > MOST_INTERRUPTIONS and cut:
        yield NotableMoment(_end_of(cut[0]), f"the first of {call.interruption_count} interruptions")
        return
    for speech in cut:
        said = f"after {span_of_time(speech.duration_seconds or 0.0)} of speech"
        yield NotableMoment(_end_of(speech), f"the caller interrupts the agent {said}")


def _silences(call: CallDetail) -> Iterable[NotableMoment]:
    """Yield the silences that are no wait for an answer: a wait has a line of its own."""
    waits = [turn for turn in call.turns if (turn.waited_seconds or 0.0) >= NOTABLE_WAIT]
    long = [silence for silence in call.silences if silence.duration_seconds >= NOTABLE_SILENCE]
    for silence in sorted(long, key=lambda silence: -silence.duration_seconds):
        end = silence.offset_seconds + silence.duration_seconds
        if not any(silence.offset_seconds <= (turn.waited_from_seconds or 0.0) < end for turn in waits):
            yield NotableMoment(silence.offset_seconds, f"nobody speaks for {span_of_time(silence.duration_seconds)}")


def _talked_over(call: CallDetail) -> Iterable[NotableMoment]:
    if len(call.talked_over) > MOST_INTERRUPTIONS:
        first = call.talked_over[0]
        yield NotableMoment(
            first.offset_seconds, f"the first of {len(call.talked_over)} times the agent talks over the caller"
        )
        return
    for over in call.talked_over:
        yield NotableMoment(
            over.offset_seconds, f"the agent talks over the caller for {span_of_time(over.duration_seconds)}"
        )


def _turns(call: CallDetail) -> str | None:
    if call.turn_count is None or not (call.turn_count or call.interruption_count):
        return None
    # The greeting's interruption belongs to no turn.
    cut = (call.interruption_count or 0) - bool(call.greeting_interrupted)
    greeting = ", the greeting cut short" if call.greeting_interrupted else ""
    return f"{call.turn_count}, {cut} interrupted{greeting}"


def _end_of(row: PhaseDetail | SpeechDetail | ToolDetail) -> float:
    return row.offset_seconds + (row.duration_seconds or 0.0)


def waterfall(call: CallDetail) -> Waterfall:
    """Return the timeline of a call."""
    return Waterfall(
        title=f"Call {call.call_id}",
        explanation=call.explanation,
        facts=facts_of(call),
        panels=tuple(_panels(call)),
        moments=moments_of(call),
        notes=notes_of(call),
    )


def _panels(call: CallDetail) -> Iterable[Panel]:
    end, setup = _end(call), _setup_end(call)
    going_on = call.state not in TERMINAL
    if setup is None or setup < _LEAST or end < setup * CLOSE_UP or call.state is CallState.REJECTED:
        yield Panel("", end, (*_life(call, 0.0, end), *_phases(call.phases, end), *_conversation(call, end)), going_on)
        return
    early = [phase for phase in call.phases if phase.offset_seconds < setup]
    late = [phase for phase in call.phases if phase.offset_seconds >= setup]
    yield Panel("Setup", setup, (*_life(call, 0.0, setup), *_phases(early, setup)))
    yield Panel("Call", end, (*_life(call, setup, end), *_phases(late, end), *_conversation(call, end)), going_on)


def _end(call: CallDetail) -> float:
    """Return the last moment there is anything to see of the call."""
    ends = [row.offset_seconds + (row.duration_seconds or 0.0) for row in call.phases]
    return max((call.as_of - call.received_at).total_seconds(), *ends, _LEAST)


def _setup_end(call: CallDetail) -> float | None:
    """Return the first audio, or failing that whatever came last on the way to it; None while nothing has."""
    heard = [] if call.time_to_first_audio_seconds is None else [call.time_to_first_audio_seconds]
    steps = [step.offset_seconds for step in call.transitions if step.transition in _ON_THE_WAY]
    return max([heard[0]] if heard else steps, default=None)


# Tracks ---------------------------------------------------------------------------------------------------------------
def _life(call: CallDetail, since: float, end: float) -> list[Track]:
    received, started = call.received_at, call.started_at
    begin = (started - received).total_seconds() if started else None
    over = (call.as_of - received).total_seconds()
    going_on = call.state not in TERMINAL and over <= end
    bars = [Bar(0.0, min(over if begin is None else begin, end), Paint.SETUP, "setup", going_on and begin is None)]
    if begin is not None and begin < end:
        text = f"session, {span_of_time(call.duration_seconds)}"
        bars.append(Bar(begin, min(over, end), Paint.SESSION, text, going_on))
    marks = [
        TimelineMark(step.offset_seconds, Sign.STEP, _words(step.transition))
        for step in call.transitions
        if since <= step.offset_seconds <= end
    ]
    tracks = [Track("call", tuple(bars)), Track("state", (), tuple(marks))]
    return tracks if marks else tracks[:1]


def _phases(phases: Iterable[PhaseDetail], end: float) -> list[Track]:
    tracks: dict[str, list[Bar]] = {}
    rows = list(phases)
    # A single try says no more than the phase that it is a try of.
    refused = any(phase.error_type for phase in rows if phase.phase is Phase.ATTACH)
    for phase in rows:
        if phase.phase is Phase.ATTACH and not refused:
            continue
        tracks.setdefault(_words(phase.phase), []).append(_timed(phase, _words(phase.phase), Paint.PHASE, end))
    return [Track(name, tuple(bars)) for name, bars in tracks.items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _conversation(call: CallDetail, end: float) -> Iterable[Track]:
    if not call.speech and not call.turns and not call.tools and not call.errors and call.seen_from_seconds is None:
        return
    for speaker, paint in ((Speaker.CALLER, Paint.CALLER), (Speaker.AGENT, Paint.AGENT)):
        rows = [row for row in call.speech if row.speaker is speaker]
        over = call.talked_over if speaker is Speaker.AGENT else ()
        speech = _with_gaps(_speech(rows, over, speaker, paint, end), call.gaps, "speech", end)
        yield _unseen(speech, call)
    waits = (*_quiet(call.silences), *_waits(call.turns))
    yield _unseen(_with_gaps(Track("wait", waits), call.gaps, "turns", end), call)
    tools = _tools(call.tools, end)
    yield from (_with_gaps(tool, call.gaps, "tools", end) for tool in tools)
    if call.errors:
        marks = tuple(TimelineMark(error.offset_seconds, Sign.ERROR, error.detail) for error in call.errors)
        yield Track("errors", (), marks)


def _speech(
    rows: Sequence[SpeechDetail], over: Sequence[StretchDetail], speaker: Speaker, paint: Paint, end: float
) -> Track:
    bars = tuple(_timed(row, f"{speaker} speaks", paint, end) for row in rows)
    cut = tuple(
        TimelineMark(_end_of(row), Sign.INTERRUPTION, "interrupted by the caller") for row in rows if row.interrupted
    )
    began = tuple(TimelineMark(row.offset_seconds, Sign.TALKED_OVER, "talks over the caller") for row in over)
    return Track(str(speaker), bars, tuple(sorted((*cut, *began), key=lambda mark: mark.at)))


def _unseen(track: Track, call: CallDetail) -> Track:
    """Return a track of the conversation with what another process saw of it marked as not known here."""
    if call.seen_from_seconds is None:
        return track
    received = call.received_at
    begin = (call.started_at - received).total_seconds() if call.started_at is not None else 0.0
    hidden = Bar(begin, max(begin, call.seen_from_seconds), Paint.LEFT_OUT, "seen by another process")
    return replace(track, bars=(hidden, *track.bars))


def _quiet(silences: Iterable[StretchDetail]) -> Iterable[Bar]:
    for silence in silences:
        end = silence.offset_seconds + silence.duration_seconds
        yield Bar(silence.offset_seconds, end, Paint.SILENCE, f"silence, {span_of_time(silence.duration_seconds)}")


def _with_gaps(track: Track, gaps: Iterable[GapDetail], kind: str, end: float) -> Track:
    bars = tuple(
        Bar(
            gap.offset_seconds,
            end if gap.duration_seconds is None else gap.offset_seconds + gap.duration_seconds,
            Paint.LEFT_OUT,
            "left out",
        )
        for gap in gaps
        if gap.kind == kind
    )
    return replace(track, bars=(*bars, *track.bars)) if bars else track


def _waits(turns: Iterable[TurnDetail]) -> Iterable[Bar]:
    for turn in turns:
        if turn.waited_from_seconds is not None and turn.waited_seconds:
            said = "answer after" if turn.time_to_first_audio_seconds is not None else "no answer for"
            text = f"turn {turn.number}: {said} {span_of_time(turn.waited_seconds)}"
            until = turn.waited_from_seconds + turn.waited_seconds
            going_on = turn.time_to_first_audio_seconds is None and turn.duration_seconds is None
            yield Bar(turn.waited_from_seconds, until, Paint.WAIT, text, going_on)


def _tools(tools: Sequence[ToolDetail], end: float) -> list[Track]:
    names = list(dict.fromkeys(tool_name(tool.tool) for tool in tools))
    apart = names if len(names) <= TOOL_TRACKS else names[: TOOL_TRACKS - 1]
    tracks: dict[str, list[Bar]] = {}
    for tool in tools:
        name = tool_name(tool.tool)
        tracks.setdefault(name if name in apart else "other tools", []).append(_timed(tool, name, Paint.TOOL, end))
    return [Track(label, tuple(bars)) for label, bars in tracks.items()]


def _timed(row: PhaseDetail | SpeechDetail | ToolDetail, name: str, paint: Paint, end: float) -> Bar:
    failed = error_type = row.error_type if isinstance(row, PhaseDetail | ToolDetail) else None
    if isinstance(row, ToolDetail):
        error_type = tool_error(row.tool, row.error_type)
        name += ", cut off by the end" if row.cut_off else ""
    if row.duration_seconds is None:
        return Bar(row.offset_seconds, end, paint, f"{name}, goes on", open=True)
    text = f"{name}, {span_of_time(row.duration_seconds)}" + (
        f", failed: {error_type}" if error_type else ", failed" if failed else ""
    )
    return Bar(row.offset_seconds, row.offset_seconds + row.duration_seconds, Paint.FAILED if failed else paint, text)
