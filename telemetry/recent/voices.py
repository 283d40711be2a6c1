"""Silences of a call, and speech of the agent that began over the caller's."""


class VoiceCounter:
    """Counts what follows from stretches of speech, in the order they end. Moments are offsets in seconds."""

    __slots__ = ("_last_voice", "_said_by_caller", "longest_silence", "talked_over")

    def __init__(self) -> None:
        self.longest_silence = 0.0
        """The longest silence that is over, in seconds."""
        self.talked_over = 0
        """Times the agent began to speak while the caller spoke."""
        self._last_voice: float | None = None
        self._said_by_caller: tuple[tuple[float, float], ...] = ()
        # The last two stretches that are over: the agent's end may be told after both.

    def session_started(self, at: float) -> None:
        """Begin to listen."""
        self._last_voice = at

    def caller_spoke(self, start: float, end: float) -> None:
        """Count a stretch of the caller's speech that is over."""
        self._heard(start, end)
        self._said_by_caller = (*self._said_by_caller[-1:], (start, end))

    def agent_spoke(self, start: float, end: float, *, caller_since: float | None) -> None:
        """Count a stretch of the agent's speech that is over; ``caller_since`` begins the caller's, if open."""
        self._heard(start, end)
        speaking = caller_since is not None and caller_since < start
        self.talked_over += speaking or any(began < start < ended for began, ended in self._said_by_caller)

    def session_ended(self, at: float) -> None:
        """Count the silence before the end."""
        self._heard(at, at)

    def _heard(self, start: float, end: float) -> None:
        if self._last_voice is not None:
            self.longest_silence = max(self.longest_silence, start - self._last_voice)
            self._last_voice = max(self._last_voice, end)
