"""A bounded memory in front of one kind of lookup."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.tenants.batching import Batches
from service.tenants.freshness import Epoch, Freshness
from service.tenants.lru import Lru
from service.tenants.patience import answered

V = TypeVar("V")

MAX_BATCH = 500
"""Keys that one query asks for; a burst of more takes several, one after the other."""

_Question = tuple[str, int]
"""A key, and the revision it is asked under: an answer begun before a change is not for who asks after it."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """What was read, and in which epoch."""

    value: V
    epoch: Epoch


class ReadThrough(Generic[V]):
    """Answers from memory while nothing changed, else by one query at a time for all who ask.

    What was found and what was not are remembered apart, so that a flood of keys nobody has displaces no good entry.
    """

    __slots__ = ("_absent", "_batches", "_found", "_freshness", "_load", "_timeout", "hits", "misses")

    def __init__(
        self,
        load: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]],
        freshness: Freshness,
        *,
        timeout: float,
        max_found: int,
        max_absent: int,
    ) -> None:
        self._load = load
        self._freshness = freshness
        self._timeout = timeout
        self._found: Lru[str, Entry[V]] = Lru(max_found)
        self._absent: Lru[str, Epoch] = Lru(max_absent)
        self._batches = Batches(self._query, MAX_BATCH)
        self.hits = 0
        self.misses = 0

    async def get(self, key: str) -> V | None:
        """The value as it is now, ``None`` for none; :class:`TenantLookupError` when the database does not say."""
        epoch = await self._freshness.current()
        entry = self._found.get(key)
        if (entry is not None and entry.epoch is epoch) or self._absent.get(key) is epoch:
            self.hits += 1
            return None if entry is None else entry.value
        self.misses += 1
        value = await self._batches.get((key, epoch.revision))
        self._remember(key, value, epoch)
        return value

    def last_known(self, key: str) -> Entry[V] | None:
        """What was found last, however long ago; its epoch says until when it was known to hold."""
        return self._found.get(key)

    async def close(self) -> None:
        """Give up the queries under way."""
        await self._batches.close()

    @property
    def evictions(self) -> int:
        """Entries dropped for want of room."""
        return self._found.evictions + self._absent.evictions

    def __len__(self) -> int:
        return len(self._found) + len(self._absent)

    async def _query(self, questions: Sequence[_Question]) -> Mapping[_Question, V]:
        keys = list({key for key, _ in questions})
        found = await answered(lambda: self._load(keys), within=self._timeout)
        return {question: found[question[0]] for question in questions if question[0] in found}

    def _remember(self, key: str, value: V | None, epoch: Epoch) -> None:
        if value is None:
            self._found.discard(key)
            self._absent.put(key, epoch)
        else:
            self._absent.discard(key)
            self._found.put(key, Entry(value, epoch))
