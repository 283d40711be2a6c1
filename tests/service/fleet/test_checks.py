"""Starts that are refused: stores a fleet cannot stand on, and processes that do not fit together."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from pydantic import SecretStr

from service.fleet.address import StoreAddress
from service.fleet.checks import START_TRIES, check_store
from service.fleet.connection import StoreConnection
from service.fleet.errors import TOO_SLOW, StoreAwayError, StoreSlowError, StoreUnusableError
from service.fleet.scripts import keys_of
from service.fleet.store import SlotStore
from tests.peers.network import free_port
from tests.service.fleet.harness import FleetMember
from tests.service.gateway.harness import running_harness

FINE: Mapping[str, Any] = {"redis_version": "7.2.4", "role": "master", "maxmemory": 0, "maxmemory_policy": "noeviction"}


class Described:
    """A store that says this of itself."""

    def __init__(self, *servers: Mapping[str, Any]) -> None:
        self._servers = servers

    async def configuration(self) -> Sequence[Mapping[str, Any]]:
        return self._servers


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"redis_version": "6.2.14"}, "is Redis 6.2.14; a fleet needs Redis 7 or Valkey"),
        ({"role": "slave"}, "names a replica, which takes no writes"),
        ({"maxmemory": 1 << 20, "maxmemory_policy": "allkeys-lru"}, "evicts keys (maxmemory-policy allkeys-lru)"),
    ],
)
async def test_a_store_that_will_not_do(change: Mapping[str, Any], says: str) -> None:
    """One sentence names the variable and what is wrong, whichever server of the store it is."""
    with pytest.raises(StoreUnusableError, match=r"^REDIS_URL: ") as refused:
        await check_store(Described(FINE, {**FINE, **change}))
    assert says in str(refused.value)


async def test_a_store_that_will_do() -> None:
    """A policy of eviction does no harm where memory is not bounded."""
    await check_store(Described(FINE, {**FINE, "maxmemory_policy": "allkeys-lru"}))


class Slow(Described):
    """Does not answer in time, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__(FINE)
        self.times = times

    async def configuration(self) -> Sequence[Mapping[str, Any]]:
        self.times -= 1
        if self.times >= 0:
            raise StoreSlowError("REDIS_URL: no answer")
        return await super().configuration()


async def test_a_store_that_is_slow_at_first() -> None:
    """It is asked again, though not for ever: a busy machine is slow at the start, and what hangs stays slow."""
    await check_store(Slow(START_TRIES - 1))
    with pytest.raises(StoreSlowError):
        await check_store(Slow(START_TRIES))


@pytest.mark.peers
async def test_a_join_that_is_slow_at_first(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose first joins have no answer in time starts all the same, and is in the fleet once."""
    join, tries = SlotStore.join, itertools.count(1)

    async def slow(store: SlotStore, *arguments: Any, **more: Any) -> tuple[str, str]:  # noqa: ANN401 -- a join's own
        if next(tries) < START_TRIES:
            raise StoreAwayError(TOO_SLOW)
        return await join(store, *arguments, **more)

    monkeypatch.setattr(SlotStore, "join", slow)
    async with running_harness(tmp_path, redis_url=SecretStr(store_url)) as harness:
        (process,) = (await harness.get("/api/v1/fleet"))["processes"]
        assert process["alive"]


async def test_nobody_there() -> None:
    """A store that does not answer is named, with what to do."""
    port = free_port()
    connection = StoreConnection(StoreAddress.parse(f"redis://user:secret@127.0.0.1:{port}"))
    with pytest.raises(StoreUnusableError, match=rf"^REDIS_URL: no answer from 127.0.0.1:{port} ") as refused:
        await connection.configuration()
    assert "secret" not in str(refused.value)
    with pytest.raises(StoreAwayError):
        await SlotStore(connection, "test").look()
    await connection.close()


@pytest.mark.peers
async def test_a_real_store(connection: StoreConnection, store_url: str) -> None:
    """A Redis as it comes will do, and one that evicts will not."""
    await check_store(connection)
    async with redis.asyncio.Redis.from_url(store_url) as client:
        await client.config_set("maxmemory", 100 << 20)
        await client.config_set("maxmemory-policy", "volatile-ttl")
        try:
            with pytest.raises(StoreUnusableError, match="volatile-ttl"):
                await check_store(connection)
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", 0)


@pytest.mark.peers
async def test_a_user_without_the_password(store_url: str) -> None:
    """A user that the store does not know is refused in words that show no password."""
    connection = StoreConnection(StoreAddress.parse(store_url.replace("redis://", "redis://nobody:secret@")))
    with pytest.raises(StoreUnusableError, match="does not take its user or password") as refused:
        await connection.configuration()
    assert "secret" not in str(refused.value)
    await connection.close()


@pytest.mark.peers
async def test_an_acl_user(store_url: str) -> None:
    """A user that may do what a fleet needs to the keys of its prefix, and nothing else, will do."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        rules = ["on", ">pass", "~{test:*", "+@read", "+@write", "+@scripting", "+info", "+time", "+ping"]
        await client.execute_command("ACL", "SETUSER", "fleet", "reset", *rules)  # type: ignore[no-untyped-call]
        connection = StoreConnection(StoreAddress.parse(store_url.replace("redis://", "redis://fleet:pass@")))
        try:
            await check_store(connection)
            assert (await SlotStore(connection, "test").join("one", "db", {}))[0] == "joined"
            with pytest.raises(StoreAwayError):
                await SlotStore(connection, "other").join("one", "db", {})
        finally:
            await connection.close()
            await client.execute_command("ACL", "DELUSER", "fleet")  # type: ignore[no-untyped-call]


@pytest.mark.peers
async def test_a_process_with_another_database(connection: StoreConnection) -> None:
    """While others live, a process with another database does not join them; once they are gone, it may."""
    member, stranger = FleetMember(connection, "one"), FleetMember(connection, "two")
    stranger.member._database = lambda: "another"
    await member.member.join()
    with pytest.raises(StoreUnusableError, match=r"^DATABASE_URL: .* another database"):
        await stranger.member.join()
    await member.store.leave(member.member.holder)
    await stranger.member.join()


@pytest.mark.peers
async def test_a_newer_layout(connection: StoreConnection, store_url: str) -> None:
    """A process that does not know the layout its fleet uses does not start."""
    member = FleetMember(connection, "one")
    await member.member.join()
    async with redis.asyncio.Redis.from_url(store_url) as client:
        await client.hset(keys_of("test")[7], "layout", "9")
    with pytest.raises(StoreUnusableError, match="layout 9, which this version does not know"):
        await FleetMember(connection, "two").member.join()
