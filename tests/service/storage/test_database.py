"""Which database a URL means, what its connections are like, and what becomes of errors."""

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.database import DATABASE_ERRORS, Database, UtcDateTime, failure_reason
from service.storage.url import DatabaseUrlError
from tests.peers.peers import Peers

SECRET = "s3cr3t-passw0rd"

TABLE = Table("moments", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.from_url(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}", pool_size=2) as opened:
        async with opened.writing() as session:
            await (await session.connection()).run_sync(TABLE.metadata.create_all)
        yield opened


async def _pragma(session: AsyncSession, name: str) -> object:
    return (await session.execute(text(f"PRAGMA {name}"))).scalar_one()


async def _count(database: Database) -> int:
    async with database.reading() as session:
        return len((await session.execute(select(TABLE.c.id))).all())


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [
        ("postgres", "postgresql+asyncpg"),
        ("postgresql", "postgresql+asyncpg"),
        ("postgresql+asyncpg", "postgresql+asyncpg"),
    ],
)
def test_postgresql_urls_get_the_asynchronous_driver(scheme: str, driver: str) -> None:
    """PostgreSQL's usual URL schemes all mean the driver that Callscope has."""
    assert Database.from_url(f"{scheme}://u:{SECRET}@db.example.com/calls").engine.url.drivername == driver


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_sqlite_urls_get_the_asynchronous_driver(scheme: str, tmp_path: Path) -> None:
    """SQLite's usual URL schemes mean the driver that Callscope has."""
    assert Database.from_url(f"{scheme}:///{tmp_path / 'a.db'}").engine.url.drivername == "sqlite+aiosqlite"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"mysql://u:{SECRET}@host/calls", "no driver for the scheme 'mysql'"),
        (f"postgresql+psycopg://u:{SECRET}@host/calls", "no driver for the scheme 'postgresql\\+psycopg'"),
        (f"u:{SECRET}@host/calls", "not a database URL"),
        (f"postgresql://u:{SECRET}@host:port/calls", "not a database URL"),
        ("", "not a database URL"),
        ("sqlite://", "in-memory"),
        ("sqlite+aiosqlite:///:memory:", "in-memory"),
        ("sqlite:////no/such/folder/calls.db", "the folder /no/such/folder does not exist"),
    ],
)
def test_unusable_urls_are_refused_with_the_key_and_the_reason(url: str, problem: str) -> None:
    """A URL that cannot be used stops the start with the setting's name and its problem, and no password."""
    with pytest.raises(DatabaseUrlError, match=f"^DATABASE_URL: .*{problem}") as refused:
        Database.from_url(url)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def test_credentials_are_not_in_the_representation() -> None:
    """Printing the database or its engine shows no password."""
    database = Database.from_url(f"postgresql://u:{SECRET}@host/calls")
    assert repr(database) == "Database(postgresql)"
    assert SECRET not in repr(database.engine)


async def test_sqlite_connections_are_set_up(database: Database) -> None:
    """Every connection waits for other writers, lets readers go on beside one, and enforces foreign keys."""
    async with database.reading() as session:
        assert await _pragma(session, "journal_mode") == "wal"
        assert await _pragma(session, "foreign_keys") == 1
        assert await _pragma(session, "busy_timeout") == 5000


async def test_a_writing_block_is_one_transaction(database: Database) -> None:
    """What a block wrote is there after it, and gone if the block raised."""
    async with database.writing() as session:
        await session.execute(insert(TABLE).values(id=1))
    with pytest.raises(LookupError):  # noqa: PT012 (the block is what is tested)
        async with database.writing() as session:
            await session.execute(insert(TABLE).values(id=2))
            raise LookupError
    assert await _count(database) == 1


async def test_readers_go_on_beside_a_writer(database: Database) -> None:
    """A reader sees the last committed state while somebody writes, and its own snapshot until it ends."""
    async with database.reading() as reader:
        assert (await reader.execute(select(TABLE.c.id))).all() == []
        async with database.writing() as writer:
            await writer.execute(insert(TABLE).values(id=1))
        assert (await reader.execute(select(TABLE.c.id))).all() == []
    assert await _count(database) == 1


