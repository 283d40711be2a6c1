"""Many questions at once become few queries, however many ask."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

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
