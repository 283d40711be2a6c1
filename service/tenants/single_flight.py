"""One piece of work a key at a time, however many wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Callers who ask for a key whose work is under way share its result, or its error.

    A caller who gives up leaves the work to the others. The work must end by itself: bound it with a timeout.
    """

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of ``work``, or of the same key's work that somebody else has begun."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(_awaited(work))
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Cancel what is under way, and wait until it is."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _land(self, key: K, done: asyncio.Task[V]) -> None:
        del self._flights[key]
        if not done.cancelled():
            done.exception()  # marks it as seen, also when every caller has gone

    def __len__(self) -> int:
        return len(self._flights)


async def _awaited(work: Callable[[], Awaitable[V]]) -> V:
    return await work()
