"""A call in the sentence that a person reads first, and the findings it is made of: waits, silences, talk-over."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from telemetry.calls.conversation import DEAD_AIR_SECONDS
from telemetry.calls.events import LimitHit, Phase
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import NOTABLE_SILENCE, CallDetails, PhaseRow, ToolRow, Trouble
from telemetry.semconv.attributes import (
    OTHER,
    UNKNOWN_TENANT,
    UNKNOWN_TOOL,
    CapacityScope,
    EndReason,
    RejectionReason,
    Speaker,
    UnansweredReason,
)

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
    """The moment it had failed, not that it began, in seconds from the reception."""
    message: str
    """A clause such as ``tool lookup failed (TimeoutError)``."""


def tool_name(tool: str) -> str:
    """Return a tool's name as people call it; the names a model makes up have none."""
    return "unknown tool" if tool == OTHER else tool


def as_tool(tool: str) -> str:
    """Return the name with the word for what it is: ``tool lookup``, ``unknown tool``."""
    return tool_name(tool) if tool == OTHER else f"tool {tool}"


def tool_error(tool: str, error_type: str | None) -> str | None:
    """Return the error to tell beside :func:`tool_name`; None if there is none, or the name says as much."""
    return None if tool == OTHER and error_type == UNKNOWN_TOOL else error_type


def silences(call: CallDetails) -> tuple[CallStretch, ...]:
    """Return where nobody spoke for :data:`DEAD_AIR_SECONDS` or longer while the session ran, in order.

    What another process saw of the call is not told.
    """
    begin = call.seen_from if call.seen_from is not None else call.summary.started
    if begin is not None and call.first_audio is not None and call.first_audio < begin:
        # The first word was another process's to hear.
        begin = None
    first_word = min((row.start for row in call.speech), default=call.as_of)
    before = [] if begin is None else [CallStretch(begin, first_word)]
    after = [CallStretch(row.start, _until(row.end, call)) for row in call.dead_airs]
    return tuple(quiet for quiet in (*before, *after) if quiet.seconds >= DEAD_AIR_SECONDS)


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
    error = tool_error(row.tool, row.error_type)
    name = "an unknown tool" if row.tool == OTHER else f"tool {row.tool}"
    return f"{name} failed" + (f" ({error})" if error else "")


def _refusal(row: PhaseRow) -> str:
    to = f" to {row.target}" if row.target else ""
    name = f"the transfer{to}" if row.phase is Phase.TRANSFER else "the hang-up"
    # The carrier's answers are statuses; whatever else stopped the request has a word.
    said = "was refused" if (row.error_type or "").isdigit() else "failed"
    return f"{name} {said} ({row.error_type})"


def _ran_by(tool: ToolRow, phases: Iterable[PhaseRow]) -> bool:
    return any(row.tool_call_id == tool.tool_call_id for row in phases)


def _until(end: float | None, call: CallDetails) -> float:
    return call.as_of if end is None else end


FALLBACK: Final = "The fallback instructions stood in for the tenant's own."

_REJECTED: Final = {
    RejectionReason.CAPACITY: "there was no free slot",
    RejectionReason.TENANT_NOT_CONFIGURED: "the tenant of the dialled number is disabled",
    RejectionReason.TENANT_LOOKUP_FAILED: "the tenant of the dialled number could not be looked up",
    RejectionReason.INSTRUCTIONS_MISSING: "there were no instructions for the agent",
    RejectionReason.CARRIER_ERROR: "the carrier did not take the acceptance",
}
_ENDED: Final = {
    EndReason.COMPLETED: "the session closed in good order",
    EndReason.HANGUP: "the caller hung up",
    EndReason.REFERRED: "it was handed to another destination",
    EndReason.ERROR: "it broke off",
    EndReason.STALE: "nothing was heard of it for too long",
    EndReason.SHUTDOWN: "the service was stopped",
    EndReason.OPERATOR: "an operator hung up",
    EndReason.MAX_DURATION: "it had run for as long as a call may",
    EndReason.SILENCE: "nobody had spoken for as long as a call may be silent",
    EndReason.VOICEMAIL: "an answering machine took it",
}
_UNANSWERED: Final = {
    UnansweredReason.CANCELED: "the caller gave up before it was decided",
    UnansweredReason.BUSY: "the called party was busy",
    UnansweredReason.NO_ANSWER: "nobody answered in time",
    UnansweredReason.DECLINED: "the called party declined",
    UnansweredReason.UNREACHABLE: "the number could not be reached",
}
_PROCESS_LOST: Final = "its process was lost (killed, or cut off from the database), and nobody saw the end"
_LOST_UNDECIDED: Final = "its process was lost (killed, or cut off from the database) before it had decided"
_OVER_MEANWHILE: Final = "its process was stopped, and nobody saw the end before another could go on with it"
_MINUTE: Final = 60
_TEN_MILLISECONDS: Final = 0.00995
# Below it, a tenth of a millisecond is shown.


def explain(call: CallDetails) -> str:
    """Return what happened to a call: its cause in the first sentence, further facts in others."""
    state = call.summary.state
    if state is CallState.REJECTED:
        said = _rejected(call)
    elif state is CallState.UNANSWERED:
        reason = call.summary.unanswered_reason
        said = f"Not answered: {_UNANSWERED[reason]}." if reason else "Not answered."
    elif state is CallState.HANDED_OVER:
        said = "Left to another process, which goes on with it."
    elif state is CallState.ABANDONED:
        said = f"Accepted, but never started: {_cause(call)}."
    elif state is CallState.ENDED:
        said = _ended(call)
    else:
        said = _under_way(call)
    return " ".join([said, *_further(call)])


