"""Turns, latencies and interruptions of one call, derived from who starts and stops speaking."""

from dataclasses import dataclass

from telemetry.calls.events import (
    CallRef,
    Event,
    FirstAudio,
    Speaker,
    SpeechEnded,
    TurnAnswered,
    TurnEnd,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.calls.talk import TalkMeter
from telemetry.clock import Instant


@dataclass(slots=True)
class _Turn:
    number: int
    since: Instant | None
    cut: bool = False
    """The turn's answer was interrupted."""


class Conversation:
    """One call's conversation. Each method takes the moment of a report and returns the events that follow from it.

    A turn begins when the caller speaks and lasts until the caller speaks again or the call ends; an answer still
    playing by then keeps its turn open until it stops, so that the interruption belongs to the turn it cut short. A
    turn's latency is the time from the end of the caller's speech to the first audio of the answer: an answer that
    takes several responses (a tool call first, say) is still one answer. Nobody waits while the agent speaks: after
    words into its speech the wait begins when it stops.
    """

    __slots__ = (
        "_agent_since",
        "_awaiting_since",
        "_call",
        "_caller_since",
        "_current",
        "_heard",
        "_overlapped",
        "_received",
        "_talk",
    )

    def __init__(self, call: CallRef, received: Instant) -> None:
        self._call = call
        self._received = received
        self._heard = False
        self._current = _Turn(0, None)
        self._overlapped: _Turn | None = None
        self._caller_since: Instant | None = None
        self._agent_since: Instant | None = None
        self._awaiting_since: Instant | None = None
        self._talk = TalkMeter(call)

    @property
    def turns(self) -> int:
        """Number of turns begun."""
        return self._current.number

    def caller_started(self, at: Instant) -> list[Event]:
        """Begin a turn; the caller may speak into the answer of the last."""
        if self._caller_since is not None:
            return []
        last, self._current = self._current, _Turn(self._current.number + 1, at)
        self._caller_since = at
        self._awaiting_since = None
        talk = self._talk.started(Speaker.CALLER, at)
        begun = TurnStarted(at, self._call, self._current.number)
        if self._agent_since is not None and self._overlapped is None:
            self._overlapped = last
            return [begun, *talk]
        return [*self._close(last, at), begun, *talk]

    def caller_stopped(self, at: Instant) -> list[Event]:
        """End the caller's speech and begin the wait for an answer."""
        if self._caller_since is None:
            return []
        started, self._caller_since = self._caller_since, None
        # A detection that waits for silence tells of the end of a speech shorter than the silence before its beginning.
        at = max(at, started)
        self._awaiting_since = at
        return [SpeechEnded(at, self._call, Speaker.CALLER, started), *self._talk.stopped(Speaker.CALLER, at)]

    def agent_started(self, at: Instant) -> list[Event]:
        """Begin the agent's speech and end the wait for it."""
        if self._agent_since is not None:
            return []
        self._agent_since = at
        events: list[Event] = []
        if not self._heard:
            self._heard = True
            events.append(FirstAudio(at, self._call, at.since(self._received)))
        if self._awaiting_since is not None:
            events.append(TurnAnswered(at, self._call, self._current.number, at.since(self._awaiting_since)))
            self._awaiting_since = None
        return events + self._talk.started(Speaker.AGENT, at)

    def agent_stopped(self, at: Instant, *, interrupted: bool = False) -> list[Event]:
        """End the agent's speech; ``interrupted`` if the caller cut it short."""
        if self._agent_since is None:
            return []
        started, self._agent_since = self._agent_since, None
        spoken = SpeechEnded(at, self._call, Speaker.AGENT, started, interrupted)
        if self._awaiting_since is not None:
            self._awaiting_since = max(self._awaiting_since, at)
        turn = self._current if self._overlapped is None else self._overlapped
        events: list[Event] = [spoken]
        if interrupted:
            turn.cut = True
            events.append(TurnInterrupted(at, self._call, turn.number))
        if self._overlapped is not None:
            self._overlapped = None
            events += self._close(turn, at)
        return events + self._talk.stopped(Speaker.AGENT, at)

    def unobserved(self, at: Instant) -> list[Event]:
        """End what is being said, of which no more will be known; an answer that is awaited is not waited for."""
        events = self._speech_ended(at)
        if self._overlapped is not None:
            events += self._close(self._overlapped, at)
        self._caller_since = self._agent_since = self._awaiting_since = self._overlapped = None
        return events + self._talk.unobserved(at)

    def ended(self, at: Instant) -> list[Event]:
        """End speech and turns with the call."""
        events = self._speech_ended(at)
        for turn in (self._overlapped, self._current):
            if turn is not None:
                events.extend(self._close(turn, at, TurnEnd.CALL_ENDED))
        self._caller_since = self._agent_since = self._awaiting_since = self._overlapped = None
        self._current = _Turn(self._current.number, None)
        return events + self._talk.ended(at)

    def _speech_ended(self, at: Instant) -> list[Event]:
        speaking = ((Speaker.CALLER, self._caller_since), (Speaker.AGENT, self._agent_since))
        return [SpeechEnded(at, self._call, who, started) for who, started in speaking if started is not None]

    def _close(self, turn: _Turn, at: Instant, otherwise: TurnEnd = TurnEnd.COMPLETED) -> list[Event]:
        # Turn 0 is the greeting, which no speech of the caller began.
        if turn.since is None:
            return []
        reason = TurnEnd.INTERRUPTED if turn.cut else otherwise
        return [TurnEnded(at, self._call, turn.number, turn.since, reason)]
