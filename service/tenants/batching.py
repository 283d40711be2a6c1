"""Coalesced queries and bounded memory: what a cache needs so that many callers cost few queries."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class QueryBatcher(Generic[K, V]):
    """Runs one query at a time: the keys asked for while it runs make up the next, at most ``size`` of them.

    A caller who asks for a key that is queued or under way shares its answer, or its error. A caller who is cancelled
    takes nothing from the others. The query must end by itself: bound it with a time-out.
    """

    __slots__ = ("_load", "_queue", "_results", "_size", "_worker")

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], size: int) -> None:
        self._load = load
        self._size = size
        self._queue: deque[K] = deque()
        self._results: dict[K, asyncio.Future[V | None]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return the key's value, ``None`` when the query does not know it; raises what the query raised."""
        answer = self._results.get(key)
        if answer is None:
            answer = self._results[key] = asyncio.get_running_loop().create_future()
            self._queue.append(key)
            self._worker = self._worker or asyncio.create_task(self._work())
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Cancel what is queued and under way."""
        worker, self._worker = self._worker, None
        self._queue.clear()
        for answer in self._results.values():
            answer.cancel()
        self._results.clear()
        if worker is not None:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    def __len__(self) -> int:
        """Return the number of keys queued or under way."""
        return len(self._results)

    async def _work(self) -> None:
        while self._queue:
            await self._serve([self._queue.popleft() for _ in range(min(self._size, len(self._queue)))])
        self._worker = None

    async def _serve(self, keys: Sequence[K]) -> None:
        try:
            found = await self._load(keys)
        except Exception as error:  # noqa: BLE001 (raised in every caller)
            for key in keys:
                _fail(self._results.pop(key), error)
        else:
            for key in keys:
                self._results.pop(key).set_result(found.get(key))


def _fail(answer: asyncio.Future[V | None], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # marks it as retrieved, also when every caller has gone


class LruMap(Generic[K, V]):
    """At most ``size`` entries; one more drops the least recently used, and counts it."""

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
        """Return the entry, which now counts as used; ``None`` when there is none."""
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
        """Drop an entry, if it is there; not counted as an eviction."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
