"""Coalesced queries and bounded memory: the parts a cache is made of."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from service.tenants.batching import LruMap, QueryBatcher


class Dictionary:
    """Answers questions one batch at a time, when it is let, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def load(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.batches.append(list(keys))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return {key: key.upper() for key in keys if key != "unknown"}


async def everything_else() -> None:
    """Wait until no other task is left."""
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


async def test_questions_of_one_moment_make_one_batch() -> None:
    """Questions asked together are loaded together, repeats once, and each gets its own answer."""
    dictionary = Dictionary()
    questions = QueryBatcher(dictionary.load, 10)
    answers = await asyncio.gather(*(questions.get(key) for key in ("a", "b", "a", "unknown")))
    assert answers == ["A", "B", "A", None]
    assert dictionary.batches == [["a", "b", "unknown"]]


async def test_questions_that_come_meanwhile_make_the_next_batch() -> None:
    """While one batch is under way later questions gather for the next, in order and at most a batch's size."""
    dictionary = Dictionary()
    dictionary.open.clear()
    questions = QueryBatcher(dictionary.load, 2)
    waiting = [asyncio.create_task(questions.get("a"))]
    while not dictionary.batches:  # noqa: ASYNC110 (until the first batch is under way)
        await asyncio.sleep(0)
    waiting += [asyncio.create_task(questions.get(key)) for key in "abcd"]
    await asyncio.sleep(0)
    assert len(questions) == 4
    dictionary.open.set()
    assert await asyncio.gather(*waiting) == ["A", "A", "B", "C", "D"]
    assert dictionary.batches == [["a"], ["b", "c"], ["d"]]
    assert len(questions) == 0


async def test_a_failed_batch_fails_its_questions_only() -> None:
    """Everybody in a failed batch hears its error; questions after it are asked anew."""
    dictionary = Dictionary()
    dictionary.error = LookupError("no")
    questions = QueryBatcher(dictionary.load, 10)
    results = await asyncio.gather(*(questions.get(key) for key in "ab"), return_exceptions=True)
    assert results == [dictionary.error] * 2
    dictionary.error = None
    assert await questions.get("a") == "A"


async def test_deserted_questions_leave_nothing_behind() -> None:
    """Questions whose callers have gone are answered or fail without a trace, and without a complaint."""
    dictionary = Dictionary()
    dictionary.open.clear()
    questions = QueryBatcher(dictionary.load, 10)
    deserted = [asyncio.create_task(questions.get(key)) for key in "ab"]
    await asyncio.sleep(0)
    for caller in deserted:
        caller.cancel()
    await asyncio.gather(*deserted, return_exceptions=True)
    dictionary.error = LookupError("no")
    dictionary.open.set()
    await everything_else()
    assert len(questions) == 0


async def test_closing_cancels_every_question() -> None:
    """Closing ends questions under way and waiting; it may be repeated, and later questions are answered again."""
    dictionary = Dictionary()
    dictionary.open.clear()
    questions = QueryBatcher(dictionary.load, 1)
    waiting = [asyncio.create_task(questions.get(key)) for key in "ab"]
    await asyncio.sleep(0)
    await questions.close()
    await questions.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    dictionary.open.set()
    assert await questions.get("a") == "A"


def test_the_least_recently_used_entry_goes() -> None:
    """Reading and writing both count as use; what was used longest ago makes room, and is counted."""
    memory: LruMap[str, int] = LruMap(2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.get("a") == 1
    memory.put("c", 3)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (1, None, 3)
    memory.put("a", 4)
    memory.put("d", 5)
    assert (memory.get("a"), memory.get("c"), len(memory), memory.evictions) == (4, None, 2, 2)


def test_forgetting_is_no_eviction() -> None:
    """An entry that is discarded is not counted, and discarding what is not there is nothing."""
    memory: LruMap[str, int] = LruMap(2)
    memory.put("a", 1)
    memory.discard("a")
    memory.discard("b")
    assert (memory.get("a"), len(memory), memory.evictions) == (None, 0, 0)


@pytest.mark.parametrize("size", [0, -1])
def test_a_memory_needs_room(size: int) -> None:
    """A size that could hold nothing is refused."""
    with pytest.raises(ValueError, match="size must be at least 1"):
        LruMap(size)
