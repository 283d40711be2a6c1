"""A carrier and a small gateway facing it, and calls between them."""

import asyncio
from random import Random
from typing import TypedDict, Unpack

from service.simulator.call import Delivery
from service.simulator.dialling import dial
from service.simulator.faults import CallFaults
from service.simulator.script import CallScript
from service.simulator.simulator import Simulator
from service.simulator.truth import CallReport
from tests.simulator.mini_gateway import MiniGateway

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ACME = "+18005550000"


class Wishes(TypedDict, total=False):
    call_id: str
    faults: CallFaults
    delivery: Delivery


class Stand:
    """A carrier, a gateway, and calls between them."""

    def __init__(self, carrier: Simulator, gateway: MiniGateway) -> None:
        self.carrier, self.gateway = carrier, gateway
        self._rng = Random(7)  # noqa: S311 - reproducible, not secret

    async def call(self, script: CallScript, number: str = ACME, **wishes: Unpack[Wishes]) -> CallReport:
        async with asyncio.timeout(30):
            return await self.carrier.place_call(dial(number, script, rng=self._rng, **wishes))

    @property
    def totals(self) -> dict[str, float]:
        totals: dict[str, float] = self.carrier.counts()["global"]
        return totals

    def carrier_soon_hangs_up(self) -> None:
        """Let every caller hang up once a greeting was heard."""
        self._hanging_up = asyncio.create_task(self._hang_up_after_greeting())

    async def _hang_up_after_greeting(self) -> None:
        while not self.gateway.seen["response.done"]:  # noqa: ASYNC110 - the gateway's notes are all there is to wait on
            await asyncio.sleep(0.01)
        self.carrier.hang_up_all()
