"""The connection to a store behind Sentinels."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NotConnectedError

from service.fleet.connection import _Sentinels

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
