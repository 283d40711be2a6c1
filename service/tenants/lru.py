"""A bounded memory that forgets what was used least recently."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


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
