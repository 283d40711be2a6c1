"""A carrier and a small gateway facing it, and calls between them."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import TypedDict, Unpack

from service.simulator.call import Delivery, SimulatedCall, dial
from service.simulator.faults import CallFaults
from service.simulator.ground_truth import CallReport
from service.simulator.script import CallScript
from service.simulator.simulator import Simulator
from tests.service.simulator.mini_gateway import MiniGateway
from tests.support.patience import PATIENT_SECONDS

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
API_KEY = "sk-test"
FALLBACK = "Be kind."
ACME = "+18005550000"


class Wishes(TypedDict, total=False):
    call_id: str
    faults: CallFaults
    delivery: Delivery


class SimulatorHarness:
    """A carrier, a gateway, and calls between them."""

    def __init__(self, carrier: Simulator, gateway: MiniGateway) -> None:
        self.carrier, self.gateway = carrier, gateway
        self._rng = Random(7)  # noqa: S311 - reproducible, not secret

    async def call(self, script: CallScript, number: str = ACME, **wishes: Unpack[Wishes]) -> CallReport:
        """Have a call happen to its own end."""
        return await self._place(dial(number, script, rng=self._rng, **wishes))

    async def call_in_vain(
        self, script: CallScript, *, once: Callable[[], bool] = lambda: True, **wishes: Unpack[Wishes]
    ) -> CallReport:
        """Have a call happen until the gateway has done what it does and ``once`` is so; the caller gives up then."""
        call = dial(ACME, script, rng=self._rng, **wishes)
        placed = asyncio.create_task(self._place(call))
        await self.until(lambda: self.gateway.handled(call.call_id) and once())
        self.carrier.hang_up_all()
        return await placed

    async def _place(self, call: SimulatedCall) -> CallReport:
        async with asyncio.timeout(PATIENT_SECONDS):
            return await self.carrier.place_call(call)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(PATIENT_SECONDS):
            while not fact():  # noqa: ASYNC110 - facts of many kinds, none of which notifies
                await asyncio.sleep(0.005)

    @property
    def totals(self) -> dict[str, float]:
        totals: dict[str, float] = self.carrier.counts()["global"]
        return totals
