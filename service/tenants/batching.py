"""Many questions at once become few queries, however many ask."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Batches(Generic[K, V]):
    """One query at a time: the keys that are asked for while it runs make up the next, at most ``size`` of them.

    Who asks for a key that is waiting or under way shares its answer, or its error. A caller who gives up takes nothing
    from the others. The query must end by itself: bound it with a timeout.
    """

    __slots__ = ("_answers", "_load", "_queue", "_size", "_worker")

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], size: int) -> None:
        self._load = load
        self._size = size
        self._queue: deque[K] = deque()
        self._answers: dict[K, asyncio.Future[V | None]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The key's value, ``None`` when the query does not know it."""
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = asyncio.get_running_loop().create_future()
            self._queue.append(key)
            self._worker = self._worker or asyncio.create_task(self._work())
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Cancel what is waiting and under way."""
        worker, self._worker = self._worker, None
        self._queue.clear()
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()
        if worker is not None:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    def __len__(self) -> int:
        """Keys waiting or under way."""
        return len(self._answers)

    async def _work(self) -> None:
        while self._queue:
            await self._serve([self._queue.popleft() for _ in range(min(self._size, len(self._queue)))])
        self._worker = None

    async def _serve(self, keys: Sequence[K]) -> None:
        try:
            found = await self._load(keys)
        except Exception as error:  # noqa: BLE001 (every caller hears it)
            for key in keys:
                _fail(self._answers.pop(key), error)
        else:
            for key in keys:
                self._answers.pop(key).set_result(found.get(key))


def _fail(answer: asyncio.Future[V | None], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # marks it as seen, also when every caller has gone


class Lru(Generic[K, V]):
    """At most ``size`` entries; adding one more drops the one not read or written for longest, and counts it."""

    __slots__ = ("_entries", "_evictions", "_size")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self._size = size
        self._evictions = 0
        self._entries: OrderedDict[K, V] = OrderedDict()

    @property
    def evictions(self) -> int:
        """Entries dropped for want of room."""
        return self._evictions

    def get(self, key: K) -> V | None:
        """The entry, which now counts as used; ``None`` when there is none."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, value: V) -> None:
        """Add or replace an entry."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
            self._evictions += 1

    def discard(self, key: K) -> None:
        """Forget an entry, if it is there."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)


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
