"""Real databases, each empty but for the schema, and what the tests of tenants do over and over."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped] # it ships none
import pytest

from service.storage.database import Database
from service.storage.migrations import upgrade
from service.tenants.sql import SqlTenantRepository
from telemetry.testing import FakeClock
from tests.peers.peers import Peers

BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)]


@pytest.fixture(scope="module")
def postgres_server(module_peers: Peers) -> str:
    """The address of a PostgreSQL that the tests of a module share."""
    return module_peers.postgres().url


@pytest.fixture(params=BACKENDS)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it, on each kind of server."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"
    return await created_on(request.getfixturevalue("postgres_server"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    async with Database.from_url(database_url) as opened:
        await upgrade(opened.engine)
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    """The clock that the repository stamps with."""
    return FakeClock()


@pytest.fixture
def tenants(database: Database, clock: FakeClock) -> SqlTenantRepository:
    """The repository on that database."""
    return SqlTenantRepository(database, clock=clock)


async def created_on(server: str) -> str:
    """The address of a new database on this server."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(server.replace("+asyncpg", ""))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{server.rpartition('/')[0]}/{name}"
