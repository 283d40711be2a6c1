"""Findings in a call's rows: waits in vain, silences, speech over the caller's, and the failure that came last."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from telemetry.calls.events import Phase, Speaker
from telemetry.calls.lifecycle import TERMINAL
from telemetry.recent.record import CallDetails, PhaseRow, ToolRow, Trouble
from telemetry.semconv.attributes import OTHER

NOTABLE_WAIT: Final = 2.0
"""Seconds a caller waits for an answer before the wait is worth a line."""
NOTABLE_SILENCE: Final = 10.0
"""Seconds in which nobody speaks before the silence is worth a line."""
_NOTICED: Final = 1.0
# Seconds of waiting after which a caller may be said to have hung up for it.


@dataclass(frozen=True, slots=True)
class CallStretch:
    """A part of the call; both ends are seconds from its reception."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Something that failed and did not end the call."""

    at: float
    """When it had failed, in seconds from the reception: not when it began."""
    message: str
    """A clause such as ``tool lookup failed (TimeoutError)``."""


def tool_name(tool: str) -> str:
    """Return a tool's name as people call it; the names a model makes up have none."""
    return "unknown tool" if tool == OTHER else tool


def talked_over(call: CallDetails) -> tuple[CallStretch, ...]:
    """Return where the agent began to speak while the caller was speaking, for as long as both spoke."""
    caller = [CallStretch(row.start, _until(row.end, call)) for row in call.speech if row.speaker is Speaker.CALLER]
    agent = [CallStretch(row.start, _until(row.end, call)) for row in call.speech if row.speaker is Speaker.AGENT]
    return tuple(
        CallStretch(said.start, min(said.end, heard.end))
        for said in agent
        for heard in caller
        if heard.start < said.start < heard.end
    )


def silences(call: CallDetails, *, since: float | None = None) -> tuple[CallStretch, ...]:
    """Return where nobody spoke for :data:`NOTABLE_SILENCE` or longer while the session ran, in order.

    Args:
        call: The call's rows.
        since: Where to begin, if not at the session's start; in seconds from the reception.
    """
    begin = since if since is not None else call.summary.started
    if begin is None:
        return ()
    taken = sorted(
        [
            *((row.start, _until(row.end, call)) for row in call.speech),
            *((gap.start, _until(gap.end, call)) for gap in call.gaps if gap.kind == "speech"),
            # What a running call's agent says now, in a second response, is not known before it stops.
            *([(call.as_of, call.as_of)] if call.summary.state in TERMINAL else []),
        ]
    )
    return tuple(quiet for quiet in _between(begin, taken) if quiet.seconds >= NOTABLE_SILENCE)


def greeting_interrupted(call: CallDetails) -> bool:
    """Return True if the caller cut the agent short before a first question: an interruption that has no turn."""
    questions = [turn.start for turn in call.turns]
    first = min((row for row in call.speech if row.speaker is Speaker.AGENT), key=lambda row: row.start, default=None)
    return first is not None and first.interrupted and (not questions or first.start <= min(questions))


def unanswered(call: CallDetails) -> float | None:
    """Return the seconds the caller had waited for an answer at the end, or has by now; None if nothing is owed."""
    last = max(call.turns, key=lambda turn: turn.number, default=None)
    if last is None or last.time_to_first_audio is not None:
        return None
    waited = last.waited(call.as_of)
    return waited if waited is not None and waited >= _NOTICED else None


def failures(call: CallDetails) -> tuple[CallFailure, ...]:
    """Return the tools, transfers and hang-ups that failed and the carrier's errors, in the order they did."""
    refused = [row for row in call.phases if row.error_type and row.phase in (Phase.TRANSFER, Phase.HANGUP)]
    found = [
        *(CallFailure(_until(row.end, call), _refusal(row)) for row in refused),
        *(
            CallFailure(_until(row.end, call), tool_failure(row))
            for row in call.tools
            if row.error_type and not _ran_by(row, refused)
        ),
        *(
            CallFailure(row.at, f"the carrier reported {row.detail}")
            for row in call.errors
            if row.trouble is Trouble.SESSION
        ),
    ]
    return tuple(sorted(found, key=lambda failure: failure.at))


def standing_failure(call: CallDetails) -> CallFailure | None:
    """Return the last failure that the conversation did not get over: no later question was answered."""
    answered = [turn.start for turn in call.turns if turn.time_to_first_audio is not None]
    last_answered = max(answered, default=0.0)
    standing = [failure for failure in failures(call) if failure.at > last_answered]
    return standing[-1] if standing else None


def tool_failure(row: ToolRow) -> str:
    """Return the clause about a tool that failed."""
    name = tool_name(row.tool)
    return f"{name if row.tool == OTHER else f'tool {name}'} failed ({row.error_type})"


def _refusal(row: PhaseRow) -> str:
    to = f" to {row.target}" if row.target else ""
    name = f"the transfer{to}" if row.phase is Phase.TRANSFER else "the hang-up"
    # The carrier's answers are statuses; whatever else stopped the request has a word.
    said = "was refused" if (row.error_type or "").isdigit() else "failed"
    return f"{name} {said} ({row.error_type})"


def _ran_by(tool: ToolRow, phases: Iterable[PhaseRow]) -> bool:
    return any(tool.start <= row.start and (tool.end is None or row.start <= tool.end) for row in phases)


def _until(end: float | None, call: CallDetails) -> float:
    return call.as_of if end is None else end


def _between(begin: float, taken: Iterable[tuple[float, float]]) -> Iterator[CallStretch]:
    """Yield what lies between the stretches, which are sorted by their start and may overlap."""
    free = begin
    for start, end in taken:
        if start > free:
            yield CallStretch(free, start)
        free = max(free, end)