def span_of_time(seconds: float) -> str:
    """Return a duration as people say it: ``0.3 ms``, ``12 ms``, ``3.4 s``, ``5 min 08 s``, ``1 h 02 min``."""
    if seconds < _TEN_MILLISECONDS:
        return f"{seconds * 1000:.1f} ms"
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes:02d} min"


def _further(call: CallDetails) -> Iterable[str]:
    """Yield sentences about what else stands out."""
    if call.fallback_instructions:
        yield FALLBACK
    failed = [row for row in call.phases if row.phase is Phase.ATTACH and row.error_type]
    if failed:
        tries = "One try" if len(failed) == 1 else f"{len(failed)} tries"
        kinds = ", ".join(dict.fromkeys(row.error_type or "" for row in failed))
        yield f"{tries} to attach to the media session failed ({kinds})."
    silence, waited = call.summary.longest_silence, unanswered(call) or 0.0
    # The silence of one who waits in vain, or for the first word, is told as the wait.
    if silence >= NOTABLE_SILENCE and silence > waited + _NOTICED and call.first_audio is not None:
        yield f"Nobody spoke for {span_of_time(silence)}."
    times = call.summary.talked_over
    if times:
        yield "The agent talked over the caller" + ("." if times == 1 else f" {times} times.")


def _rejected(call: CallDetails) -> str:
    decision = call.decision
    if decision is None or decision.reason is None:
        return "Turned away."
    cause = _REJECTED[decision.reason]
    if call.summary.lost:
        span = span_of_time(decision.setup_seconds)
        return f"Turned away after {span}: {_LOST_UNDECIDED}."
    if decision.reason is RejectionReason.TENANT_NOT_CONFIGURED and call.summary.tenant_id == UNKNOWN_TENANT:
        cause = "the dialled number reaches no tenant" if call.summary.dialled else "no dialled number could be read"
    said = f"Turned away after {span_of_time(decision.setup_seconds)}: {cause}"
    return said + _limit(decision.limit) + (f" ({decision.error_type})." if decision.error_type else ".")


def _limit(limit: LimitHit | None) -> str:
    if limit is None:
        return ""
    whose = "the tenant's limit" if limit.scope is CapacityScope.TENANT else "the global limit"
    return f"; {whose} of {limit.limit} was reached, with {limit.in_use} in use"


def _ended(call: CallDetails) -> str:
    failed = call.ending is not None and call.ending.error_type is not None
    said = "Failed" if failed else "Ended"
    cause = _cause(call)
    return f"{said} after {span_of_time(call.summary.duration)}: {cause}{_circumstances(call)}."


def _cause(call: CallDetails) -> str:
    ending = call.ending
    if ending is None:
        return "for no known reason"
    if call.summary.lost:
        return _OVER_MEANWHILE if call.handed_over else _PROCESS_LOST
    if ending.reason is EndReason.REFERRED and call.referred_to:
        return f"it was handed to {call.referred_to}"
    if ending.reason is EndReason.COMPLETED and _hung_up_by_agent(call):
        return "the agent ended it"
    return _ENDED[ending.reason] + (f" ({ending.error_type})" if ending.error_type else "")


def _hung_up_by_agent(call: CallDetails) -> bool:
    return any(row.phase is Phase.HANGUP and row.error_type is None for row in call.phases)


def _circumstances(call: CallDetails) -> str:
    """Return what explains the end where its reason alone does not: a wait in vain, silence, or a failure before it."""
    reason = call.ending.reason if call.ending is not None else None
    if reason is EndReason.REFERRED:
        return ""
    waited = unanswered(call)
    if call.first_audio is None and call.summary.started is not None and not call.resumed:
        said = " before the agent had spoken"
    elif waited is not None:
        said = (
            f" {span_of_time(waited)} after asking, without an answer"
            if reason is EndReason.HANGUP
            else (f", with the caller waiting for an answer for {span_of_time(waited)}")
        )
    else:
        said = ""
    failure = standing_failure(call)
    # After words about how long something lasted, it would say since when.
    apart = "," if said or reason in (EndReason.SILENCE, EndReason.MAX_DURATION, EndReason.STALE) else ""
    return f"{said}{apart} after {failure.message}" if failure is not None else said


def _under_way(call: CallDetails) -> str:
    summary = call.summary
    if summary.state is CallState.PENDING:
        return f"Being decided upon for {span_of_time(call.as_of)}."
    if summary.state is CallState.ACCEPTED:
        return f"Accepted {span_of_time(call.as_of)} after it was received; its media session has not begun."
    to = f", handed to {call.referred_to}" if call.referred_to else ""
    span = span_of_time(summary.duration)
    said = f"Ending{to}, {span} after its start" if summary.ending else f"Running{to} for {span}"
    waited = unanswered(call)
    if waited is not None:
        said += f"; the caller has been waiting for an answer for {span_of_time(waited)}"
    failure = standing_failure(call)
    return f"{said}, after {failure.message}." if failure is not None else f"{said}."
