"""A rolling deploy of a release with a number more: each release goes on with what the other has counted."""

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
import redis
from sqlalchemy import select

from service.fleet.live.models import LiveCountsRow
from service.fleet.live.scripts import bucket_keys
from service.fleet.live.store import TOTAL, bucket_of
from service.records.store import CALLS as RECORDS
from service.simulator.traffic import Plan, Traffic
from service.storage.database import Database
from telemetry.calls.lifecycle import CallState
from tests.peers.gateway import eventually
from tests.peers.peers import Peers
from tests.service.fleet.releases import FIELD, next_release
from tests.service.fleet.test_endurance import deliver_to_any
from tests.service.fleet.test_ledgers import (
    PREFIX,
    TENANTS,
    WELL,
    all_over,
    answers,
    exporting_to,
    five_alike,
    more,
)
from tests.service.fleet.test_processes import FleetProcess, fleet

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

CODE = "44"
"""The code of the number that the next release has more."""
BETWEEN = 15
"""Calls between two steps of the deploy."""

Numbers = dict[str, int]
"""By tenant, that of all under an empty name."""


async def test_two_releases_in_one_fleet(
    postgres_url: str, store_url: str, peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load one process after another gives way to the next release: at rest the five ledgers are alike.

    The first of these is killed meanwhile, and the store emptied: others fold and seed what it alone knew of.
    """
    exporting = exporting_to(peers.prometheus(rules=False))
    sources = await asyncio.to_thread(next_release, tmp_path / "next")
    random = Random(17)  # noqa: S311 -- a test is to be the same each time
    async with fleet(3, postgres_url, store_url, tmp_path, capacity_on_outage="open", **exporting) as (
        carrier,
        running,
    ):
        serving, upgraded = list(running), set[str]()
        deliver_to_any(carrier, monkeypatch, lambda: random.choice(serving).service.address)
        traffic = Traffic(carrier, Plan("releases", seed=17, calls_per_second=5, max_running=6, shares=WELL))
        calls = asyncio.create_task(traffic.run())

        async def upgrade(process: FleetProcess) -> None:
            """Have a process of this release stop in good order, and one of the next come in its place."""
            serving.remove(process)
            await asyncio.to_thread(process.service.stop)
            before = await instances(serving[0])
            process.service.release(sources)
            await asyncio.to_thread(process.service.start)
            upgraded.update(await joined(serving[0], before))
            serving.append(process)
            await more(traffic, BETWEEN)

        await more(traffic, BETWEEN)
        first = running[0]
        await upgrade(first)
        serving.remove(first)
        await more(traffic, BETWEEN)  # what was on its way to it has arrived by then
        await eventually(first.idle, "the next release to have no call")

        async def sent() -> bool:
            return stored(store_url) == await finished(postgres_url, upgraded)

        await eventually(sent, "the store to have what the next release counted")
        before = await instances(serving[0])
        await asyncio.to_thread(first.service.kill)
        counted = await finished(postgres_url, upgraded)
        assert counted[TOTAL] > 0

        async def kept() -> bool:
            return await folded(postgres_url) == counted

        await eventually(kept, "this release to fold what it does not know")
        with redis.Redis.from_url(store_url) as client:
            client.flushall()

        async def seeded() -> bool:
            return stored(store_url) == counted

        await eventually(seeded, "this release to seed what it does not know")
        await asyncio.to_thread(first.service.start)
        upgraded.update(await joined(serving[0], before))
        serving.append(first)
        for process in running[1:]:
            await upgrade(process)
        traffic.stop()
        await calls
        await all_over(running)
        await five_alike(carrier, running)
        said, owned = await answers(running), await finished(postgres_url, upgraded)
        assert {tenant: said[tenant][FIELD] for tenant in said} == owned
        assert counted[TOTAL] < owned[TOTAL] < said[TOTAL]["ended_calls"]


async def instances(process: FleetProcess) -> set[str]:
    """Return the ids of the processes that live."""
    return {each["instance_id"] for each in (await process.get("/api/v1/fleet"))["processes"]}


async def joined(process: FleetProcess, before: set[str]) -> set[str]:
    """Wait until a process has joined; return its id."""

    async def more_than_before() -> set[str]:
        return await instances(process) - before

    found: set[str] = await eventually(more_than_before, "a process to join")
    return found


async def finished(database_url: str, by: set[str]) -> Numbers:
    """Return how many calls ended at these processes, as their records have it."""
    ended = select(RECORDS.c.tenant_id).where(RECORDS.c.state == CallState.ENDED, RECORDS.c.instance_id.in_(by))
    async with Database.from_url(database_url) as database, database.reading() as session:
        tenants = [*await session.scalars(ended)]
    return {TOTAL: len(tenants), **{tenant: tenants.count(tenant) for tenant in TENANTS}}


def stored(store_url: str) -> Numbers:
    """Return the number that this release does not know as the sums of the store have it."""
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        texts = {tenant: client.hget(bucket_keys(PREFIX, bucket_of(tenant))[0], tenant) for tenant in (TOTAL, *TENANTS)}
    return {tenant: json.loads(str(text or "{}")).get(CODE, 0) for tenant, text in texts.items()}


async def folded(database_url: str) -> Numbers:
    """Return the same as the counts of those that are gone have it."""
    async with Database.from_url(database_url) as database, database.reading() as session:
        rows = await session.execute(select(LiveCountsRow.tenant_id, LiveCountsRow.numbers))
        numbers = {tenant: json.loads(text).get(CODE, 0) for tenant, text in rows}
    return {tenant: numbers.get(tenant, 0) for tenant in (TOTAL, *TENANTS)}
