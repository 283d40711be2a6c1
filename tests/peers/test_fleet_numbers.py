"""The numbers of a fleet on a real cluster: exact again after the primary that has them was killed."""

import asyncio
from contextlib import suppress

import pytest

from service.fleet.errors import StoreAwayError
from service.fleet.live.fields import Row, plus
from service.fleet.live.scripts import bucket_keys
from service.fleet.live.store import TOTAL, bucket_of
from service.storage.database import Database
from telemetry.calls.lifecycle import CallState
from tests.peers.peers import Peers
from tests.peers.redis import Redis
from tests.peers.redis_fleets import RedisCluster, behind, replicated
from tests.peers.test_fleet_stores import PATIENT_SECONDS, connected
from tests.service.fleet.live.harness import CountingProcess, all_alike, ended
from tests.service.fleet.live.test_any_order import counted

PREFIX = "test"
"""That of the processes of the harness."""


@pytest.fixture
def cluster(peers: Peers) -> RedisCluster:
    return peers.redis_cluster()


async def sent(process: CountingProcess) -> None:
    """Have a process send until the store takes it: a new primary is made meanwhile."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while True:
            with suppress(StoreAwayError):
                await process.publish()
                if not process.fleet.member.away:
                    return
            await asyncio.sleep(0.1)


def calls(process: CountingProcess, name: str) -> None:
    """Have calls of every state come to a process."""
    ended(process.call(f"{process.fleet.name}-{name}-1", "acme"), 30, process.kit)
    process.call(f"{process.fleet.name}-{name}-2", "globex")
    process.call(f"{process.fleet.name}-{name}-3", "acme", CallState.PENDING)


def expected(processes: list[CountingProcess], tenant: str) -> Row:
    first, *others = (counted(process, tenant) for process in processes)
    for row in others:
        first = plus(first, row)
    return first


@pytest.mark.parametrize("lagging", [False, True], ids=["replicated", "lagging"])
@pytest.mark.parametrize("tenant", ["acme", TOTAL], ids=["tenant", "total"])
async def test_after_a_failover(cluster: RedisCluster, sqlite_url: str, tenant: str, *, lagging: bool) -> None:
    """Also where the replica that takes over never got what the primary had acknowledged."""
    async with Database.from_url(sqlite_url) as database, connected(cluster.url) as connection:
        processes = [CountingProcess(connection, name, database) for name in ("one", "two", "three")]
        try:
            for process in processes:
                await process.start()
                calls(process, "before")
                await sent(process)
            await all_alike(processes)
            primary = cluster.owner(bucket_keys(PREFIX, bucket_of(tenant))[0])
            replica = cluster.replica_of(primary)
            await asyncio.to_thread(replicated, primary)
            await acknowledged_and_lost(processes, primary, replica, lagging=lagging)
            for process in processes:
                calls(process, "after")
                await sent(process)
            # What one finds lost, it sends again in the next round.
            for process in processes:
                await sent(process)
            said = await all_alike(processes)
            for name in ("acme", "globex", TOTAL):
                assert said[name or None] == expected(processes, name), name
        finally:
            for process in processes:
                process.close()


async def acknowledged_and_lost(
    processes: list[CountingProcess], primary: Redis, replica: Redis, *, lagging: bool
) -> None:
    """Have rows acknowledged by a primary, and kill it: with a replica that lags they are lost."""
    if not lagging:
        for process in processes:
            calls(process, "meanwhile")
            await sent(process)
        await asyncio.to_thread(replicated, primary)
        await asyncio.to_thread(primary.kill)
        return
    with behind(primary, replica):
        for process in processes:
            calls(process, "meanwhile")
            await sent(process)
        await asyncio.to_thread(primary.kill)
