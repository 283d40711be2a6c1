"""What the events of a call's path mean for its journal: decisions, phases, transitions, what went wrong."""

from typing import Final

from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallReferred,
    CallRejected,
    CallStarted,
    Event,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    LifecycleViolated,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    Speaker,
    SpeechEnded,
    TokensUsed,
    ToolEnded,
    ToolStarted,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.calls.lifecycle import Transition
from telemetry.recent.call_state import Note, OpenTurn, RetainedCall, Rows, short
from telemetry.recent.record import Decision, Ending, ErrorRow, PhaseRow, SpeechRow, ToolRow, Trouble
from telemetry.semconv.attributes import SetupOutcome


def _accepted(journal: RetainedCall, event: CallAccepted, at: float) -> None:
    journal.step(Transition.ACCEPTED, at)
    journal.resumed = event.resumed
    _decide(journal, Decision(SetupOutcome.ACCEPTED, at, event.setup_seconds))


def _rejected(journal: RetainedCall, event: CallRejected, at: float) -> None:
    journal.step(Transition.REJECTED, at)
    error_type = short(event.error_type)
    _decide(journal, Decision(SetupOutcome.REJECTED, at, event.setup_seconds, event.reason, event.limit, error_type))


def _decide(journal: RetainedCall, decision: Decision) -> None:
    journal.decision = decision
    journal.waited(decision.setup_seconds)


def _started(journal: RetainedCall, _event: CallStarted, at: float) -> None:
    journal.step(Transition.STARTED, at)
    journal.started = at


def _abandoned(journal: RetainedCall, event: CallAbandoned, at: float) -> None:
    journal.step(Transition.ABANDONED, at)
    journal.ending = Ending(event.reason, at, short(event.error_type))


def _referred(journal: RetainedCall, event: CallReferred, at: float) -> None:
    journal.step(Transition.REFERRED, at)
    journal.referred_to = short(event.target)
    journal.ending_under_way = True


def _ended(journal: RetainedCall, event: CallEnded, at: float) -> None:
    journal.step(Transition.ENDED, at)
    journal.ending = Ending(event.reason, at, short(event.error_type))
    journal.run_seconds = event.duration_seconds
    if journal.unheard:
        journal.waited(at)


def _phase_started(journal: RetainedCall, event: PhaseStarted, at: float) -> None:
    journal.open_phases[event.phase] = at
    journal.ending_under_way |= event.phase is Phase.HANGUP


def _phase_ended(journal: RetainedCall, event: PhaseEnded, at: float) -> None:
    journal.open_phases.pop(event.phase, None)
    row = PhaseRow(event.phase, journal.offset(event.started), at, short(event.error_type))
    journal.keep(Rows.PHASES, row)


def _instructions_failed(journal: RetainedCall, event: InstructionsFailed, at: float) -> None:
    journal.keep(Rows.ERRORS, ErrorRow(at, Trouble.INSTRUCTIONS, short(event.error_type) or ""))


def _fallback_used(journal: RetainedCall, _event: FallbackUsed, _at: float) -> None:
    journal.fallback = True


def _tool_started(journal: RetainedCall, event: ToolStarted, at: float) -> None:
    if len(journal.open_tools) >= journal.limits.open_at_once:
        journal.overflowed(Rows.TOOLS)
        return
    journal.open_tools[event.tool_call_id] = ToolRow(event.tool, short(event.tool_call_id) or "", at, None)


def _tool_ended(journal: RetainedCall, event: ToolEnded, at: float) -> None:
    begun = journal.open_tools.pop(event.tool_call_id, None)
    if begun is not None:
        journal.keep(
            Rows.TOOLS,
            ToolRow(begun.tool, begun.tool_call_id, journal.offset(event.started), at, short(event.error_type)),
        )


def _session_error(journal: RetainedCall, event: SessionError, at: float) -> None:
    journal.keep(Rows.ERRORS, ErrorRow(at, Trouble.SESSION, short(event.code) or ""))


def _violated(journal: RetainedCall, event: LifecycleViolated, at: float) -> None:
    transition = short(event.transition) or ""
    journal.keep(Rows.ERRORS, ErrorRow(at, Trouble.LIFECYCLE, transition, event.violation))


PATH_NOTES: Final[dict[type[Event], Note]] = {
    CallAccepted: _accepted,
    CallRejected: _rejected,
    CallStarted: _started,
    CallAbandoned: _abandoned,
    CallReferred: _referred,
    CallEnded: _ended,
    PhaseStarted: _phase_started,
    PhaseEnded: _phase_ended,
    InstructionsFailed: _instructions_failed,
    FallbackUsed: _fallback_used,
    ToolStarted: _tool_started,
    ToolEnded: _tool_ended,
    SessionError: _session_error,
    LifecycleViolated: _violated,
}
"""How each event of the path is written down; those absent say nothing but that the call lives."""


def _first_audio(journal: RetainedCall, event: FirstAudio, at: float) -> None:
    journal.first_audio = at
    journal.time_to_first_audio = event.seconds
    journal.agent_since = at
    if not journal.resumed:
        journal.waited(event.seconds)


def _speech_ended(journal: RetainedCall, event: SpeechEnded, at: float) -> None:
    if event.speaker is Speaker.AGENT:
        journal.agent_since = None
    else:
        journal.caller_since = None
        _caller_stopped(journal, at)
    row = SpeechRow(event.speaker, journal.offset(event.started), at, event.interrupted)
    journal.keep(Rows.SPEECH, row)


def _caller_stopped(journal: RetainedCall, at: float) -> None:
    turn = journal.open_turns.get(journal.turns)
    if turn is not None:
        turn.caller_stopped = at


def _turn_started(journal: RetainedCall, event: TurnStarted, at: float) -> None:
    journal.turns = event.number
    journal.caller_since = at
    journal.open_turns[event.number] = OpenTurn(event.number, at)


def _turn_answered(journal: RetainedCall, event: TurnAnswered, at: float) -> None:
    journal.agent_since = at
    turn = journal.open_turns.get(event.number)
    if turn is not None:
        turn.time_to_first_audio = event.seconds


def _turn_interrupted(journal: RetainedCall, event: TurnInterrupted, _at: float) -> None:
    journal.interruptions += 1
    turn = journal.open_turns.get(event.number)
    if turn is not None:
        turn.interrupted = True


def _turn_ended(journal: RetainedCall, event: TurnEnded, at: float) -> None:
    turn = journal.open_turns.pop(event.number, None) or OpenTurn(event.number, journal.offset(event.started))
    ended = turn.row(at, event.reason)
    journal.waited(ended.waited(at) or 0.0)
    journal.keep(Rows.TURNS, ended)


def _tokens_used(journal: RetainedCall, event: TokensUsed, _at: float) -> None:
    journal.tokens.add(event)


TALK_NOTES: Final[dict[type[Event], Note]] = {
    FirstAudio: _first_audio,
    SpeechEnded: _speech_ended,
    TurnStarted: _turn_started,
    TurnAnswered: _turn_answered,
    TurnInterrupted: _turn_interrupted,
    TurnEnded: _turn_ended,
    TokensUsed: _tokens_used,
}
"""How each event of the conversation is written down."""
