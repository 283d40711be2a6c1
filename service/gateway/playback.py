"""Facts about a call's audio, derived from the carrier's signals: what is heard, and since when nobody spoke."""

from collections import deque
from dataclasses import dataclass

from telemetry.calls.call import Call
from telemetry.clock import Instant
from telemetry.semconv.attributes import EndReason, Fault

MAX_RESPONSES = 8
"""Responses of which it is remembered that they are heard, or were; a carrier plays one or two at a time."""


class Playback:
    """The responses the caller hears. Carriers report them in pieces and sometimes twice; the call is told each once.

    Several may be heard at a time: the agent speaks until the last of them stops. Where the carrier does not report
    playback itself, the first audio of a response stands for its beginning, and the completion of the response for its
    end.
    """

    __slots__ = ("_call", "_exact", "_heard", "_playing")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._exact = False
        self._playing: deque[str] = deque(maxlen=MAX_RESPONSES)
        self._heard: deque[str] = deque(maxlen=MAX_RESPONSES)

    @property
    def audible(self) -> bool:
        """True while a response is heard."""
        return bool(self._playing)

    def started(self, response_id: str, *, exact: bool) -> None:
        """Note that audio of the response begins, or goes on."""
        self._exact = self._exact or exact
        if response_id in self._heard:
            return
        self._heard.append(response_id)
        self._playing.append(response_id)
        self._call.agent_started_speaking()

    def stopped(self, response_id: str, *, interrupted: bool) -> None:
        """Note that audio of the response ended or was cut short."""
        if response_id not in self._playing:
            return
        self._playing.remove(response_id)
        if not self._playing:
            self._call.agent_stopped_speaking(interrupted=interrupted)

    def response_done(self, response_id: str, *, interrupted: bool) -> bool:
        """Note that the response is complete; returns False where its playback is reported by itself."""
        if self._exact:
            return False
        self.stopped(response_id, interrupted=interrupted)
        return True


class VoiceActivity:
    """The last moment at which caller or agent was heard."""

    __slots__ = ("_agent", "_awaits_answer", "_caller", "_last")

    def __init__(self, now: Instant) -> None:
        self._last = now
        self._caller = self._agent = self._awaits_answer = False

    def active(self, now: Instant) -> None:
        """Note that the caller did something that can be heard, such as pressing a key."""
        self._last = now

    def caller(self, now: Instant, *, speaking: bool) -> None:
        """Note that the caller begins or stops speaking."""
        self._last = now
        self._awaits_answer = self._awaits_answer or (self._caller and not speaking)
        self._caller = speaking

    def agent(self, now: Instant, *, speaking: bool) -> bool:
        """Note that the agent begins or stops speaking; returns True for the beginning of an answer to the caller."""
        self._last = now
        self._agent = speaking
        answers = speaking and self._awaits_answer
        self._awaits_answer = self._awaits_answer and not answers
        return answers

    @property
    def awaits_answer(self) -> bool:
        """True from the end of the caller's speech until the agent is heard."""
        return self._awaits_answer

    def silence(self, now: Instant) -> float:
        """Return for how many seconds nobody has spoken; 0 while somebody does."""
        return 0.0 if self._caller or self._agent else now.since(self._last)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds after which a session is ended whatever happens on it; None for never. Looked at with each heartbeat."""

    max_call_seconds: float | None = None
    max_silence_seconds: float | None = None

    def reached(self, started: Instant | None, voice: VoiceActivity, now: Instant) -> tuple[EndReason, Fault] | None:
        """Return the reason for which a session that started then is to end now, and whose doing it is; or None."""
        longest, quietest = self.max_call_seconds, self.max_silence_seconds
        if longest is not None and started is not None and now.since(started) >= longest:
            return EndReason.MAX_DURATION, Fault.SERVICE
        if quietest is not None and voice.silence(now) >= quietest:
            return EndReason.SILENCE, Fault.AGENT if voice.awaits_answer else Fault.CALLER
        return None
