"""The connection to the fleet's store: the one module that loads redis."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from service.fleet.address import StoreAddress, StoreKind
from service.fleet.closing import CLOSE_SECONDS, Closings
from service.fleet.errors import TOO_SLOW, StoreAwayError, StoreSlowError, StoreUnusableError
from service.fleet.scripts import Script
from service.fleet.store import ANSWER_SECONDS

_REDIRECTED: Final = 1
# Tries again in a cluster, where a node that went away shows only by an error. Scripts are safe to repeat.

_AWAY: Final = (RedisError, RedisClusterException, OSError)
# A cluster's client tells of nodes that cannot be reached by an error of a family of its own.


class _Closed(AbstractConnection):
    """A connection that is known until it is closed.

    The client forgets one at which something failed as soon as it has begun to close it, and lets go of all others
    without a word about those that take too long.
    """

    closings: Closings

    # What the client tells of the cause is another in each of its versions.
    async def disconnect(self, nowait: bool = False, **cause: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Close the connection, if there is one; return once it is closed, or at once with ``nowait``."""
        writer = self._writer
        closing = None if writer is None else self.closings.begin(writer)
        await super().disconnect(nowait=True, **cause)
        if closing is not None and not nowait:
            await asyncio.wait([closing])


class _Sentinels(Sentinel):
    """Sentinels of which none is lost.

    The client moves whichever answered to the front of its list, and of two connections that do so at the same time one
    can put a Sentinel there twice and drop another, for good.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        super().__init__(list(hosts), sentinel_kwargs=dict(options))  # type: ignore[no-untyped-call]
        self.known: Sequence[Redis] = tuple(self.sentinels)

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of the primary, as the first Sentinel that answers has it."""
        self.sentinels = list(self.known)
        found: tuple[str, int] = await super().discover_master(service_name)
        return found


class StoreConnection:
    """A store's scripts, run on whichever server has their keys.

    Args:
        address: the store's.
        answer_seconds: how long the store may take to answer, and to be connected to.
    """

    def __init__(self, address: StoreAddress, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._address = address
        self._answer_seconds = answer_seconds
        self._closings = Closings()
        self._sentinel: _Sentinels | None = None
        self._client: Redis | RedisCluster = self._connect()
        self._know_connections()

    def _connect(self) -> Redis | RedisCluster:
        address = self._address
        options: dict[str, Any] = {name: value for name, value in address.options if name.startswith("ssl_")}
        common: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "socket_timeout": self._answer_seconds,
            "socket_connect_timeout": self._answer_seconds,
            "decode_responses": True,
            "encoding_errors": "surrogatepass",  # ids come from outside, and one must not fail a whole batch
        }
        if address.kind is StoreKind.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            retry = Retry(NoBackoff(), _REDIRECTED)
            return RedisCluster(startup_nodes=nodes, ssl=address.tls, retry=retry, **common, **options)
        common["retry"] = Retry(NoBackoff(), 0)
        common["db"] = address.database
        if address.kind is StoreKind.SENTINEL:
            own = {name.removeprefix("sentinel_"): value for name, value in address.options if "sentinel" in name}
            waits = {"socket_timeout": self._answer_seconds, "socket_connect_timeout": self._answer_seconds}
            tls: dict[str, Any] = {"ssl": True, **options} if address.tls else {}
            self._sentinel = _Sentinels(address.hosts, own | waits | tls)
            primary: Redis = self._sentinel.master_for(str(address.service), **common, **tls)
            return primary
        if address.socket is not None:
            return Redis(unix_socket_path=address.socket, **common)
        ((host, port),) = address.hosts
        return Redis(host=host, port=port, ssl=address.tls, **common, **options)

    def _know_connections(self) -> None:
        """Have every connection that is opened be one whose end is waited for."""
        if isinstance(self._client, RedisCluster):
            nodes = self._client.nodes_manager
            known = self._known(nodes.connection_kwargs["connection_class"])
            nodes.connection_kwargs["connection_class"] = known
            for node in nodes.startup_nodes.values():
                node.connection_class = known
            return
        for client in (self._client, *(self._sentinel.known if self._sentinel else ())):
            client.connection_pool.connection_class = self._known(client.connection_pool.connection_class)

    def _known(self, kind: type[AbstractConnection]) -> type[Any]:
        return type(kind.__name__, (_Closed, kind), {"closings": self._closings})

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        """Return what a script answers.

        Raises:
            StoreAwayError: if the store does not answer; the script may have run all the same.
        """
        try:
            try:
                return await self._client.evalsha(script.digest, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._client.eval(script.text, len(keys), *keys, *arguments)
        except _AWAY as error:
            raise StoreAwayError(type(error).__name__) from error

    async def run_all(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]
    ) -> list[Any | StoreAwayError]:
        """Return what a script answers to each keys and arguments, or why there is no answer.

        One server is asked all of it at once; of a cluster, each server that has the keys.
        """
        if isinstance(self._client, RedisCluster):
            return list(await asyncio.gather(*(self._run_or_error(script, *call) for call in calls)))
        pipeline = self._client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.evalsha(script.digest, len(keys), *keys, *arguments)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except _AWAY as error:
            return [StoreAwayError(type(error).__name__)] * len(calls)
        return [await self._again(script, call, answer) for call, answer in zip(calls, answers, strict=True)]

    async def _again(self, script: Script, call: tuple[Sequence[str], Sequence[str | int]], answer: Any) -> Any:  # noqa: ANN401
        if isinstance(answer, NoScriptError):
            return await self._run_or_error(script, *call)
        return StoreAwayError(type(answer).__name__) if isinstance(answer, RedisError) else answer

    async def _run_or_error(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        try:
            return await self.run(script, keys, arguments)
        except StoreAwayError as error:
            return error

    async def receive(self, key: str, seconds: float) -> str | None:
        """Take the first element of a list, waiting so long for one; None if there was none.

        Raises:
            StoreAwayError: if the store does not answer; an element may be lost.
        """
        try:
            found: Any = await self._client.blpop([key], timeout=seconds)
        except _AWAY as error:
            raise StoreAwayError(type(error).__name__) from error
        return None if found is None else str(found[1])

    async def configuration(self) -> Sequence[Mapping[str, Any]]:
        """Return what each server that takes writes says of itself.

        Raises:
            StoreUnusableError: with what to change, if it cannot be asked.
        """
        shown = self._address.shown
        try:
            if isinstance(self._client, RedisCluster):
                nodes = await self._client.info(target_nodes=RedisCluster.PRIMARIES)
                # One primary's answer comes alone.
                return [nodes] if "redis_version" in nodes else list(nodes.values())
            return [await self._client.info()]
        except AuthenticationError:
            raise _unusable(f"{shown} does not take its user or password; correct them") from None
        except NoPermissionError as error:
            raise _unusable(f"its user may not do what a fleet needs ({error}); docs/fleet.md lists it") from None
        except ResponseError as error:
            raise _unusable(f"{shown} refuses: {error}") from None
        except _AWAY as error:
            kind = type(error).__name__
            problem = f"REDIS_URL: no answer from {shown} ({kind}); start it, correct the address, or unset it"
            raise (StoreSlowError if kind == TOO_SLOW else StoreUnusableError)(problem) from None

    async def close(self) -> None:
        """Let go of every connection, and return once all are closed, in good order or not."""
        clients = [self._client, *(self._sentinel.known if self._sentinel else ())]
        with suppress(TimeoutError):
            # Connections close at the same time; another time-out is for what the client does besides.
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)
        await self._closings.over()


def _unusable(problem: str) -> StoreUnusableError:
    return StoreUnusableError(f"REDIS_URL: {problem}")
