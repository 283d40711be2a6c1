"""What a call costs in the gateway, against a bare gateway that counts, records and traces nothing.

Both verify the same signed webhooks, accept with the official SDK, attach to the sideband and follow 26 events a turn.
The bare one is FastAPI and the SDK with its models of events (:mod:`benchmarks.served_gateway`), on the
default event loop and on uvloop. The gateway has everything on: a database, tenants, metrics, traces and logs, exported
over OTLP. All of them run at the same time and take turns, so that whatever else the machine does meets each alike.
What is measured is the processor time of each process.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import verdict
from benchmarks.gateway_process import GatewayProcess, gateway_process
from benchmarks.light_carrier import Carrier, light_carrier

OURS: Final = ("callscope", "uvloop")
BARE: Final = ("bare", "default")
BARE_FAST: Final = ("bare", "uvloop")
ROUNDS: Final = 4
CALLS_A_ROUND: Final = 40
CALLS_A_SECOND: Final = 12.0
TURN_SECONDS: Final = 1.0
"""Six times as fast as people speak: as many events a second as a thousand calls make, from a few."""
TALK_SECONDS: Final = 4 * TURN_SECONDS
SETTLE_SECONDS: Final = 0.5
"""For what follows the set-up of the last calls: the greeting, and the record of the start."""


@dataclass(slots=True)
class Contestant:
    """One gateway, with a carrier of its own."""

    carrier: Carrier
    gateway: GatewayProcess
    setup: list[float] = field(default_factory=list)
    """Processor seconds a call, by round."""
    event: list[float] = field(default_factory=list)
    """Processor seconds an event, by round."""

    async def set_up(self) -> float:
        """Set further calls up; return the processor seconds of each."""
        before = len(self.carrier.sidebands)
        await self.gateway.used()
        await self.gateway.calls(CALLS_A_ROUND, CALLS_A_SECOND)
        await self.carrier.attached(before + CALLS_A_ROUND)
        await asyncio.sleep(SETTLE_SECONDS)
        return (await self.gateway.used()).cpu_seconds / CALLS_A_ROUND

    async def follow(self) -> float:
        """Have all calls talk for some turns; return the processor seconds of each event."""
        sent = self.carrier.events
        await self.gateway.used()
        await self.carrier.talk(TALK_SECONDS, turn_seconds=TURN_SECONDS)
        return (await self.gateway.used()).cpu_seconds / (self.carrier.events - sent)


async def measure(folder: Path) -> dict[tuple[str, str], Contestant]:
    """Run all of them in turns; what happens first of its kind in a process does not count."""
    contestants: dict[tuple[str, str], Contestant] = {}
    async with AsyncExitStack() as stack:
        for side, loop in (OURS, BARE, BARE_FAST):
            carrier, address = await stack.enter_async_context(light_carrier())
            own = folder / f"{side}-{loop}"
            own.mkdir()
            gateway = await stack.enter_async_context(gateway_process(side, loop, address, own))
            contestants[side, loop] = Contestant(carrier, gateway)
        for contestant in contestants.values():
            await contestant.set_up()
            await contestant.follow()
        for _ in range(ROUNDS):
            for contestant in contestants.values():
                contestant.setup.append(await contestant.set_up())
        for _ in range(ROUNDS):
            for contestant in contestants.values():
                contestant.event.append(await contestant.follow())
    return contestants


def main() -> None:
    """Measure, and say what was found."""
    print(f"A call in the gateway against a bare one, {CALLS_A_SECOND:g} calls a second, 26 events a turn")
    with TemporaryDirectory() as folder:
        measured = asyncio.run(measure(Path(folder)))
    ours, bare, fast = measured[OURS], measured[BARE], measured[BARE_FAST]
    verdict.figure("setting a call up: bare, default loop", median(bare.setup) * 1e3, " ms")
    verdict.figure("setting a call up: bare, uvloop", median(fast.setup) * 1e3, " ms")
    verdict.at_most("setting a call up: the gateway", median(ours.setup) * 1e3, 9.0, " ms")
    verdict.at_most("setting a call up / bare, default loop", ratio(ours.setup, bare.setup), 1.1)
    verdict.figure("setting a call up / bare, uvloop", ratio(ours.setup, fast.setup))
    verdict.figure("following: bare, default loop, an event", median(bare.event) * 1e6, " us")
    verdict.figure("following: bare, uvloop, an event", median(fast.event) * 1e6, " us")
    verdict.at_most("following: the gateway, an event", median(ours.event) * 1e6, 45.0, " us")
    verdict.at_most("following / bare, default loop", ratio(ours.event, bare.event), 0.6)
    verdict.figure("following / bare, uvloop", ratio(ours.event, fast.event))


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of rounds."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
