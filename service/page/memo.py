"""Answers that stand for a moment, so that many viewers cost what one does."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Final, Generic, TypeVar

MAX_KEYS: Final = 500
"""Answers kept; past it the oldest goes."""

T = TypeVar("T")


class Memo(Generic[T]):
    """Remembers what was made for a key, for some seconds; several that ask at once wait for one making."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._made: OrderedDict[Hashable, tuple[float, asyncio.Task[T]]] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return what was made for the key, or make it; what fails is raised to all that wait, and not kept."""
        until, task = self._made.get(key, (0.0, None))
        if task is None or self._monotonic() >= until:
            task = asyncio.ensure_future(_made(make))
            self._made[key] = (self._monotonic() + self._seconds, task)
            self._made.move_to_end(key)
            while len(self._made) > MAX_KEYS:
                self._made.popitem(last=False)
        try:
            # Whoever leaves must not take the answer from the others.
            return await asyncio.shield(task)
        except Exception:
            if self._made.get(key, (0.0, None))[1] is task:
                del self._made[key]
            raise

    def forget(self, key: Hashable) -> None:
        """Have it made anew for whoever asks next; does nothing for a key without an answer."""
        self._made.pop(key, None)


async def _made(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
