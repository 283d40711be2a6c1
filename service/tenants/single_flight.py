"""One piece of work at a time, however many wait for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class SingleFlight(Generic[V]):
    """Callers who come while the work is under way share its result, or its error.

    A caller who gives up leaves the work to the others. The work must end by itself: bound it with a timeout.
    """

    __slots__ = ("_flight", "_work")

    def __init__(self, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        self._work = work
        self._flight: asyncio.Task[V] | None = None

    async def run(self) -> V:
        """The result of the work that is under way, or of work that begins now."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._work())
            self._flight.add_done_callback(self._land)
        return await asyncio.shield(self._flight)

    async def close(self) -> None:
        """Cancel what is under way, and wait until it is."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    def _land(self, flight: asyncio.Task[V]) -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # marks it as seen, also when every caller has gone
