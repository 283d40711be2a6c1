"""Real databases with the newest schema, and records kept in them."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.storage.database import Database
from service.storage.migrations import upgrade
from telemetry.testing import FakeClock
from tests.peers.peers import Peers
from tests.service.records.desk import Desk

BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)]


@pytest.fixture(scope="module")
def postgres_server(module_peers: Peers) -> str:
    """The address of a PostgreSQL that the tests of a module share."""
    return module_peers.postgres().url


@pytest.fixture(params=BACKENDS)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with the newest schema, on each kind of server."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"
    else:
        url = await _created_on(request.getfixturevalue("postgres_server"))
    async with Database.from_url(url) as database:
        await upgrade(database.engine)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    async with Database.from_url(database_url) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    """The clock of all processes of a test."""
    return FakeClock()


@pytest.fixture
async def desk(database: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Desk]:
    """Where a test starts and ends processes that keep records."""
    async with Desk(database, clock, tmp_path / "spill") as opened:
        yield opened


async def _created_on(server: str) -> str:
    name = f"test_{uuid4().hex}"
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return f"{server.rpartition('/')[0]}/{name}"
