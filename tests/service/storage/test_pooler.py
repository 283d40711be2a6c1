"""A real PgBouncer in transaction mode: statements prepared on one server connection are never used on another."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from service.storage.database import Database
from service.storage.migrations import upgrade
from service.tenants.models import AuditRow
from service.tenants.spec import TenantSpec
from service.tenants.sql import SqlTenantRepository
from tests.peers.pgbouncer import PgBouncer
from tests.support.databases import created_on

pytestmark = pytest.mark.peers

CLIENTS, ROUNDS = 8, 25


@pytest.fixture
def pooled_url(postgres_server: str, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database through a pooler with two server connections."""
    database = asyncio.run(created_on(postgres_server)).rpartition("/")[2]
    pooler = PgBouncer(tmp_path, postgres_server, server_connections=2).start()
    try:
        yield pooler.url(database)
    finally:
        pooler.stop()


@pytest.mark.parametrize("parameters", ["", "?pgbouncer=true"])
async def test_the_service_runs_through_a_pooler(pooled_url: str, parameters: str) -> None:
    """Whether the URL tells of the pooler or not, many clients migrate, write and read through two connections."""
    async with Database.from_url(pooled_url + parameters) as database:
        await upgrade(database.engine)
        tenants = SqlTenantRepository(database)

        async def client(number: int) -> None:
            for turn in range(ROUNDS):
                spec = TenantSpec.model_validate({"tenant_id": f"t{number}", "max_concurrent_calls": turn})
                await tenants.put(spec, actor="test")
                assert (await tenants.own_limits())[spec.tenant_id] == turn

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        async with database.reading() as session:
            assert len((await session.execute(select(AuditRow.entry_id))).all()) == CLIENTS * ROUNDS


async def test_without_a_pooler_statements_are_prepared_once(postgres_url: str) -> None:
    """Connections opened after the first, which looked for a pooler, keep their prepared statements."""
    async with Database.from_url(postgres_url) as database:

        async def prepared() -> int:
            async with database.reading() as session:
                for number in range(5):
                    await session.execute(select(AuditRow.entry_id).where(AuditRow.entry_id == number))
                return int(await session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) or 0)

        async with database.reading() as first:
            await first.execute(text("SELECT 1"))
            assert await prepared() > 0


async def test_a_url_that_denies_the_pooler_is_believed(pooled_url: str) -> None:
    """The tests above would see it if statements were still shared: with the denial they are, and fail."""
    async with Database.from_url(f"{pooled_url}?pgbouncer=false") as database:
        async with database.writing() as session:
            await session.execute(text("CREATE TABLE numbers (value INTEGER)"))

        async def client(number: int) -> None:
            for _ in range(ROUNDS):
                async with database.writing() as session:
                    await session.execute(text("INSERT INTO numbers VALUES (:value)"), {"value": number})

        results = await asyncio.gather(*(client(number) for number in range(CLIENTS)), return_exceptions=True)
    assert any(isinstance(result, Exception) for result in results)
