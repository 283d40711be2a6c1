"""A list that stays small: its first rows and its last, and how many were left out between them."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Row(Protocol):
    """One line of a record."""

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        ...


RowT = TypeVar("RowT", bound=Row)


class Excerpt(Generic[RowT]):
    """Keeps the first ``head`` rows and the last ``tail``; what is left out between is counted.

    How a call began and how it came to its end explain it; of what lies between, a number is enough.
    """

    __slots__ = ("_dropped", "_first", "_head", "_last", "_tail")

    def __init__(self, head: int, tail: int) -> None:
        if head < 1 or tail < 1:
            raise ValueError(f"an excerpt keeps at least one first and one last row, not {head} and {tail}")
        self._head = head
        self._tail = tail
        self._first: list[RowT] = []
        self._last: deque[RowT] | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Rows left out."""
        return self._dropped

    def __iter__(self) -> Iterator[RowT]:
        yield from self._first
        yield from self._last or ()

    @property
    def gap(self) -> tuple[RowT, RowT | None] | None:
        """The rows on either side of what was left out; the second is ``None`` if nothing has come after it."""
        if not self._dropped or not self._first:
            return None
        return self._first[-1], self._last[0] if self._last else None

    def add(self, row: RowT) -> int:
        """Append a row; answers by how many bytes the excerpt has grown, negative if a heavier row had to go."""
        if len(self._first) < self._head:
            self._first.append(row)
            return row.weight
        if self._last is None:
            # Most calls never come here, and an empty deque costs more than their rows.
            self._last = deque()
        self._last.append(row)
        return row.weight - self._leave_out_oldest(self._last)

    def refuse(self) -> None:
        """Count a row as left out without looking at it."""
        self._dropped += 1

    def _leave_out_oldest(self, rows: deque[RowT]) -> int:
        if len(rows) <= self._tail:
            return 0
        self._dropped += 1
        return rows.popleft().weight
