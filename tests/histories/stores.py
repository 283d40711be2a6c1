"""The stores of fleets of light processes: what takes their slots, and how it loses some of them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Protocol, Self

import redis.asyncio

from service.fleet.scripts import keys_of
from tests.histories.worker import PREFIX
from tests.peers.network import HOST
from tests.peers.redis import Redis
from tests.peers.redis_fleets import RedisCluster, behind, replicated
from tests.support.proxy import FaultyProxy, Loses, proxy_to, target_of


class Proxies:
    """What stands between one process and the store: a proxy before each server, and all of them alike."""

    def __init__(self, proxies: Mapping[int, FaultyProxy]) -> None:
        self._proxies = proxies

    @property
    def ports(self) -> Mapping[str, int]:
        """Each server's port, with that of the proxy before it."""
        return {str(port): proxy.port for port, proxy in self._proxies.items()}

    @property
    def down(self) -> bool:
        """True while the process reaches no server."""
        return all(proxy.down for proxy in self._proxies.values())

    @down.setter
    def down(self, down: bool) -> None:
        for proxy in self._proxies.values():
            proxy.down = down

    def lose(self, loses: Loses) -> None:
        """Lose the replies to these requests."""
        for proxy in self._proxies.values():
            proxy.loses = loses

    def delay(self, seconds: float) -> None:
        """Have each reply take so much longer."""
        for proxy in self._proxies.values():
            proxy.delay_seconds = seconds

    def lead_to(self, url: str) -> None:
        """Lead to another server from here on."""
        for proxy in self._proxies.values():
            proxy.target = target_of(url)
            proxy.cut()


class Store(Protocol):
    """A store, and what can be done to it."""

    async def start(self, stack: AsyncExitStack) -> Self:
        """Start, until the stack is unwound."""
        ...

    @property
    def url(self) -> str:
        """The address that leads to it without a proxy."""
        ...

    async def proxies(self, stack: AsyncExitStack) -> tuple[str, Proxies]:
        """Return the address of the store for a process of its own, and the proxies before it."""
        ...

    async def flush(self) -> None:
        """Empty it."""
        ...

    async def fail_over(self, lost: Callable[[], None]) -> None:
        """Have another server take the slots; ``lost`` is called before and after what may lose some."""
        ...

    async def tenants(self) -> Sequence[int]:
        """Return the slots of each tenant, as its counters have them."""
        ...


class Pair:
    """A primary with a replica that takes its place once, having missed the last of what the primary acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._primary, self._replica = (_redis(folder / name) for name in ("primary", "replica"))
        self._proxies: list[Proxies] = []
        self._failed_over = False

    async def start(self, stack: AsyncExitStack) -> Self:
        for server in (self._primary, self._replica):
            await asyncio.to_thread(server.start)
            stack.callback(server.stop)
        async with redis.asyncio.Redis.from_url(self._replica.url) as client:
            await client.replicaof(HOST, str(self._primary.port))
        return self

    @property
    def url(self) -> str:
        return self._replica.url if self._failed_over else self._primary.url

    async def proxies(self, stack: AsyncExitStack) -> tuple[str, Proxies]:
        proxy = await stack.enter_async_context(proxy_to(self.url))
        self._proxies.append(Proxies({self._primary.port: proxy}))
        return proxy.url, self._proxies[-1]

    async def flush(self) -> None:
        async with redis.asyncio.Redis.from_url(self.url) as client:
            await client.flushall()

    async def fail_over(self, lost: Callable[[], None]) -> None:
        if self._failed_over:
            return
        async with redis.asyncio.Redis.from_url(self._replica.url) as client:
            await client.replicaof("NO", "ONE")
        await asyncio.sleep(0.3)
        lost()
        await asyncio.to_thread(self._primary.kill)
        self._failed_over = True
        for proxies in self._proxies:
            proxies.lead_to(self.url)
        lost()

    async def tenants(self) -> Sequence[int]:
        async with redis.asyncio.Redis.from_url(self.url, decode_responses=True) as client:
            return list(map(int, (await client.hgetall(keys_of(PREFIX)[1])).values()))


class Cluster:
    """Six nodes, of which the primary that has the slots is killed as often as one likes."""

    def __init__(self, folder: Path, random: Random) -> None:
        self._cluster = RedisCluster(folder)
        self._random = random

    async def start(self, stack: AsyncExitStack) -> Self:
        await asyncio.to_thread(self._cluster.start)
        stack.callback(self._cluster.stop)
        return self

    @property
    def url(self) -> str:
        return self._cluster.url

    async def proxies(self, stack: AsyncExitStack) -> tuple[str, Proxies]:
        ports = self._cluster.ports
        proxies = Proxies({port: await stack.enter_async_context(proxy_to(f"redis://{HOST}:{port}")) for port in ports})
        hosts = ",".join(f"{HOST}:{port}" for port in proxies.ports.values())
        return f"redis+cluster://{hosts}", proxies

    async def flush(self) -> None:
        owner = await self._owner()
        async with redis.asyncio.Redis(host=HOST, port=owner.port) as client:
            await client.flushall()

    async def fail_over(self, lost: Callable[[], None]) -> None:
        """Kill the primary that has the slots, half of the time while its replica lags; it returns as a replica."""
        owner = await self._owner()
        await asyncio.to_thread(replicated, owner)
        lags = self._random.random() < 0.5
        replica = await asyncio.to_thread(self._cluster.replica_of, owner)
        if lags:
            with behind(owner, replica):
                await asyncio.sleep(0.3)
                lost()
                await asyncio.to_thread(owner.kill)
        else:
            lost()
            await asyncio.to_thread(owner.kill)
        await asyncio.to_thread(self._cluster.owner_is, replica, keys_of(PREFIX)[0])
        lost()
        await asyncio.to_thread(self._cluster.bring_back, owner)

    async def tenants(self) -> Sequence[int]:
        owner = await self._owner()
        async with redis.asyncio.Redis(host=HOST, port=owner.port, decode_responses=True) as client:
            return list(map(int, (await client.hgetall(keys_of(PREFIX)[1])).values()))

    async def _owner(self) -> Redis:
        return await asyncio.to_thread(self._cluster.owner, keys_of(PREFIX)[0])


def _redis(folder: Path) -> Redis:
    folder.mkdir()
    return Redis(folder)
