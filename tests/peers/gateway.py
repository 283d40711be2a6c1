"""A carrier and the service process it calls, exporting to real peers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from service.simulator.call import SimulatedCall, dial
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.ground_truth import CountDifference, differences, live_responses
from service.simulator.script import CallScript
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import Tenant, numbers_of, simulated_tenants
from service.simulator.timing import TimeScale
from service.simulator.traffic import Plan, Traffic
from tests.peers.service import SECRET, Service
from tests.support.patience import PATIENT_SECONDS

FALLBACK = "You answer the telephone."
TIMEOUT_SECONDS = 120.0
"""How long a fact may take to come true on a busy machine."""

SECONDS_A_CALL = 5.0
"""How far the carrier's clock may be off on a call's minutes: on a busy machine two processes see its end apart."""


class Gateway:
    """The pair of them, and ways to ask both."""

    def __init__(self, carrier: Simulator, service: Service, client: httpx2.AsyncClient) -> None:
        self.carrier, self.service, self.client = carrier, service, client

    async def traffic(self, plan: Plan) -> None:
        """Have a plan's calls happen, and the service see the end of each."""
        await Traffic(self.carrier, plan).run()
        await self.quiet()

    async def call(self, script: CallScript, *, number: str | None = None, faults: CallFaults = NO_FAULTS) -> str:
        """Have one call happen; answers its id."""
        called = number or next(iter(self.carrier.numbers))
        call: SimulatedCall = dial(called, script, rng=Random(), faults=faults)  # noqa: S311 - an id nobody else has
        await self.carrier.place_call(call)
        await self.quiet()
        return call.call_id

    async def quiet(self) -> None:
        """Wait until the service has no call."""
        await eventually(self._idle, "no call to be open")

    async def answers(self) -> tuple[dict[str, Any], dict[str, Any], list[CountDifference]]:
        """The carrier's truth, the service's numbers, and where they differ."""
        ground_truth = self.carrier.ground_truth()
        said = await live_responses(self.client, ground_truth["tenants"])
        return ground_truth, said, differences(ground_truth, said, seconds_a_call=SECONDS_A_CALL)

    async def get(self, path: str) -> dict[str, Any]:
        """An admin endpoint's answer."""
        answer: dict[str, Any] = (await self.client.get(path)).raise_for_status().json()
        return answer

    async def _idle(self) -> bool:
        return not (await self.get("/api/v1/metrics/capacity/debug"))["global"]["in_use"]


@asynccontextmanager
async def gateway(
    folder: Path,
    environment: Mapping[str, str],
    *,
    tenants: Sequence[Tenant] | None = None,
    scale: float = 0.02,
    linger_seconds: float = 0.0,
) -> AsyncIterator[Gateway]:
    """A carrier on the air, and a service process started as a user starts it.

    Callers stay on the line for ``linger_seconds`` when the service leaves without a word.
    """
    loaded = simulated_tenants(2) if tenants is None else tenants
    line = CarrierOptions(
        secret=SECRET,
        numbers=numbers_of(loaded),
        time_scale=TimeScale(scale=scale, caller_timeout=30.0, greeting_timeout=30.0),
        ring_seconds=PATIENT_SECONDS,
        answer_timeout=PATIENT_SECONDS,
        fallback_instructions=FALLBACK,
        linger_seconds=linger_seconds,
    )
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    async with Simulator(line) as carrier:
        service = Service(folder, carrier.base_url, {"FALLBACK_INSTRUCTIONS": FALLBACK, **environment})
        await asyncio.to_thread(service.import_tenants, loaded)
        try:
            await asyncio.to_thread(service.start)
            carrier.target = service.address
            async with service.client() as client:
                yield Gateway(carrier, service, client)
        finally:
            code = await asyncio.to_thread(service.stop)
            assert code == 0, service.log


async def eventually(fact: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - whatever the fact is
    """Wait until something is so, and answer it."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not (found := await fact()):  # noqa: ASYNC110 -- other processes tell nobody
                await asyncio.sleep(0.2)
            return found
    except TimeoutError:
        raise AssertionError(f"waited {TIMEOUT_SECONDS:g} s for {what}") from None
