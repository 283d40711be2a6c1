"""Real databases for tests: one PostgreSQL a test process, and each test's database copied from a migrated one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped] # it ships none
import pytest

from service.storage.database import Database
from service.storage.migrations import upgrade
from tests.peers.peers import Peers

BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)]
"""Parameters for whatever is to hold on each kind of server."""


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL that all tests of this process share."""
    with Peers(tmp_path_factory.mktemp("postgres")) as programs:
        yield programs.postgres().url


@cache
def migrated_content() -> bytes:
    """Return the content of a SQLite file with the newest schema and nothing in it, made once a test process.

    Not to be called where an event loop runs.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "callscope.db"
        asyncio.run(migrated(f"sqlite+aiosqlite:///{file}"))
        return file.read_bytes()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema and nothing in it, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "callscope.db"
    file.write_bytes(migrated_content())
    return file


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """The name of a PostgreSQL database with the newest schema and nothing in it, to be copied."""
    url = asyncio.run(created_on(postgres_server))
    asyncio.run(migrated(url))
    return url.rpartition("/")[2]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of a SQLite database with the newest schema."""
    file = tmp_path / "callscope.db"
    file.write_bytes(migrated_content())
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture
def postgres_url(postgres_server: str, migrated_template: str) -> str:
    """The address of a PostgreSQL database with the newest schema."""
    return asyncio.run(created_on(postgres_server, template=migrated_template))


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a database with the newest schema, on each kind of server."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without any table, on each kind of server."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"
    return asyncio.run(created_on(request.getfixturevalue("postgres_server")))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    async with Database.from_url(database_url) as opened:
        yield opened


async def migrated(url: str) -> None:
    """Bring a database to the newest schema."""
    async with Database.from_url(url) as database:
        await upgrade(database.engine)


async def created_on(server: str, *, template: str = "template1") -> str:
    """Return the address of a new database on this PostgreSQL, made as a copy of another one."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(server.replace("+asyncpg", ""))
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()
    return f"{server.rpartition('/')[0]}/{name}"
