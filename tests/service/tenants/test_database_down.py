"""A real database server that blocks or dies under the lookups of calls."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from service.e164 import E164
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.tenants.cache import CachePolicy, TenantAnswer, TenantCache
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.spec import checked_spec
from service.tenants.sql import SqlTenantRepository
from telemetry.testing import FakeClock
from tests.peers.peers import Peers
from tests.peers.postgres import Postgres

NUMBER = E164("+18005550100")
POOL = 2
"""Connections; fewer than the lookups that are given up, so that a lost connection would be noticed."""


@pytest.fixture
def server(peers: Peers) -> Postgres:
    return peers.postgres()


@pytest.fixture
async def database(server: Postgres) -> AsyncIterator[Database]:
    async with Database.from_url(server.url, pool_size=POOL) as opened:
        await upgrade(opened.engine)
        stated = checked_spec("acme", {"numbers": [NUMBER], "instructions": "You are Ada."})
        await SqlTenantRepository(opened).put(stated, actor="ops")
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def _cache(database: Database, clock: FakeClock, *, timeout: float) -> TenantCache:
    policy = CachePolicy(ttl=5, grace=60, query_timeout=timeout, retry_after=1)
    return TenantCache(SqlTenantRepository(database, clock=clock), policy=policy, clock=clock)


async def test_a_blocked_database_costs_a_call_its_patience_only(
    server: Postgres, database: Database, clock: FakeClock
) -> None:
    """Lookups against locked tables end in time, many in a row, and the next after the lock is answered."""
    cache = _cache(database, clock, timeout=0.2)
    async with Database.from_url(server.url) as other, other.writing() as session:
        await session.execute(text("LOCK TABLE tenant_changes IN ACCESS EXCLUSIVE MODE"))
        for _ in range(3 * POOL):
            with pytest.raises(TenantLookupError, match=r"no answer from the database within 0\.2 s"):
                await cache.tenant_for(NUMBER)
            clock.advance(1)
    patient = _cache(database, clock, timeout=30)
    answers = await asyncio.gather(*(patient.tenant_for(NUMBER) for _ in range(10)))
    assert {answer.tenant.tenant_id for answer in answers if answer.tenant} == {"acme"}


async def test_a_dead_server_is_survived(server: Postgres, database: Database, clock: FakeClock) -> None:
    """With the server gone a known tenant is answered as stale and instructions are unavailable; back, all is fresh."""
    cache = _cache(database, clock, timeout=30)
    tenant = (await cache.tenant_for(NUMBER)).tenant
    assert tenant is not None
    assert await cache.instructions_for("acme") == "You are Ada."
    server.kill()
    clock.advance(5)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(tenant, stale=True)
    with pytest.raises(InstructionsUnavailableError):
        await cache.instructions_for("acme")
    server.start()
    clock.advance(1)
    assert await cache.tenant_for(NUMBER) == TenantAnswer(tenant, stale=False)
    assert await cache.instructions_for("acme") == "You are Ada."
