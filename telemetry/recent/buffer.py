"""A buffer that keeps how a sequence began and how it ended."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Row(Protocol):
    """One row of a call's history."""

    @property
    def weight(self) -> int:
        """Bytes the row takes, about."""
        ...


RowT = TypeVar("RowT", bound=Row)


class HeadTailBuffer(Generic[RowT]):
    """Keeps the first ``head`` rows and the last ``tail``, and counts those dropped between."""

    __slots__ = ("_dropped", "_first", "_head", "_last", "_tail")

    def __init__(self, head: int, tail: int) -> None:
        if head < 1 or tail < 1:
            raise ValueError(f"head and tail must be at least 1, not {head} and {tail}")
        self._head = head
        self._tail = tail
        self._first: list[RowT] = []
        self._last: deque[RowT] | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Number of rows dropped."""
        return self._dropped

    def __iter__(self) -> Iterator[RowT]:
        yield from self._first
        yield from self._last or ()

    @property
    def gap(self) -> tuple[RowT, RowT | None] | None:
        """The rows on either side of the dropped ones, the second None if none follows; None if nothing was dropped."""
        if not self._dropped or not self._first:
            return None
        return self._first[-1], self._last[0] if self._last else None

    def add(self, row: RowT) -> int:
        """Append a row and return the growth in bytes, negative if a heavier row was dropped for it."""
        if len(self._first) < self._head:
            self._first.append(row)
            return row.weight
        if self._last is None:
            # Most calls never come here, and an empty deque takes more than their rows.
            self._last = deque()
        self._last.append(row)
        return row.weight - self._drop_oldest(self._last)

    def refuse(self) -> None:
        """Count a row as dropped without keeping it."""
        self._dropped += 1

    def _drop_oldest(self, rows: deque[RowT]) -> int:
        if len(rows) <= self._tail:
            return 0
        self._dropped += 1
        return rows.popleft().weight
