"""The database: which driver a URL means, one bounded pool of connections, and two kinds of transaction."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped] # it ships none
from sqlalchemy import URL, Connection, DateTime, Dialect, Engine, MetaData, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from service.storage.sqlite_file import SqliteFile
from service.storage.url import ServerTarget, resolve, server_target, sqlite_target

DATABASE_ERRORS = (DBAPIError, PoolTimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Errors a transaction raises when the database, or the way to it, fails (``TimeoutError`` is an ``OSError``).

The driver's own come through unwrapped while a connection is being made, for instance when a password was changed.
"""
BUSY_SECONDS = 5.0
"""Seconds a connection waits for another writer (SQLite), or a caller for a free connection (any)."""
TIMEOUT_STEP_SECONDS = 0.25
"""Seconds by which a time-out is counted: see :func:`detach_on_timeout`."""
RECYCLE_SECONDS = 1800
"""Age in seconds at which a server connection is replaced, so that a load balancer's idle limit is never met."""
T = TypeVar("T")
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


class Database:
    """A pool of connections, opened lazily; :meth:`dispose` closes them.

    ``async with Database.from_url(url) as database: ...`` does both. Errors never carry statements' parameters.
    """

    __slots__ = ("_disposed", "_engine", "_file", "_reading", "_threads", "_writer", "_writing")

    def __init__(
        self, engine: AsyncEngine, threads: "_SqliteThreads | None" = None, file: SqliteFile | None = None
    ) -> None:
        """Use the engine, and for transactions that are known beforehand ``threads`` where that is faster."""
        self._engine = engine
        self._threads = threads
        self._file = file
        if file is not None:
            for each in self.engines:
                file.watch(each)
        self._disposed = False
        for each in self.engines:
            event.listen(each, "checkin", self._checked_in)
        self._writer = engine.execution_options(**WRITING)
        self._reading = async_sessionmaker(engine, expire_on_commit=False)
        self._writing = async_sessionmaker(self._writer, expire_on_commit=False)

    @classmethod
    def from_url(cls, url: str, *, pool_size: int = 10) -> Self:
        """Return the database ``url`` names, with at most ``pool_size`` connections.

        Raises :class:`DatabaseUrlError` for what is wrong with the URL itself; nothing is connected to yet.
        """
        target = resolve(url)
        if target.get_backend_name() == "sqlite":
            url_of_file = sqlite_target(target)
            file = SqliteFile(Path(str(url_of_file.database)))
            return cls(_sqlite_engine(url_of_file, pool_size), _SqliteThreads(url_of_file), file)
        return cls(_server_engine(server_target(target), pool_size))

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for migrations."""
        return self._engine

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All engines that connections come from, for listeners."""
        return (self._engine.sync_engine, *(() if self._threads is None else (self._threads.engine,)))

    @property
    def file_gone(self) -> bool:
        """True if it is a SQLite file that was deleted or moved under the running service; see :data:`GONE`."""
        return self._file is not None and self._file.gone

    def reading(self) -> AsyncSession:
        """Return a session (an async context manager) for a transaction that only reads."""
        return self._reading()

    def writing(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Return a session in a transaction that commits at the end of the block and rolls back on an error.

        On SQLite it takes the write lock at once: a read that later wants to write fails when another wrote meanwhile.
        """
        return self._writing.begin()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns, done in one writing transaction, which commits unless the work raises.

        For what calls wait for: on SQLite it takes a third of the time of :meth:`writing`, whose every statement goes
        to a thread and back several times, for here all of the work is done in one thread. It must not touch what
        belongs to the event loop. A transaction that is waited for no longer is rolled back.
        """
        if self._threads is not None:
            return await self._threads.write(work)
        async with self._writer.begin() as connection:
            return await connection.run_sync(work)

    async def dispose(self) -> None:
        """Close every connection, those in use as soon as they are given back; safe to repeat."""
        self._disposed = True
        await self._engine.dispose()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.dispose)

    def _checked_in(self, connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        # The engine forgets what is in use when it is disposed of: nobody would close it but the garbage collector.
        if self._disposed and connection is not None:
            record.invalidate()

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


_SQLITE_ARGUMENTS: Final[Mapping[str, Any]] = MappingProxyType({"timeout": BUSY_SECONDS, "isolation_level": None})
# The driver's own transaction control begins too late for a consistent read and not at all for DDL.


def _sqlite_engine(url: URL, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(url, connect_args=dict(_SQLITE_ARGUMENTS), **_sqlite_pool(pool_size))
    _set_up_sqlite(engine.sync_engine)
    return engine


def _sqlite_pool(size: int) -> dict[str, Any]:
    return {"hide_parameters": True, "pool_size": size, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}


def _set_up_sqlite(engine: Engine) -> None:
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)


class _SqliteThreads:
    """Threads in which whole transactions are done on a SQLite file."""

    _WRITERS: Final = 2
    # SQLite has one writer at a time; the other may be waiting for a lock that nobody waits for any more.

    def __init__(self, url: URL) -> None:
        blocking = url.set(drivername="sqlite")
        arguments = {**_SQLITE_ARGUMENTS, "check_same_thread": False}
        self.engine = create_engine(blocking, connect_args=arguments, **_sqlite_pool(self._WRITERS))
        _set_up_sqlite(self.engine)
        self._writer = self.engine.execution_options(**WRITING)
        self._threads = ThreadPoolExecutor(self._WRITERS, thread_name_prefix="callscope-sqlite")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns; see :meth:`Database.write`."""
        abandoned = Event()

        def transaction() -> T:
            with self._writer.begin() as connection:
                done = work(connection)
                if abandoned.is_set():
                    raise _AbandonedError
                return done

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def dispose(self) -> None:
        """Close the connections; one that is in use closes when its transaction ends."""
        self._threads.shutdown(wait=False)
        self.engine.dispose()


class _AbandonedError(Exception):
    """Nobody waits for the transaction: it is rolled back."""


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


def _server_engine(target: ServerTarget, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        target.url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        connect_args=target.arguments,
    )
    pooler = _Pooler(target.pooled)
    event.listen(engine.sync_engine, "do_connect", pooler.prepare)
    event.listen(engine.sync_engine, "connect", pooler.look)
    return engine


class _Pooler:
    """Lets connections through a pooler, such as PgBouncer in transaction mode, do without prepared statements.

    A pooler gives each transaction whichever server connection is free, and a statement prepared on one is unknown, or
    another one, on the next. Unless the URL says so, the first connection finds out: a pooler tells a client a process
    id of its own making, which is not that of the server process that answers. Until then none relies on them.
    """

    def __init__(self, pooled: bool | None) -> None:
        self._pooled = pooled

    def prepare(self, _dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        """Set the options of a connection that is about to be opened."""
        if self._pooled is not False:
            options["statement_cache_size"] = 0
            options["prepared_statement_cache_size"] = 0
            options["prepared_statement_name_func"] = _unique_name

    def look(self, connection: DBAPIConnection, _record: object) -> None:
        """Find out, once, if a pooler answers in place of the server."""
        if self._pooled is None:
            cursor = connection.cursor()
            cursor.execute("SELECT pg_backend_pid()")
            row = cursor.fetchone()
            cursor.close()
            connection.rollback()
            self._pooled = row is None or row[0] != connection.driver_connection.get_server_pid()


def _unique_name() -> str:
    return f"callscope_{uuid4().hex}"


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


_detached: Final[set[asyncio.Task[Any]]] = set()
# The event loop holds tasks weakly; each of these ends by the driver's own time limit, and is removed then.


async def detach_on_timeout(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the work's result, or raise ``TimeoutError`` after so many seconds without waiting for its clean-up.

    A cancelled transaction rolls back first, and a server that hangs makes that wait as long as the statement did.
    The seconds are those of :func:`done_within`.
    """
    task = asyncio.create_task(work)
    try:
        done = await done_within(seconds, task)
    except asyncio.CancelledError:
        _detach(task)
        raise
    if not done:
        _detach(task)
        raise TimeoutError
    return task.result()


async def done_within(seconds: float, answer: asyncio.Future[Any]) -> bool:
    """Wait for an answer, and return False if it is not there after so many seconds.

    Seconds in which this process did not run do not count: after a pause of its own the answer may be there, unread.
    """
    while not answer.done() and seconds > 0:
        # However late the end of a step is noticed, it was one step: who was late is this process.
        await asyncio.wait({answer}, timeout=min(seconds, TIMEOUT_STEP_SECONDS))
        seconds -= TIMEOUT_STEP_SECONDS
    return answer.done()


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
ROUNDING_LOCK = 0x_CA11_20D5
"""Key for changing rounding rules: the version that a change names must not move meanwhile."""
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


Insert = sqlite.Insert | postgresql.Insert
"""An insert with ``on_conflict_do_nothing``, ``on_conflict_do_update`` and ``excluded``, the row to be inserted."""


def insert_into(table: Table, dialect: Dialect) -> Insert:
    """Return an insert into the table that can say what is to happen where its key is taken."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
