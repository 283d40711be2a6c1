"""The file of a SQLite database, watched under a running service.

A file that is deleted or moved lives on for whoever has it open: SQLite goes on writing into it in WAL mode, and all of
that is lost with the process ("How To Corrupt An SQLite Database File", §4.2). Here such a file is noticed before a
transaction begins and before it commits, and no connection makes an empty one in its place.
"""

import logging
import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

GONE: Final = (
    "the file of the database is gone: it was deleted or moved under the running service; put it back, and it is used"
)
_IDENTITY: Final = "callscope_file"
# The key of a connection's file among what the pool notes of it.

_logger = logging.getLogger(__name__)

Identity = tuple[int, int]
"""Device and inode."""


class DatabaseFileGoneError(OSError):
    """The file of the database is not there any more, or another one is in its place."""


class SqliteFile:
    """One database's file, and the connections that were opened to it."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._known: Identity | None = None
        """The file that the latest connection opened; None before the first."""

    @property
    def gone(self) -> bool:
        """True if the file was there and is not any more."""
        return self._known is not None and self._present() is None

    def watch(self, engine: Engine) -> None:
        """Check the file around every transaction of an engine; call it after what listens for its connections."""
        event.listen(engine, "do_connect", self._before_opening)
        event.listen(engine, "connect", self._opened)
        event.listen(engine, "checkout", self._lent)
        event.listen(engine, "commit", self._committing)

    def _present(self) -> Identity | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- twice in each transaction
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _before_opening(self, *_: object) -> None:
        if self.gone:
            raise DatabaseFileGoneError(GONE)  # SQLite would make an empty one

    def _opened(self, _connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        present = self._present()
        if self._known is not None and present != self._known:
            _logger.warning("another file is in the place of the database's; it is used from now on")
        self._known = record.info[_IDENTITY] = present

    def _lent(self, _connection: DBAPIConnection, record: ConnectionPoolEntry, _fairy: object) -> None:
        if self._present() != record.info[_IDENTITY]:
            raise DisconnectionError  # the pool opens another one

    def _committing(self, connection: Connection) -> None:
        record: Any = connection.connection
        if self._present() != record.info[_IDENTITY]:
            raise DatabaseFileGoneError(GONE)
