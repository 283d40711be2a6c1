"""Time in a simulation: scripted seconds at a scale, and waits in real ones."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeScale:
    """The ratio of real to scripted time, and the time-outs that do not depend on it."""

    scale: float = 1.0
    """Real seconds a natural second takes."""
    caller_timeout: float = 10.0
    """Real seconds a caller waits for a gateway that owes something, whatever the scale, before hanging up."""
    greeting_timeout: float = 0.5
    """Real seconds within which a gateway that greets has certainly asked for its greeting."""

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError(f"time scale must not be negative, got {self.scale}")

    async def pause(self, seconds: float, *, at_least: float = 0.0) -> None:
        """Let natural seconds pass, and no fewer real ones than ``at_least``."""
        await asyncio.sleep(max(seconds * self.scale, at_least))


NATURAL = TimeScale()
"""As long as people talk."""


async def set_within(seconds: float, *events: asyncio.Event) -> bool:
    """Wait so many real seconds in all for the events to be set; returns False if one is not."""
    try:
        async with asyncio.timeout(seconds):
            for event in events:
                await event.wait()
    except TimeoutError:
        return False
    return True
