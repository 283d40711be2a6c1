"""Checks of the store at the start: what a fleet cannot stand on stops it, in one sentence."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from service.fleet.errors import StoreSlowError, StoreUnusableError

MIN_VERSION: Final = (7, 0)
"""Redis 7; Valkey says that it is compatible with 7.2."""


START_TRIES: Final = 5
"""Times that a store is asked at the start before it counts as too slow, each for as long as an answer may take."""


class Configured(Protocol):
    """A store that tells about its servers."""

    async def configuration(self) -> Sequence[Mapping[str, Any]]:
        """Return what each server that takes writes says of itself; raise StoreUnusableError if it cannot be asked."""
        ...


async def check_store(store: Configured) -> None:
    """Check that the store answers, is new enough, takes writes and evicts nothing.

    A store that is slow is asked :data:`START_TRIES` times: at the start of a busy machine everything is.

    Raises:
        StoreUnusableError: naming variable, cause and cure.
    """
    for server in await _configuration(store):
        _check_version(str(server.get("redis_version", "0")))
        if server.get("role") not in (None, "master"):
            raise StoreUnusableError(
                "REDIS_URL: names a replica, which takes no writes; name its primary, or write redis+sentinel://"
            )
        policy = str(server.get("maxmemory_policy", "noeviction"))
        if int(server.get("maxmemory", 0)) and policy != "noeviction":
            raise StoreUnusableError(
                f"REDIS_URL: the store evicts keys (maxmemory-policy {policy}), and with them slots of running calls;"
                " set `maxmemory-policy noeviction`"
            )


async def _configuration(store: Configured) -> Sequence[Mapping[str, Any]]:
    for _ in range(START_TRIES - 1):
        with suppress(StoreSlowError):
            return await store.configuration()
    return await store.configuration()


def _check_version(text: str) -> None:
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if numbers < MIN_VERSION:
        raise StoreUnusableError(f"REDIS_URL: the store is Redis {text}; a fleet needs Redis 7 or Valkey")
