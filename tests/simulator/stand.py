"""A carrier and a small gateway facing it, and calls between them."""

import asyncio
from random import Random
from typing import Any

from service.simulator.dialling import dial
from service.simulator.script import CallScript
from service.simulator.simulator import Simulator
from service.simulator.truth import CallReport
from tests.simulator.mini_gateway import MiniGateway

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ACME = "+18005550000"


class Stand:
    """A carrier, a gateway, and calls between them."""

    def __init__(self, carrier: Simulator, gateway: MiniGateway) -> None:
        self.carrier, self.gateway = carrier, gateway
        self._rng = Random(7)

    async def call(self, script: CallScript, number: str = ACME, **wishes: Any) -> CallReport:
        async with asyncio.timeout(30):
            return await self.carrier.place_call(dial(number, script, rng=self._rng, **wishes))

    @property
    def totals(self) -> dict[str, float]:
        totals: dict[str, float] = self.carrier.truth()["global"]
        return totals
