"""Files for records while the database is away: this process's own, replayed when it is back.

A lock on one more file shows, for as long as the process lives, that its records are its own: the operating system
lets go of it whatever way the process ends. Whoever finds it free has proof, not a guess, that the process is dead, and
takes its files over.
"""

import errno
import fcntl
import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final
from zlib import crc32

from service.records.record import Row, UnreadableRowError, complete

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all files together: about 90,000 calls, since each is kept once when room gets scarce."""
_LOCK: Final = ".lock"
_SEGMENT: Final = ".spill"
_INSTANCE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORTH_COMPACTING: Final = 2
# The files are compacted again once they are this many times as large as after the last time.
_CHECKED: Final = 8
# Hexadecimal digits of the checksum at the head of a line.


def to_line(row: Row) -> bytes:
    """Return the row with its checksum before it, ended by a newline."""
    body = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(body), body)


def from_line(line: bytes) -> Row | None:
    """Return the row, or ``None`` if the line is torn or not one of ours."""
    check, body = line[:_CHECKED], line[_CHECKED + 1 :].removesuffix(b"\n")
    if not line.endswith(b"\n") or check != b"%08x" % crc32(body):
        return None
    try:
        return complete(json.loads(body))
    except UnreadableRowError:
        return None


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return of each call under each claim only the newest state, in the order they were first seen."""
    newest: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        key = (row["call_id"], row["claim"], row["instance_id"])
        known = newest.get(key)
        if known is None or known["version"] < row["version"]:
            newest[key] = row
    return list(newest.values())


@dataclass(frozen=True, slots=True)
class SpillPart:
    """Some of a segment's rows."""

    rows: tuple[Row, ...]
    damaged: int
    """Lines that were torn or changed, and left out."""
    end: int
    """The offset at which the next part begins."""
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


def read_part(path: Path, begin: int, most: int) -> SpillPart:
    """Return up to ``most`` lines from this offset on. A segment that is gone is at its end."""
    rows: list[Row] = []
    damaged = 0
    try:
        with path.open("rb") as file:
            file.seek(begin)
            for _ in range(most):
                line = file.readline()
                if not line:
                    return SpillPart(tuple(rows), damaged, file.tell(), last=True)
                row = from_line(line)
                damaged += row is None
                rows += () if row is None else (row,)
            return SpillPart(tuple(rows), damaged, file.tell(), last=False)
    except FileNotFoundError:
        return SpillPart((), 0, begin, last=True)


def compacted(paths: Iterable[Path], into: Path, *, sync: bool) -> Segment:
    """Return a new segment with the latest state of each call in these, which it replaces."""
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
    """Return the rows as they stand in a segment."""
    return b"".join(map(to_line, rows))


class SpillFolderError(ValueError):
    """The folder for spilled records cannot be used; names it and the reason."""


@dataclass(frozen=True, slots=True)
class SpillSize:
    """The room the spill takes."""

    bytes: int
    damaged_lines: int
    """Lines found torn or changed, each at most one state of one call."""
    full: bool
    """The last attempt to keep something failed."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some spilled rows, to be written to the database and then marked as done."""

    path: Path
    part: SpillPart


