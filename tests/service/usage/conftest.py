"""Real databases with the newest schema, and calls put into them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.storage.database import Database
from service.storage.migrations import upgrade
from tests.peers.peers import Peers

BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)]


@pytest.fixture(scope="module")
def postgres_server(module_peers: Peers) -> str:
    """The address of a PostgreSQL that the tests of a module share."""
    return module_peers.postgres().url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with the newest schema, on each kind of server."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"
    else:
        url = asyncio.run(_created_on(request.getfixturevalue("postgres_server")))
    asyncio.run(_migrated(url))
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    async with Database.from_url(database_url) as opened:
        yield opened


async def _migrated(url: str) -> None:
    async with Database.from_url(url) as opened:
        await upgrade(opened.engine)


async def _created_on(server: str) -> str:
    name = f"test_{uuid4().hex}"
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return f"{server.rpartition('/')[0]}/{name}"
