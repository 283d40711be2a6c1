"""Turns, latencies, interruptions, talk-over and dead air of one call, derived from who starts and stops speaking."""

from dataclasses import dataclass
from typing import Final

from telemetry.calls.events import (
    AgentInterrupted,
    CallRef,
    DeadAir,
    Event,
    FirstAudio,
    SpeechEnded,
    SpeechStarted,
    TalkedOver,
    TalkMeasured,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.clock import Instant
from telemetry.semconv.attributes import Speaker, TurnEnd

DEAD_AIR_SECONDS: Final = 3.0
"""The shortest silence that counts as dead air."""


class TalkMeter:
    """Measures who talks when. Silence counts from the first word to the last moment the call was observed."""

    __slots__ = (
        "_call",
        "_dead_air",
        "_dead_airs",
        "_first",
        "_over_by",
        "_over_since",
        "_quiet_since",
        "_since",
        "_talk",
        "_talk_over",
    )

    def __init__(self, call: CallRef) -> None:
        self._call = call
        self._since: dict[Speaker, Instant] = {}
        self._talk: dict[Speaker, float] = {}
        self._over_since: Instant | None = None
        self._over_by = Speaker.CALLER
        self._quiet_since: Instant | None = None
        self._talk_over = 0.0
        self._dead_air = 0.0
        self._dead_airs = 0
        self._first: Instant | None = None

    def listen(self, at: Instant) -> None:
        """Begin in the middle of a conversation, in which nobody speaks at the moment as far as is known."""
        self._first = self._quiet_since = at

    def started(self, speaker: Speaker, at: Instant) -> list[Event]:
        """Begin a party's speech, and end the silence or begin the talk-over that this makes."""
        events = self._silence_ended(at)
        self._first = self._first or at
        if self._since and self._over_since is None:
            self._over_since, self._over_by = at, speaker
            if speaker is Speaker.AGENT:
                events.append(AgentInterrupted(at, self._call))
        self._since[speaker] = at
        return events

    def stopped(self, speaker: Speaker, at: Instant) -> list[Event]:
        """End a party's speech, and the talk-over; silence begins if nobody speaks any more."""
        began = self._since.pop(speaker, None)
        if began is None:
            return []
        self._talk[speaker] = self._talk.get(speaker, 0.0) + at.since(began)
        if self._over_since is not None:
            seconds, self._over_since = at.since(self._over_since), None
            self._talk_over += seconds
            return [TalkedOver(at, self._call, seconds, self._over_by)]
        self._quiet_since = at
        return []

    def unobserved(self, at: Instant) -> list[Event]:
        """End speech and silence, of which no more will be known."""
        events = [event for speaker in list(self._since) for event in self.stopped(speaker, at)]
        events += self._silence_ended(at)
        return events

    def ended(self, at: Instant) -> list[Event]:
        """End speech and silence with the call, and sum up; nothing for a call of which no speech was reported."""
        events = self.unobserved(at)
        if self._first is not None:
            caller, agent = self._talk.get(Speaker.CALLER, 0.0), self._talk.get(Speaker.AGENT, 0.0)
            seconds, self._first = at.since(self._first), None
            sums = (seconds, caller, agent, self._talk_over, self._dead_air, self._dead_airs)
            events.append(TalkMeasured(at, self._call, *sums))
        return events

    def _silence_ended(self, at: Instant) -> list[Event]:
        if self._quiet_since is None:
            return []
        began, self._quiet_since = self._quiet_since, None
        seconds = at.since(began)
        if seconds < DEAD_AIR_SECONDS:
            return []
        self._dead_air += seconds
        self._dead_airs += 1
        return [DeadAir(at, self._call, began, seconds)]


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

    def __init__(
        self, call: CallRef, received: Instant, *, turns: int = 0, heard: bool = False, since: Instant | None = None
    ) -> None:
        """Begin; or go on ``since`` a moment, with so many turns behind it, and with the agent ``heard`` already."""
        self._call = call
        self._received = received
        self._heard = heard
        self._current = _Turn(turns, None)
        self._overlapped: _Turn | None = None
        self._caller_since: Instant | None = None
        self._agent_since: Instant | None = None
        self._awaiting_since: Instant | None = None
        self._talk = TalkMeter(call)
        if heard and since is not None:
            self._talk.listen(since)

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
        begun = (TurnStarted(at, self._call, self._current.number), SpeechStarted(at, self._call, Speaker.CALLER))
        if self._agent_since is not None and self._overlapped is None:
            self._overlapped = last
            return [*begun, *talk]
        return [*self._close(last, at), *begun, *talk]

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
        events.append(SpeechStarted(at, self._call, Speaker.AGENT))
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
