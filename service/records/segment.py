"""One append-only file of rows. Not safe for threads by itself: the spill's lock guards it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.records.lines import from_line, latest, to_line
from service.records.record import Row


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a segment's rows."""

    rows: tuple[Row, ...]
    damaged: int
    """Lines that were torn or changed, and left out."""
    end: int
    """Where in the file the next part begins."""
    last: bool
    """Nothing follows."""


class Segment:
    """A file that is written at its end."""

    __slots__ = ("_file", "_sync", "path", "size")

    def __init__(self, path: Path, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.size = 0

    def append(self, lines: bytes) -> None:
        """Write these at the end. Raises ``OSError`` if the disk does not take all of them; append no more then."""
        try:
            self._write(lines)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(lines)

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if self._sync:
            os.fdatasync(self._file)


def read_part(path: Path, begin: int, most: int) -> Part:
    """Up to ``most`` lines from this offset on. A segment that is gone is at its end."""
    rows: list[Row] = []
    damaged = 0
    try:
        with path.open("rb") as file:
            file.seek(begin)
            for _ in range(most):
                line = file.readline()
                if not line:
                    return Part(tuple(rows), damaged, file.tell(), last=True)
                row = from_line(line)
                damaged += row is None
                rows += () if row is None else (row,)
            return Part(tuple(rows), damaged, file.tell(), last=False)
    except FileNotFoundError:
        return Part((), 0, begin, last=True)


def compacted(paths: Iterable[Path], into: Path, *, sync: bool) -> Segment:
    """A new segment with the latest state of each call in these, which it replaces."""
    sources = tuple(paths)
    segment = Segment(into, sync=sync)
    try:
        segment.append(lines_of(latest(row for path in sources for row in _rows(path))))
    except OSError:
        segment.close()
        into.unlink()
        raise
    for path in sources:
        path.unlink(missing_ok=True)
    return segment


def _rows(path: Path) -> Iterator[Row]:
    with suppress(FileNotFoundError), path.open("rb") as file:
        yield from (row for row in map(from_line, file) if row is not None)


def lines_of(rows: Sequence[Row]) -> bytes:
    """The rows as they stand in a segment."""
    return b"".join(map(to_line, rows))
