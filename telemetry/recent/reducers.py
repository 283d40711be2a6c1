"""The updates of a retained call, one function an event: lifecycle, phases and tools first, then the conversation."""

from typing import Final

from telemetry.calls.events import (
    AgentInterrupted,
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallHandedOver,
    CallLost,
    CallReferred,
    CallRejected,
    CallStarted,
    CallTakenOver,
    CallUnanswered,
    DeadAir,
    Event,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    LifecycleViolated,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    SpeechEnded,
    SpeechStarted,
    TalkedOver,
    TalkMeasured,
    TokensUsed,
    ToolEnded,
    ToolStarted,
    TransitionInferred,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.calls.lifecycle import CallState, Transition
from telemetry.recent.record import (
    DeadAirRow,
    Decision,
    Ending,
    ErrorRow,
    PhaseRow,
    SpeechRow,
    Talk,
    TalkOverRow,
    ToolRow,
    Trouble,
)
from telemetry.recent.retained import OpenTurn, Reducer, RetainedCall, Rows, short
from telemetry.semconv.attributes import EndReason, RejectionReason, SetupOutcome, Speaker

MAX_TOOLS: Final = 8
"""Tools that failed and are told apart; the rest still count as rows."""


def _accepted(call: RetainedCall, event: CallAccepted, at: float) -> None:
    call.resumed = event.resumed
    decided = call.before.decided if event.resumed and call.before is not None else None
    at = at if decided is None else call.offset(decided)
    call.step(Transition.ACCEPTED, at)
    _decide(call, Decision(SetupOutcome.ACCEPTED, at, event.setup_seconds if decided is None else at))


def _taken_over(call: RetainedCall, event: CallTakenOver, at: float) -> None:
    if event.before is not None:
        call.begin_before(event.before)
        at = call.offset(event.at)
        call.voices.quiet_since = None if event.before.first_audio is None else at
    call.seen_from = at


def lose(call: RetainedCall, event: CallLost) -> None:
    """Bring a call that was over when it was found to its end, as its record has it."""
    before, at = event.before, call.offset(event.at)
    call.lost = call.resumed = True
    call.begin_before(before)
    call.last_seen = at
    if before.decided is not None:
        decided = call.offset(before.decided)
        call.step(Transition.ACCEPTED, decided)
        call.decision = Decision(SetupOutcome.ACCEPTED, decided, decided)
    if before.started is not None:
        call.started = call.offset(before.started)
        call.step(Transition.STARTED, call.started)
    if event.state is CallState.PENDING:
        call.step(Transition.REJECTED, at)
        reason, error_type = RejectionReason.CARRIER_ERROR, EndReason.STALE.value
        call.decision = Decision(SetupOutcome.REJECTED, at, at, reason, error_type=error_type)
        return
    call.step(Transition.ABANDONED if event.state is CallState.ACCEPTED else Transition.ENDED, at)
    call.ending = Ending(EndReason.STALE, at)


def _rejected(call: RetainedCall, event: CallRejected, at: float) -> None:
    call.step(Transition.REJECTED, at)
    error_type = short(event.error_type)
    _decide(call, Decision(SetupOutcome.REJECTED, at, event.setup_seconds, event.reason, event.limit, error_type))


def _decide(call: RetainedCall, decision: Decision) -> None:
    call.decision = decision
    call.waited(decision.setup_seconds)


def _started(call: RetainedCall, event: CallStarted, at: float) -> None:
    started = call.before.started if event.resumed and call.before is not None else None
    at = at if started is None else call.offset(started)
    call.step(Transition.STARTED, at)
    call.started = at


def _abandoned(call: RetainedCall, event: CallAbandoned, at: float) -> None:
    if call.waits_known:
        call.waited(at)
    call.step(Transition.ABANDONED, at)
    call.ending = Ending(event.reason, at, short(event.error_type))


def _referred(call: RetainedCall, event: CallReferred, at: float) -> None:
    call.step(Transition.REFERRED, at)
    call.referred_to = short(event.target)
    call.ending_under_way = True


def _ended(call: RetainedCall, event: CallEnded, at: float) -> None:
    call.step(Transition.ENDED, at)
    call.ending = Ending(event.reason, at, short(event.error_type), event.fault)
    call.run_seconds = event.duration_seconds
    if not call.spoken:
        call.nobody_spoke_until(at)
    if call.unheard:
        call.waited(at)


def _unanswered(call: RetainedCall, event: CallUnanswered, at: float) -> None:
    call.step(Transition.UNANSWERED, at)
    call.unanswered = event
    call.waited(at)


def _handed_over(call: RetainedCall, _event: CallHandedOver, at: float) -> None:
    call.step(Transition.HANDED_OVER, at)


def _phase_started(call: RetainedCall, event: PhaseStarted, at: float) -> None:
    call.open_phases[event.phase] = at
    call.ending_under_way |= event.phase is Phase.HANGUP


def _phase_ended(call: RetainedCall, event: PhaseEnded, at: float) -> None:
    call.open_phases.pop(event.phase, None)
    asked = (short(event.error_type), short(event.target), short(event.tool_call_id), event.resends)
    call.keep(Rows.PHASES, PhaseRow(event.phase, call.offset(event.started), at, *asked))
    if event.error_type is not None and event.phase not in call.failed_phases:
        call.failed_phases = (*call.failed_phases, event.phase)
    if event.phase is Phase.REATTACH:
        call.voices.quiet_since = None
    if event.phase is Phase.HANGUP and event.error_type is not None:
        # Refused: the call runs on, unless it was handed off before.
        call.ending_under_way = call.referred_to is not None


def _instructions_failed(call: RetainedCall, event: InstructionsFailed, at: float) -> None:
    call.keep(Rows.ERRORS, ErrorRow(at, Trouble.INSTRUCTIONS, short(event.error_type) or ""))


def _fallback_used(call: RetainedCall, _event: FallbackUsed, _at: float) -> None:
    call.fallback = True


def _tool_started(call: RetainedCall, event: ToolStarted, at: float) -> None:
    if len(call.open_tools) >= call.limits.open_at_once:
        call.overflowed(Rows.TOOLS)
        return
    call.open_tools[event.tool_call_id] = ToolRow(event.tool, short(event.tool_call_id) or "", at, None)


def _tool_ended(call: RetainedCall, event: ToolEnded, at: float) -> None:
    if event.error_type is not None and event.tool not in call.failed_tools and len(call.failed_tools) < MAX_TOOLS:
        call.failed_tools = (*call.failed_tools, event.tool)
    begun = call.open_tools.pop(event.tool_call_id, None)
    if begun is not None:
        began, error_type = call.offset(event.started), short(event.error_type)
        call.keep(Rows.TOOLS, ToolRow(begun.tool, begun.tool_call_id, began, at, error_type, event.cut_off))


def _session_error(call: RetainedCall, event: SessionError, at: float) -> None:
    call.keep(Rows.ERRORS, ErrorRow(at, Trouble.SESSION, short(event.code) or ""))


def _inferred(call: RetainedCall, event: TransitionInferred, _at: float) -> None:
    call.inferred = (*call.inferred, event.transition)


def _violated(call: RetainedCall, event: LifecycleViolated, at: float) -> None:
    transition = short(event.transition) or ""
    call.keep(Rows.ERRORS, ErrorRow(at, Trouble.LIFECYCLE, transition, event.violation))


LIFECYCLE_REDUCERS: Final[dict[type[Event], Reducer]] = {
    CallTakenOver: _taken_over,
    CallAccepted: _accepted,
    CallRejected: _rejected,
    CallUnanswered: _unanswered,
    CallStarted: _started,
    CallAbandoned: _abandoned,
    CallReferred: _referred,
    CallEnded: _ended,
    CallHandedOver: _handed_over,
    PhaseStarted: _phase_started,
    PhaseEnded: _phase_ended,
    InstructionsFailed: _instructions_failed,
    FallbackUsed: _fallback_used,
    ToolStarted: _tool_started,
    ToolEnded: _tool_ended,
    SessionError: _session_error,
    LifecycleViolated: _violated,
    TransitionInferred: _inferred,
}
"""Reducers of the lifecycle, phases, tools and errors."""


def _first_audio(call: RetainedCall, event: FirstAudio, at: float) -> None:
    if not call.spoken:
        call.nobody_spoke_until(at)
    call.first_audio = at
    call.time_to_first_audio = event.seconds
    if call.waits_known:
        call.waited(event.seconds)


def _speech_started(call: RetainedCall, event: SpeechStarted, at: float) -> None:
    call.voices.started(event.speaker, at)


def _speech_ended(call: RetainedCall, event: SpeechEnded, at: float) -> None:
    start = call.offset(event.started)
    call.voices.stopped(event.speaker, at)
    turn = call.open_turns.get(call.turns)
    if turn is not None and event.speaker is Speaker.CALLER:
        turn.caller_stopped = at
    elif turn is not None and turn.time_to_first_audio is None and start < (turn.caller_stopped or 0.0):
        # The caller's words fell into the agent's speech. Unless they stopped it they ask for no answer, as an "mhm".
        turn.caller_stopped = at if event.interrupted else None
    call.keep(Rows.SPEECH, SpeechRow(event.speaker, start, at, event.interrupted))


def _turn_started(call: RetainedCall, event: TurnStarted, at: float) -> None:
    if not call.spoken:
        call.nobody_spoke_until(at)
    call.turns = event.number
    call.open_turns[event.number] = OpenTurn(event.number, at)


def _turn_answered(call: RetainedCall, event: TurnAnswered, at: float) -> None:
    turn = call.open_turns.get(event.number)
    if turn is not None:
        turn.time_to_first_audio = event.seconds
        turn.caller_stopped = at - event.seconds


def _turn_interrupted(call: RetainedCall, event: TurnInterrupted, _at: float) -> None:
    call.interruptions += 1
    turn = call.open_turns.get(event.number)
    if turn is not None:
        turn.interrupted = True


def _agent_interrupted(call: RetainedCall, _event: AgentInterrupted, at: float) -> None:
    call.voices.talked_over += 1
    call.voices.over_since = at


def _talked_over(call: RetainedCall, event: TalkedOver, at: float) -> None:
    call.voices.over_since = None
    if event.by is Speaker.AGENT:
        call.keep(Rows.TALK_OVERS, TalkOverRow(at - event.seconds, at))


def _dead_air(call: RetainedCall, event: DeadAir, at: float) -> None:
    call.voices.quiet_since = None
    call.voices.longest_silence = max(call.voices.longest_silence, event.seconds)
    call.keep(Rows.DEAD_AIRS, DeadAirRow(call.offset(event.started), at))


def _talk_measured(call: RetainedCall, event: TalkMeasured, _at: float) -> None:
    call.talk = Talk(
        event.seconds,
        event.caller_seconds,
        event.agent_seconds,
        event.talk_over_seconds,
        event.dead_air_seconds,
        event.dead_airs,
    )


def _turn_ended(call: RetainedCall, event: TurnEnded, at: float) -> None:
    turn = call.open_turns.pop(event.number, None) or OpenTurn(event.number, call.offset(event.started))
    ended = turn.row(at, event.reason)
    waited = ended.waited(at) or 0.0
    call.waited(waited)
    call.slowest_answer = max(call.slowest_answer, waited)
    call.keep(Rows.TURNS, ended)


def _tokens_used(call: RetainedCall, event: TokensUsed, _at: float) -> None:
    call.tokens.add(event)


CONVERSATION_REDUCERS: Final[dict[type[Event], Reducer]] = {
    FirstAudio: _first_audio,
    SpeechStarted: _speech_started,
    SpeechEnded: _speech_ended,
    TurnStarted: _turn_started,
    TurnAnswered: _turn_answered,
    TurnInterrupted: _turn_interrupted,
    AgentInterrupted: _agent_interrupted,
    TalkedOver: _talked_over,
    DeadAir: _dead_air,
    TalkMeasured: _talk_measured,
    TurnEnded: _turn_ended,
    TokensUsed: _tokens_used,
}
"""Reducers of speech, turns and tokens."""