class Spill:
    """Bounded files of rows in one folder. Safe for threads; every method may block on the disk."""

    def __init__(self, folder: Path, instance_id: str, *, max_bytes: int = MAX_BYTES, sync: bool = True) -> None:
        if not _INSTANCE_ID.fullmatch(instance_id):
            raise ValueError(f"an instance id is 1 to 64 of A-Z, a-z, 0-9, _ and -, not {instance_id!r}")
        self._folder = folder
        self._instance_id = instance_id
        self._max_bytes = max_bytes
        self._sync = sync
        self._lock = Lock()
        self._locks: dict[str, int] = {}
        self._active: Segment | None = None
        self._compacted_size = 0
        self._numbers = 0
        self._backlog: deque[Path] = deque()
        self._offset = 0
        self._backlog_bytes = 0
        self._damaged = 0
        self._full = False

    def open(self) -> None:
        """Take the folder into use. Raises :class:`SpillFolderError` if it cannot be."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            mine = self._lock_mine()
        except OSError as error:
            raise SpillFolderError(f"{self._folder}: {os.strerror(error.errno or errno.EIO)}") from None
        if mine is None:
            raise SpillFolderError(f"{self._folder}: another process uses the instance id {self._instance_id}")
        self._locks[self._instance_id] = mine

    def _lock_mine(self) -> int | None:
        path = self._folder / f"{self._instance_id}{_LOCK}"
        if path.exists():
            return _try_lock(path)
        # Under its name the file must never be seen unlocked: another process would take this one for dead.
        unnamed = path.with_suffix(".locking")
        lock = _try_lock(unnamed)
        unnamed.rename(path)
        return lock

    def close(self) -> None:
        """Let go of the folder; what is still in it stays for the next process."""
        with self._lock:
            self._retire()
            left = bool(self._backlog)
            for instance_id in list(self._locks):
                self._unlock(instance_id, remove=not left)

    # Keeping ----------------------------------------------------------------------------------------------------------

    def append(self, rows: Sequence[Row]) -> None:
        """Keep these rows, all or none. Raises ``OSError``, with ``ENOSPC`` also when the bound is reached."""
        lines = lines_of(rows)
        with self._lock:
            try:
                self._append(lines)
            except OSError:
                self._full = True
                raise
            self._full = False

    def _append(self, lines: bytes) -> None:
        if self._size() + len(lines) > self._max_bytes:
            self._compact()
        if self._size() + len(lines) > self._max_bytes:
            raise OSError(errno.ENOSPC, "the spill has reached its bound")
        if self._active is None:
            self._active = Segment(self._next_path(), sync=self._sync)
        try:
            self._active.append(lines)
        except OSError:
            # What it ends with now may be torn; the next attempt begins a new one.
            self._retire()
            raise

    def _compact(self) -> None:
        """Keep only the latest state of each call, if that has not been done lately."""
        if self._size() < _WORTH_COMPACTING * self._compacted_size:
            return
        self._retire()
        self._active = compacted(self._backlog, self._next_path(), sync=self._sync)
        self._backlog.clear()
        self._offset = self._backlog_bytes = 0
        self._compacted_size = self._active.size

    def _size(self) -> int:
        return self._backlog_bytes + (self._active.size if self._active else 0)

    def _next_path(self) -> Path:
        self._numbers += 1
        return self._folder / f"{self._instance_id}.{self._numbers:06d}{_SEGMENT}"

    # Replaying --------------------------------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """True if nothing waits to be replayed."""
        return not self._backlog and self._active is None

    def next_chunk(self, most: int) -> Chunk | None:
        """Return up to so many of the oldest rows, or ``None``. The same ones again until :meth:`done`."""
        with self._lock:
            if not self._backlog:
                self._retire()
            if not self._backlog:
                return None
            return Chunk(self._backlog[0], read_part(self._backlog[0], self._offset, most))

    def done(self, chunk: Chunk) -> None:
        """Forget these rows: the database has them."""
        with self._lock:
            if not self._backlog or self._backlog[0] != chunk.path:
                # It has been compacted into another one, which brings them again.
                return
            self._damaged += chunk.part.damaged
            self._offset = chunk.part.end
            if chunk.part.last:
                self._backlog.popleft()
                self._offset = 0
                chunk.path.unlink(missing_ok=True)
                self._backlog_bytes -= chunk.part.end

    def _retire(self) -> None:
        """Write no more to the present file, so that it can be replayed."""
        if self._active is None:
            return
        self._active.close()
        if self._active.size:
            self._enlist(self._active.path, self._active.size)
        else:
            self._active.path.unlink(missing_ok=True)
        self._active = None

    def _enlist(self, path: Path, size: int) -> None:
        self._backlog.append(path)
        self._backlog_bytes += size

    # Other processes --------------------------------------------------------------------------------------------------

    def adopt(self) -> frozenset[str]:
        """Take over the files of processes that are dead; return every process proven dead and not yet forgotten."""
        with self._lock:
            for path in sorted(self._folder.glob(f"*{_LOCK}")):
                if path.stem not in self._locks:
                    self._adopt(path)
            return frozenset(self._locks) - {self._instance_id}

    def forget(self, instance_id: str) -> None:
        """Let go of a dead process once everything of it is dealt with."""
        with self._lock:
            if not any(path.name.startswith(f"{instance_id}.") for path in self._backlog):
                self._unlock(instance_id, remove=True)

    def room(self) -> int:
        """Return the bytes that the spill can still take, by its bound and by the disk; 0 if the disk is gone."""
        with self._lock:
            left = max(0, self._max_bytes - self._size())
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return 0
        return min(left, disk.f_bavail * disk.f_frsize)

    def size(self) -> SpillSize:
        """Return how full the spill is."""
        with self._lock:
            return SpillSize(self._size(), self._damaged, self._full)

    def _adopt(self, path: Path) -> None:
        lock = _try_lock(path)
        if lock is None:
            return
        self._locks[path.stem] = lock
        for segment in sorted(self._folder.glob(f"{path.stem}.*{_SEGMENT}")):
            self._enlist(segment, segment.stat().st_size)

    def _unlock(self, instance_id: str, *, remove: bool) -> None:
        lock = self._locks.pop(instance_id, None)
        if lock is not None:
            if remove:
                (self._folder / f"{instance_id}{_LOCK}").unlink(missing_ok=True)
            os.close(lock)


def _try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, or ``None`` while another process does."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return file