async def test_writers_that_read_first_do_not_overtake_each_other(database: Database) -> None:
    """Writers that decide by what they read take turns: no increment is lost and none fails."""

    async def append() -> None:
        async with database.writing() as session:
            known = (await session.execute(select(TABLE.c.id))).all()
            await asyncio.sleep(0)
            await session.execute(insert(TABLE).values(id=len(known) + 1))

    await asyncio.gather(*(append() for _ in range(20)))
    assert await _count(database) == 20


async def test_a_cancelled_query_gives_its_connection_back(database: Database) -> None:
    """Callers who give up in the middle of a query leave the pool able to serve as before."""
    slow = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n")

    async def query() -> None:
        async with database.reading() as session:
            await session.execute(slow)

    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await query()
    assert await asyncio.gather(*(_count(database) for _ in range(4))) == [0] * 4


async def test_dispose_may_be_repeated(database: Database) -> None:
    """Closing twice is closing once."""
    await database.dispose()
    await database.dispose()
    gc.collect()


async def test_moments_come_back_in_utc(database: Database) -> None:
    """A moment is stored and read back as the same instant, in UTC, also on a database without time zones."""
    at = datetime(2027, 3, 28, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with database.writing() as session:
        await session.execute(insert(TABLE).values(id=1, at=at))
        await session.execute(insert(TABLE).values(id=2, at=None))
    async with database.reading() as session:
        found = (await session.execute(select(TABLE.c.at).order_by(TABLE.c.id))).scalars().all()
    assert found == [at, None]
    assert found[0].tzinfo is UTC


async def test_a_moment_without_offset_is_refused(database: Database) -> None:
    """A time that could mean any of 24 moments is not stored."""
    with pytest.raises(StatementError, match="offset"):
        async with database.writing() as session:
            await session.execute(insert(TABLE).values(id=1, at=datetime(2027, 1, 1)))  # noqa: DTZ001 (the point)


async def test_errors_do_not_show_what_was_to_be_stored(database: Database) -> None:
    """A statement that fails is reported without its parameters, which may be personal."""
    with pytest.raises(DBAPIError) as failed:
        async with database.writing() as session:
            await session.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": SECRET})
    assert SECRET not in str(failed.value)
    assert failure_reason(failed.value) == "no such table: nowhere"


async def test_an_unreachable_server_is_a_database_error() -> None:
    """A refused connection is one of the errors callers look out for, and says so without the password."""
    async with Database.from_url(f"postgresql://u:{SECRET}@127.0.0.1:1/calls") as database:
        with pytest.raises(DATABASE_ERRORS) as failed:
            await _count(database)
    assert "Connect call failed" in failure_reason(failed.value)
    assert SECRET not in failure_reason(failed.value)


async def test_a_server_that_refuses_is_a_database_error(peers: Peers) -> None:
    """What a server complains of while connecting is named by its kind, without its words, which repeat the URL."""
    url = peers.postgres().url.rpartition("/")[0] + f"/{SECRET}"
    async with Database.from_url(url) as database:
        with pytest.raises(DATABASE_ERRORS) as failed:
            await _count(database)
    assert failure_reason(failed.value) == "InvalidCatalogNameError"


async def test_a_server_that_was_restarted_is_connected_to_again(peers: Peers) -> None:
    """Connections that died with the server are replaced without the caller hearing of it."""
    server = peers.postgres()
    async with Database.from_url(server.url) as database:
        async with database.reading() as session:
            await session.execute(text("SELECT 1"))
        server.kill()
        with pytest.raises(DATABASE_ERRORS):
            await _count(database)
        server.start()
        async with database.reading() as session:
            assert (await session.execute(text("SELECT 1"))).scalar_one() == 1


async def test_a_connection_in_use_while_the_database_is_disposed_of_is_closed(database: Database) -> None:
    """A stop finds a statement under way: its connection closes when it is done, not when garbage is collected."""
    async with database.reading() as session:
        await session.execute(text("SELECT 1"))
        driver = (await (await session.connection()).get_raw_connection()).driver_connection
        await database.dispose()
    assert driver is not None
    with pytest.raises(ValueError, match="no active connection"):
        driver.in_transaction  # noqa: B018 -- the driver raises for a closed connection
