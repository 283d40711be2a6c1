"""Pauses of this process: a machine that slept, a stop signal, a loop that was held up. They are no call's silence."""

from collections import deque
from typing import Final

from telemetry.clock import Instant

MAX_PAUSES: Final = 64
"""Pauses that are remembered; older ones are forgotten first."""


class Pauses:
    """Measures, from heartbeat to heartbeat, for how long this process did not run."""

    def __init__(self, heartbeat_seconds: float) -> None:
        self._longest = 2 * heartbeat_seconds
        # A heartbeat waits for so long, and may take as long again to probe its sessions.
        self._last: Instant | None = None
        self._pauses: deque[tuple[Instant, float]] = deque(maxlen=MAX_PAUSES)

    def heartbeat(self, now: Instant) -> None:
        """Note a heartbeat."""
        late = 0.0 if self._last is None else now.since(self._last) - self._longest
        self._last = now
        if late > 0:
            # Whoever could not be heard meanwhile is also due a probe, and the time to answer it.
            self._pauses.append((now, late + 2 * self._longest))

    def allowed(self, silence_seconds: float, now: Instant) -> float:
        """Return the silence, in seconds up to now, in which this process listened for ``silence_seconds``."""
        allowed = silence_seconds
        for ended, seconds in reversed(self._pauses):
            if now.since(ended) > allowed:
                break
            allowed += seconds
        return allowed
