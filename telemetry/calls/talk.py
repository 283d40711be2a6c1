"""Measures of a conversation that need no content: dead air, talk-over, shares of talk."""

from typing import Final

from telemetry.calls.events import AgentInterrupted, CallRef, DeadAir, Event, Speaker, TalkedOver, TalkMeasured
from telemetry.clock import Instant

DEAD_AIR_SECONDS: Final = 3.0
"""The shortest silence that counts as dead air."""


class TalkMeter:
    """Measures who talks when. Silence counts from the first word to the last moment the call was observed."""

    __slots__ = (
        "_call",
        "_dead_air",
        "_dead_airs",
        "_first",
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
        self._quiet_since: Instant | None = None
        self._talk_over = 0.0
        self._dead_air = 0.0
        self._dead_airs = 0
        self._first: Instant | None = None

    def started(self, speaker: Speaker, at: Instant) -> list[Event]:
        """Begin a party's speech, and end the silence or begin the talk-over that this makes."""
        events = self._silence_ended(at)
        self._first = self._first or at
        if self._since and self._over_since is None:
            self._over_since = at
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
            return [TalkedOver(at, self._call, seconds)]
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
