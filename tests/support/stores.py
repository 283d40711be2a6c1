"""Real stores for tests of the fleet: one Redis a test process, emptied for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from tests.peers.peers import Peers
from tests.support.patience import PATIENT_SECONDS

PREFIX = "test"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis that all tests of this process share."""
    with Peers(tmp_path_factory.mktemp("redis")) as programs:
        yield programs.redis().url


@pytest.fixture
def store_url(redis_server: str) -> str:
    """The address of an empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
async def connection(store_url: str) -> AsyncIterator[StoreConnection]:
    """A connection to an empty Redis, which is waited for on a busy machine."""
    opened = StoreConnection(StoreAddress.parse(store_url), answer_seconds=PATIENT_SECONDS)
    yield opened
    await opened.close()
