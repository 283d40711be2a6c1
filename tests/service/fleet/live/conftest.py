"""Processes that count on a real store and a real database."""

from collections.abc import AsyncIterator, Callable

import pytest
import redis

from service.fleet.connection import StoreConnection
from service.storage.database import Database
from tests.service.fleet.live.harness import CountingProcess


@pytest.fixture
async def both(connection: StoreConnection, sqlite_url: str) -> AsyncIterator[list[CountingProcess]]:
    """Two processes of a fleet."""
    async with Database.from_url(sqlite_url) as database:
        processes = [CountingProcess(connection, name, database) for name in ("one", "two")]
        for process in processes:
            await process.start()
            await process.publish()
            process.counting.numbers.ranking.fill_seconds = 60.0  # a busy machine copies slowly
        yield processes
        for process in processes:
            process.close()


@pytest.fixture
def flush(store_url: str) -> Callable[[], None]:
    """Empty the store."""

    def flushed() -> None:
        with redis.Redis.from_url(store_url) as client:
            client.flushall()

    return flushed
