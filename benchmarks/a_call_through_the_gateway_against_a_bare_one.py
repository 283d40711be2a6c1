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
from typing import Final, NamedTuple

from benchmarks import verdict
from benchmarks.gateway_process import GatewayProcess, Used, gateway_process
from benchmarks.light_carrier import Carrier, light_carrier

HELD_SETUP: Final = (
    "What holds the set-up: the request that accepts, the handshake and the webhook's route, which a bare gateway"
    " has too, and the spans, measurements, log lines, commits and exports that it has not; [decision"
    " 0004](decisions/0004-what-a-call-costs.md) has their shares."
)
HELD_EVENT: Final = (
    "What holds an event: the WebSocket library, which parses and queues each frame in Python, and the SDK's"
    " spans and measurements; [decision 0004](decisions/0004-what-a-call-costs.md) has their shares."
)
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


class Cost(NamedTuple):
    """Processor seconds of one of many."""

    process: float
    loop: float
    """Of those, the seconds of the event loop's thread."""

    @classmethod
    def of(cls, used: Used, count: int) -> "Cost":
        """Share out what was used."""
        return cls(used.cpu_seconds / count, used.loop_seconds / count)


@dataclass(slots=True)
class Contestant:
    """One gateway, with a carrier of its own."""

    carrier: Carrier
    gateway: GatewayProcess
    setup: list[Cost] = field(default_factory=list)
    """What setting a call up cost, by round."""
    event: list[Cost] = field(default_factory=list)
    """What following an event cost, by round."""

    async def set_up(self) -> Cost:
        """Set further calls up; return what each cost."""
        before = len(self.carrier.sidebands)
        await self.gateway.used()
        await self.gateway.calls(CALLS_A_ROUND, CALLS_A_SECOND)
        await self.carrier.attached(before + CALLS_A_ROUND)
        await asyncio.sleep(SETTLE_SECONDS)
        return Cost.of(await self.gateway.used(), CALLS_A_ROUND)

    async def follow(self) -> Cost:
        """Have all calls talk for some turns; return what each event cost."""
        sent = self.carrier.events
        await self.gateway.used()
        await self.carrier.talk(TALK_SECONDS, turn_seconds=TURN_SECONDS)
        return Cost.of(await self.gateway.used(), self.carrier.events - sent)


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
    tell("setting a call up", (ours.setup, bare.setup, fast.setup), 1e3, " ms", (9.0, 1.1), HELD_SETUP)
    tell("following an event", (ours.event, bare.event, fast.event), 1e6, " us", (45.0, 0.6), HELD_EVENT)


def tell(
    what: str,
    costs: tuple[list[Cost], list[Cost], list[Cost]],
    scale: float,
    unit: str,
    bounds: tuple[float, float],
    held: str,
) -> None:
    """Say what something cost the gateway and both bare ones; ``bounds`` are of the cost and of the ratio."""
    ours, bare, fast = costs
    for name, cost in (("bare, default loop", bare), ("bare, uvloop", fast)):
        verdict.figure(f"{what}: {name}", median(each.process for each in cost) * scale, unit)
    verdict.at_most(f"{what}: the gateway", median(each.process for each in ours) * scale, bounds[0], unit, held=held)
    verdict.figure(f"{what}: the gateway, of it in the event loop", median(each.loop for each in ours) * scale, unit)
    verdict.at_most(f"{what} / bare, default loop", ratio(ours, bare), bounds[1], held=held)
    verdict.figure(f"{what} / bare, uvloop", ratio(ours, fast))


def ratio(ours: list[Cost], theirs: list[Cost]) -> float:
    """Return the median of the ratios of rounds."""
    return median(mine.process / other.process for mine, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
