"""Two services of one fleet in one process: a real Redis, one database, and a carrier that calls the first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from pydantic import SecretStr

from service.http.tokens import HEADER
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from service.simulator.simulator import Simulator
from telemetry.calls.lifecycle import CallState
from tests.service.gateway.harness import TOKEN, GatewayHarness, fresh_id, on_the_air, serving
from tests.support.patience import PATIENT_SECONDS

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())
SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")),), CallerHangsUp())

BOUND = "token-of-tenant-one"
OTHER = "token-of-tenant-two"
READS = "token-that-reads"
TOKENS = (
    SecretStr(TOKEN),
    SecretStr(f"{BOUND};tenants=tenant-001"),
    SecretStr(f"{OTHER};tenants=tenant-002"),
    SecretStr(f"{READS};read"),
)


@dataclass
class Pair:
    """Both services, and the carrier."""

    carrier: Simulator
    first: GatewayHarness
    second: GatewayHarness

    def __post_init__(self) -> None:
        self._placing: list[asyncio.Task[Any]] = []

    async def talking(self, of: GatewayHarness | None = None) -> str:
        """A call of the first service, or of this one, that runs until somebody ends it."""
        harness, call_id = of or self.first, fresh_id()
        target, self.carrier.target = self.carrier.target, str(harness.client.base_url)
        self._placing.append(asyncio.create_task(harness.place(TALK, call_id=call_id)))
        tracker = harness.container.telemetry.tracker
        await harness.until(
            lambda: tracker.knows(call_id) and tracker.call(call_id).state is CallState.STARTED, "the call to run"
        )
        self.carrier.target = target
        return call_id

    async def over(self) -> None:
        """End every call, and wait until both services think so too."""
        self.carrier.hang_up_all()
        await asyncio.gather(*self._placing)
        for harness in (self.first, self.second):
            await harness.settled()
            assert await harness.container.records.flush(PATIENT_SECONDS)


@asynccontextmanager
async def pair(folder: Path, store_url: str, **chosen: Any) -> AsyncIterator[Pair]:  # noqa: ANN401 -- settings
    """Both services, which have seen each other; ``chosen`` are settings of both."""
    settings: dict[str, Any] = {"redis_url": SecretStr(store_url), "admin_token": TOKENS, **chosen}
    async with on_the_air() as carrier, serving(carrier, folder, **settings) as first:
        target = carrier.target
        async with serving(carrier, folder, **settings) as second:
            carrier.target = target
            yield Pair(carrier, first, second)


def token(secret: str) -> dict[str, str]:
    """Headers of a request with another token than the harness's."""
    return {HEADER: secret}


def plain(answer: httpx2.Response) -> dict[str, Any]:
    """The body of an answer that must be 200."""
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


async def published(both: Pair) -> None:
    """Wait until the store has what both services have counted so far, and both have heard of each other."""
    for harness in (both.first, both.second, both.first):
        counting = harness.container.counting
        assert counting is not None
        publisher, passes = counting._publisher, 0
        # The first pass may have begun before; one that failed, on a machine that is busy, says nothing.
        while passes < 2:
            failed = publisher.health().failures
            await publisher._worker.passed()
            passes += publisher.health().failures == failed
