"""The database: which driver a URL means, one bounded pool of connections, and two kinds of transaction."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeVar

from sqlalchemy import URL, Connection, DateTime, Dialect, MetaData, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

DATABASE_ERRORS = (DBAPIError, PoolTimeoutError, OSError)
"""Errors a transaction raises when the database, or the way to it, fails (``TimeoutError`` is an ``OSError``)."""
BUSY_SECONDS = 5.0
"""Seconds a connection waits for another writer (SQLite), or a caller for a free connection (any)."""
CONNECT_SECONDS = 5.0
"""Seconds opening a connection to a server may take."""
STATEMENT_SECONDS = 30.0
"""Seconds one statement may take on a server; callers that need less set a time-out of their own."""
RECYCLE_SECONDS = 1800
"""Age in seconds at which a server connection is replaced, so that a load balancer's idle limit is never met."""
_DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        "sqlite": "sqlite+aiosqlite",
        "sqlite+aiosqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
        "postgresql+asyncpg": "postgresql+asyncpg",
    }
)
"""Scheme as people write it → SQLAlchemy's name of dialect and asynchronous driver."""
_EXPECTED = "expected sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
_BEGIN = "callscope_begin"
"""Execution option that carries SQLite's transaction mode to the ``begin`` event."""
WRITING: Mapping[str, str] = MappingProxyType({_BEGIN: "IMMEDIATE"})
"""Execution options of an engine whose transactions write; see :meth:`Database.writing`."""


class Base(DeclarativeBase):
    """Every table of the service; constraints have names, since a migration can only change what it can name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class DatabaseUrlError(ValueError):
    """``DATABASE_URL`` cannot be used; says why without repeating credentials."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"DATABASE_URL: {problem}")


class Database:
    """A pool of connections, opened lazily; :meth:`dispose` closes them.

    ``async with Database.from_url(url) as database: ...`` does both. Errors never carry statements' parameters.
    """

    __slots__ = ("_engine", "_reading", "_writing")

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        writer = engine.execution_options(**WRITING)
        self._reading = async_sessionmaker(engine, expire_on_commit=False)
        self._writing = async_sessionmaker(writer, expire_on_commit=False)

    @classmethod
    def from_url(cls, url: str, *, pool_size: int = 10) -> Self:
        """Return the database ``url`` names, with at most ``pool_size`` connections.

        Raises :class:`DatabaseUrlError` when the URL is unreadable, its scheme unknown or its folder missing.
        """
        target = _resolve(url)
        if target.get_backend_name() == "sqlite":
            return cls(_sqlite_engine(target, pool_size))
        return cls(_server_engine(target, pool_size))

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations."""
        return self._engine

    def reading(self) -> AsyncSession:
        """Return a session (an async context manager) for a transaction that only reads."""
        return self._reading()

    def writing(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Return a session in a transaction that commits at the end of the block and rolls back on an error.

        On SQLite it takes the write lock at once: a read that later wants to write fails when another wrote meanwhile.
        """
        return self._writing.begin()

    async def dispose(self) -> None:
        """Close every connection; safe to repeat."""
        await self._engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.dispose()

    def __repr__(self) -> str:
        return f"Database({self._engine.dialect.name})"


def failure_reason(error: BaseException) -> str:
    """Return the cause of one of :data:`DATABASE_ERRORS`, without what a server's message may repeat of the URL."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error | OSError):
        return str(cause) or type(cause).__name__
    return type(cause.__cause__ or cause).__name__


def _resolve(text: str) -> URL:
    """Return the URL with the driver Callscope uses; every complaint leaves the text itself out."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"not a database URL; {_EXPECTED}") from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise DatabaseUrlError(f"no driver for the scheme {url.drivername!r}; {_EXPECTED}")
    return url.set(drivername=driver)


def _sqlite_engine(url: URL, pool_size: int) -> AsyncEngine:
    if url.database in (None, "", ":memory:"):
        raise DatabaseUrlError("an in-memory SQLite database vanishes with its connection; name a file")
    folder = Path(str(url.database)).parent
    if not folder.is_dir():
        raise DatabaseUrlError(f"the folder {folder} does not exist")
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        # The driver's own transaction control begins too late for a consistent read and not at all for DDL.
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    """Wait for other writers, let readers go on beside one (WAL), and hold foreign keys to their word."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _server_engine(url: URL, pool_size: int) -> AsyncEngine:
    return create_async_engine(
        _with_driver_options(url),
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": STATEMENT_SECONDS},
    )


def _with_driver_options(url: URL) -> URL:
    """The URL with ``sslmode``, which hosted databases put there, under the name this driver knows it by."""
    mode = url.query.get("sslmode")
    return url if mode is None else url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware on the Python side, always in UTC in the database, also where it stores no offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (the base class's signature)
        """Return the same moment in UTC; raise ``ValueError`` for a time without an offset."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment needs its offset from UTC: {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (the same)
        """Return the stored moment, aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


T = TypeVar("T")
_detached: Final[set[asyncio.Task[Any]]] = set()
# The event loop holds tasks weakly; each of these ends by the driver's own time limit, and is removed then.


async def detach_on_timeout(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the work's result, or raise ``TimeoutError`` after so many seconds without waiting for its clean-up.

    A cancelled transaction rolls back first, and a server that hangs makes that wait as long as the statement did.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _detach(task)
        raise
    if not done:
        _detach(task)
        raise TimeoutError
    return task.result()


def _detach(task: asyncio.Task[Any]) -> None:
    _detached.add(task)
    task.add_done_callback(_ended)
    task.cancel()


def _ended(task: asyncio.Task[Any]) -> None:
    _detached.discard(task)
    if not task.cancelled():
        task.exception()  # marks it as retrieved: no caller is left to do so


MIGRATION_LOCK = 0x_CA11_5C09
"""Key of the advisory lock for migrating: one process at a time."""
CLAIM_LOCK = 0x_CA11_C1A1
"""Key for taking over calls: two processes that lock the same rows in different orders would deadlock."""
FREEZE_LOCK = 0x_CA11_F0ED
"""Key for freezing a period, which must not overlap one that is being frozen."""


async def advisory_lock(session: AsyncSession, key: int) -> None:
    """Wait until no other transaction holds the lock; it is released with this transaction.

    On SQLite there is nothing to do: it has one writing transaction at a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
