"""A tenant changed at one process holds for the next calls of another, without a restart of either."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from service.gateway.carriers.carrier import REJECTION_STATUS
from service.simulator.call import dial
from service.simulator.ground_truth import CallReport
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from service.simulator.simulator import Simulator
from telemetry.semconv.attributes import RejectionReason
from tests.peers.gateway import eventually
from tests.peers.peers import Peers
from tests.peers.service import Service
from tests.service.gateway.harness import on_the_air

ACME = "/api/v1/tenants/tenant-001"
GREETS = AgentGreets(AgentSpeaks("Hello"))
LONG = CallScript("long", (GREETS, Pause(100_000.0)), CallerHangsUp())
SHORT = CallScript("short", (GREETS,), CallerHangsUp())
NOT_CONFIGURED = REJECTION_STATUS[RejectionReason.TENANT_NOT_CONFIGURED]
AT_ITS_LIMIT = REJECTION_STATUS[RejectionReason.CAPACITY]


@dataclass
class Pair:
    """Two processes over one database: at ``admin`` tenants are changed, at ``line`` calls come in."""

    carrier: Simulator
    admin: httpx2.AsyncClient
    line: httpx2.AsyncClient

    async def put(self, **fields: object) -> None:
        """Make the tenant so, at its present version."""
        seen = await self.admin.get(ACME)
        conditions = {"If-Match": seen.headers["etag"]} if seen.status_code == 200 else {"If-None-Match": "*"}
        numbers = list(self.carrier.numbers)
        answer = await self.admin.put(
            ACME, json={"numbers": numbers, "instructions": "Be kind.", **fields}, headers=conditions
        )
        answer.raise_for_status()

    async def call(self, script: CallScript = SHORT) -> CallReport:
        """Have one call happen at the line."""
        number = next(iter(self.carrier.numbers))
        call = dial(number, script, rng=Random(7), call_id=f"rtc_u1_{uuid4().hex}")  # noqa: S311 -- not secret
        return await self.carrier.place_call(call)

    async def slots(self) -> dict[str, Any]:
        """What the line shows of the tenant."""
        shown = (await self.line.get("/api/v1/metrics/capacity/debug")).raise_for_status().json()["tenants"]
        found: dict[str, Any] = shown.get("tenant-001", {"limit": None, "active": 0})
        return found

    async def until_answered(self, status: int | None) -> None:
        """Call until a call is answered so: with a rejection, or with none."""

        async def answered() -> bool:
            report = await self.call()
            return report.rejection_status == status and report.accepted == (status is None)

        await eventually(answered, f"a call that is answered {status or 'by the agent'}")

    async def until_shown(self, **expected: object) -> None:
        """Wait until the line shows this of the tenant, without any call."""

        async def shown() -> bool:
            return expected.items() <= (await self.slots()).items()

        await eventually(shown, f"the line to show {expected}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, peers: Peers, tmp_path: Path) -> str:
    """One database for both processes, of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"
    return peers.postgres().url


@pytest.fixture
async def pair(database_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    """Both processes, started as a user starts them; the carrier calls the second."""
    async with AsyncExitStack() as stack:
        carrier = await stack.enter_async_context(on_the_air(tenants=1))
        admin, line = [
            await stack.enter_async_context(_process(tmp_path / name, carrier, database_url))
            for name in ("admin", "line")
        ]
        yield Pair(carrier, admin, line)


@asynccontextmanager
async def _process(folder: Path, carrier: Simulator, database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    await asyncio.to_thread(folder.mkdir)
    service = Service(folder, carrier.base_url, {"DATABASE_URL": database_url})
    await asyncio.to_thread(service.start)
    carrier.target = service.address
    try:
        async with service.client() as client:
            yield client
    finally:
        assert await asyncio.to_thread(service.stop) == 0, service.log


async def test_a_change_at_one_process_holds_at_the_other(pair: Pair) -> None:
    """Creating, limiting, lifting, disabling and deleting a tenant each reach the calls of the other process."""
    assert (await pair.call()).rejection_status == NOT_CONFIGURED
    await pair.put(max_concurrent_calls=5)
    await pair.until_answered(None)
    running = [asyncio.create_task(pair.call(LONG)) for _ in range(2)]
    await pair.until_shown(limit=5, active=2)
    await pair.put(max_concurrent_calls=1)
    await pair.until_shown(limit=1, active=2, available=0)
    await pair.until_answered(AT_ITS_LIMIT)
    await pair.put(max_concurrent_calls=None)
    await pair.until_answered(None)
    await pair.put(enabled=False)
    await pair.until_answered(NOT_CONFIGURED)
    assert (await pair.slots())["active"] == 2
    await pair.put(enabled=True)
    await pair.until_answered(None)
    assert (await pair.admin.delete(ACME, headers={"If-Match": "*"})).status_code == 204
    await pair.until_answered(NOT_CONFIGURED)
    assert (await pair.slots())["active"] == 2
    pair.carrier.hang_up_all()
    assert {report.failed for report in await asyncio.gather(*running)} == {False}
    actions = [change["action"] for change in (await pair.line.get("/api/v1/audit")).json()["changes"]]
    assert actions == ["deleted", *["changed"] * 4, "created"]
