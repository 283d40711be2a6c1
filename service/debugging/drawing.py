"""What of a call is drawn: which panels and tracks it has, and what stands out of it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from service.debugging.detail import CallDetail, GapDetail, PhaseDetail, SpeechDetail, ToolDetail, TurnDetail
from service.debugging.explain import span_of_time, tool_name
from service.debugging.facts import facts_of, moments_of, notes_of
from service.debugging.waterfall import Bar, Mark, Paint, Panel, Sign, Track, Waterfall
from telemetry.events import Speaker
from telemetry.lifecycle import TERMINAL, CallState, Transition

CLOSE_UP: Final = 3.0
"""A call this many times as long as its setup shows the setup apart, on an axis of its own."""

TOOL_TRACKS: Final = 4
"""Tools with a track of their own; further ones share one."""

_ON_THE_WAY: Final = frozenset({Transition.REJECTED, Transition.ACCEPTED, Transition.STARTED})

_LEAST: Final = 0.001
# Seconds an axis has at least, so that a call that was over at once can be drawn.


def waterfall(call: CallDetail) -> Waterfall:
    """The drawing of a call."""
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
    if setup is None or end < setup * CLOSE_UP or call.state is CallState.REJECTED:
        yield Panel("", end, (*_life(call, 0.0, end), *_phases(call.phases, end), *_conversation(call, end)), going_on)
        return
    early = [phase for phase in call.phases if phase.offset_seconds < setup]
    late = [phase for phase in call.phases if phase.offset_seconds >= setup]
    yield Panel("Setup", setup, (*_life(call, 0.0, setup), *_phases(early, setup)))
    yield Panel("Call", end, (*_life(call, setup, end), *_phases(late, end), *_conversation(call, end)), going_on)


def _end(call: CallDetail) -> float:
    """The last moment there is anything to see of the call."""
    ends = [row.offset_seconds + (row.duration_seconds or 0.0) for row in call.phases]
    return max((call.as_of - call.received_at).total_seconds(), *ends, _LEAST)


def _setup_end(call: CallDetail) -> float | None:
    """The first audio, or failing that whatever came last on the way to it; ``None`` while nothing has."""
    heard = [row.offset_seconds for row in call.speech if row.speaker is Speaker.AGENT]
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
        Mark(step.offset_seconds, Sign.STEP, str(step.transition))
        for step in call.transitions
        if since <= step.offset_seconds <= end
    ]
    tracks = [Track("call", tuple(bars)), Track("state", (), tuple(marks))]
    return tracks if marks else tracks[:1]


def _phases(phases: Iterable[PhaseDetail], end: float) -> list[Track]:
    tracks: dict[str, list[Bar]] = {}
    for phase in phases:
        tracks.setdefault(_words(phase.phase), []).append(_timed(phase, _words(phase.phase), Paint.PHASE, end))
    return [Track(name, tuple(bars)) for name, bars in tracks.items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _conversation(call: CallDetail, end: float) -> Iterable[Track]:
    if not call.speech and not call.turns and not call.tools and not call.errors:
        return
    for speaker, paint in ((Speaker.CALLER, Paint.CALLER), (Speaker.AGENT, Paint.AGENT)):
        rows = [row for row in call.speech if row.speaker is speaker]
        yield _with_gaps(_speech(rows, speaker, paint, end), call.gaps, "speech", end)
    yield _with_gaps(Track("wait", tuple(_waits(call.turns))), call.gaps, "turns", end)
    tools = _tools(call.tools, end)
    yield from (_with_gaps(tool, call.gaps, "tools", end) for tool in tools)
    if call.errors:
        marks = tuple(Mark(error.offset_seconds, Sign.ERROR, error.detail) for error in call.errors)
        yield Track("errors", (), marks)


def _speech(rows: Sequence[SpeechDetail], speaker: Speaker, paint: Paint, end: float) -> Track:
    bars = tuple(_timed(row, f"{speaker} speaks", paint, end) for row in rows)
    marks = tuple(
        Mark(row.offset_seconds + (row.duration_seconds or 0.0), Sign.INTERRUPTION, "interrupted by the caller")
        for row in rows
        if row.interrupted
    )
    return Track(str(speaker), bars, marks)


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
    error_type = row.error_type if isinstance(row, PhaseDetail | ToolDetail) else None
    if row.duration_seconds is None:
        return Bar(row.offset_seconds, end, paint, f"{name}, goes on", open=True)
    text = f"{name}, {span_of_time(row.duration_seconds)}" + (f", failed: {error_type}" if error_type else "")
    return Bar(
        row.offset_seconds, row.offset_seconds + row.duration_seconds, Paint.FAILED if error_type else paint, text
    )
