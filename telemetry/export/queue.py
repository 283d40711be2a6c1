"""What waits to be exported: bounded, and whoever adds to it is never made to wait."""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WaitingItems(Generic[Item]):
    """A bounded queue. Items taken still count against its bound until they are settled or put back."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._waiting: deque[Item] = deque()
        self._taken = 0
        self._closed = False

    def add(self, item: Item) -> int:
        """Append one item; the number now waiting, or 0 if it was refused because the queue is full or closed."""
        with self._lock:
            if self._closed or len(self._waiting) + self._taken >= self._capacity:
                return 0
            self._waiting.append(item)
            return len(self._waiting)

    def take(self, most: int) -> list[Item]:
        """The oldest items, up to ``most``. They remain accounted for until settled or put back."""
        with self._lock:
            items = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._taken += len(items)
            return items

    def settle(self, items: Sequence[Item]) -> None:
        """Items taken have arrived, or are given up."""
        with self._lock:
            self._taken -= len(items)

    def put_back(self, items: Sequence[Item]) -> None:
        """Items taken are to be tried again, before all others."""
        with self._lock:
            self._waiting.extendleft(reversed(items))
            self._taken -= len(items)

    def close(self) -> None:
        """Refuse whatever is added from here on."""
        with self._lock:
            self._closed = True

    @property
    def closed(self) -> bool:
        """Whether everything added is refused."""
        with self._lock:
            return self._closed

    def __len__(self) -> int:
        """Items waiting, without those taken."""
        with self._lock:
            return len(self._waiting)

    @property
    def unsettled(self) -> int:
        """Items waiting and items taken."""
        with self._lock:
            return len(self._waiting) + self._taken
