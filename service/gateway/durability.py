"""Which calls a crash could still lose: as long as it could, nobody is told anything about such a call."""

import asyncio
from collections.abc import Awaitable, Callable

from telemetry.semconv.attributes import CallId

Keep = Callable[[CallId], Awaitable[object]]
"""Makes sure, within a time of its own, that a call outlives this process on record."""


class DurabilityGate:
    """The calls on their way to being on record, and those who wait for them."""

    __slots__ = ("_hurry", "_keep", "_unrecorded")

    def __init__(self, keep: Keep, hurry: Callable[[], None]) -> None:
        self._keep = keep
        self._hurry = hurry
        self._unrecorded: dict[CallId, asyncio.Event] = {}

    def expect(self, call_id: CallId) -> None:
        """A call is announced of which there is no record; see that :meth:`settle` is called in the end."""
        self._unrecorded[call_id] = asyncio.Event()

    async def keep(self, call_id: CallId) -> None:
        """Wait, within bounds, until the call is on record as it is now; nothing if it was so before."""
        if call_id in self._unrecorded:
            await self._keep(call_id)
            self.settle(call_id)

    def changed(self) -> None:
        """A call that is on record has come to a new state: have that recorded soon, and go on."""
        self._hurry()

    async def wait(self, call_id: CallId) -> None:
        """Wait until the call is on record, or all was tried."""
        waiting = self._unrecorded.get(call_id)
        if waiting is not None:
            await waiting.wait()

    def settle(self, call_id: CallId) -> None:
        """Let go of those who wait for the call."""
        waiting = self._unrecorded.pop(call_id, None)
        if waiting is not None:
            waiting.set()
