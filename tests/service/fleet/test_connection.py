"""The connection to a store: which connections it opens, and how it asks Sentinels."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as NotConnectedError

from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection, _Closed, _Sentinels

HOSTS = [("first", 26379), ("second", 26379), ("third", 26379)]
WELL = {"is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2}
STATE = {"ip": "primary", "port": 6379, **WELL}


async def test_no_sentinel_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections ask at the same time, each Sentinel is asked again when it is the last that answers."""
    sentinels, down = _Sentinels(HOSTS, {}), {0}

    def answering(number: int) -> Callable[[], Awaitable[Mapping[str, Any]]]:
        async def masters() -> Mapping[str, Any]:
            await asyncio.sleep(0)
            if number in down:
                raise NotConnectedError
            return {"calls": STATE}

        return masters

    for number, sentinel in enumerate(sentinels.known):
        monkeypatch.setattr(sentinel, "sentinel_masters", answering(number))
    for is_down in ({0}, {1, 2}, {0, 1}, {0, 2}):
        down.clear()
        down.update(is_down)
        found = await asyncio.gather(*(sentinels.discover_master("calls") for _ in range(5)))
        assert set(found) == {("primary", 6379)}


def opened_by(connection: StoreConnection) -> list[type[Any]]:
    """The classes of all connections that a store's clients may open."""
    client = connection._client
    if isinstance(client, RedisCluster):
        nodes = client.nodes_manager
        known = [node.connection_class for node in nodes.startup_nodes.values()]
        return [*known, nodes.connection_kwargs["connection_class"]]
    clients = [client, *(connection._sentinel.known if connection._sentinel else ())]
    return [each.connection_pool.connection_class for each in clients]


@pytest.mark.parametrize(
    ("url", "clients"),
    [
        ("redis://host", 1),
        ("rediss://host", 1),
        ("unix:///run/redis.sock", 1),
        ("redis+sentinel://one,two,three/calls", 4),
        ("rediss+sentinel://one,two/calls", 3),
        ("redis+cluster://one,two", 3),
        ("rediss+cluster://one", 2),
    ],
)
def test_the_end_of_every_connection_is_waited_for(url: str, clients: int) -> None:
    """Of the server, of the Sentinels, and of nodes that a cluster tells of later."""
    connection = StoreConnection(StoreAddress.parse(url))
    opened = opened_by(connection)
    assert len(opened) == clients
    assert all(issubclass(each, _Closed) and each.closings is connection._closings for each in opened)
