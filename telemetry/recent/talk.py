"""What the events of the conversation mean for a call's journal: turns, speech, interruptions, tokens."""

from typing import Final

from telemetry.events import (
    Event,
    FirstAudio,
    Speaker,
    SpeechEnded,
    TokensUsed,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.recent.journal import Journal, Note, OpenTurn, Rows
from telemetry.recent.record import SpeechRow


def _first_audio(journal: Journal, event: FirstAudio, at: float) -> None:
    journal.first_audio = at
    journal.time_to_first_audio = event.seconds
    journal.agent_since = at
    if not journal.resumed:
        journal.waited(event.seconds)


def _speech_ended(journal: Journal, event: SpeechEnded, at: float) -> None:
    if event.speaker is Speaker.AGENT:
        journal.agent_since = None
    else:
        journal.caller_since = None
        _caller_stopped(journal, at)
    row = SpeechRow(event.speaker, journal.offset(event.started), at, event.interrupted)
    journal.keep(Rows.SPEECH, row)


def _caller_stopped(journal: Journal, at: float) -> None:
    turn = journal.open_turns.get(journal.turns)
    if turn is not None:
        turn.caller_stopped = at


def _turn_started(journal: Journal, event: TurnStarted, at: float) -> None:
    journal.turns = event.number
    journal.caller_since = at
    journal.open_turns[event.number] = OpenTurn(event.number, at)


def _turn_answered(journal: Journal, event: TurnAnswered, at: float) -> None:
    journal.agent_since = at
    turn = journal.open_turns.get(event.number)
    if turn is not None:
        turn.time_to_first_audio = event.seconds


def _turn_interrupted(journal: Journal, event: TurnInterrupted, _at: float) -> None:
    journal.interruptions += 1
    turn = journal.open_turns.get(event.number)
    if turn is not None:
        turn.interrupted = True


def _turn_ended(journal: Journal, event: TurnEnded, at: float) -> None:
    turn = journal.open_turns.pop(event.number, None) or OpenTurn(event.number, journal.offset(event.started))
    ended = turn.row(at, event.reason)
    journal.waited(ended.waited(at) or 0.0)
    journal.keep(Rows.TURNS, ended)


def _tokens_used(journal: Journal, event: TokensUsed, _at: float) -> None:
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
