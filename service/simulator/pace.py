"""Natural seconds made shorter or longer: a test's calls last milliseconds, a demo's as long as people talk."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast scripted time passes."""

    scale: float = 1.0
    """Real seconds a natural second takes."""
    patience: float = 10.0
    """Real seconds a caller waits for a gateway that owes something, whatever the scale, before hanging up."""
    greeting: float = 0.5
    """Real seconds within which a gateway that greets has certainly asked for its greeting."""

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError(f"time scale must not be negative, got {self.scale}")

    async def pause(self, seconds: float, *, at_least: float = 0.0) -> None:
        """Let natural seconds pass, and no fewer real ones than ``at_least``."""
        await asyncio.sleep(max(seconds * self.scale, at_least))


NATURAL = Pace()
"""As long as people talk."""
