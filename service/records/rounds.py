"""Work that is done in rounds: from time to time, at once when somebody waits for it, and never twice at a time."""

import asyncio
from collections.abc import Awaitable, Callable

Round = Callable[[], Awaitable[bool]]
"""Does some of the work; answers whether there is more of it that could be done now."""


class Rounds:
    """Runs rounds for as long as there is work, and lets others wait until one is over.

    Whoever waits shares a round with all others that wait: that is what makes one commit serve many calls.
    """

    def __init__(self, once: Round, *, interval: float | None, failed: Callable[[Exception], None]) -> None:
        """``interval`` in seconds; without it rounds are only made on demand. ``failed`` learns what a round raised."""
        self._once = once
        self._interval = interval
        self._failed = failed
        self._wake = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._woken()
            self._wake.clear()
            while await self._round():
                pass

    def wake(self) -> None:
        """Begin a round now, or another one after the present."""
        self._wake.set()

    async def over(self) -> None:
        """Wait until a round is over; it may have begun before."""
        over = self._over
        self._wake.set()
        await over.wait()

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _round(self) -> bool:
        try:
            return await self._once()
        except Exception as error:  # noqa: BLE001 -- one failing round must not end the work for good
            self._failed(error)
            return False
        finally:
            self._over.set()
            self._over = asyncio.Event()
