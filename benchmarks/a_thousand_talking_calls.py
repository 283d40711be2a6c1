"""What a process that carries talking calls costs and how it answers meanwhile, at growing numbers of calls.

Every call talks: 26 events a turn of six seconds, each at its own moment, from a carrier that costs next to nothing
(:mod:`benchmarks.light_carrier`). The gateway has everything on: a database, 50 tenants, metrics, traces and logs,
exported over OTLP. Meanwhile the live metrics are read ten times a second; afterwards further calls are announced.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import verdict
from benchmarks.gateway_process import GatewayProcess, Used, gateway_process
from benchmarks.light_carrier import TURN_SECONDS, light_carrier

SIZES: Final = (100, 300, 1_000)
"""Numbers of calls, unless others are given as arguments."""
ASKED_AT: Final = 1_000
HELD: Final = (
    "What holds it: the share is what an event costs, times 26 events a call every six seconds, and reads and"
    " timers wait for whatever thread has the interpreter; [decision 0004](decisions/0004-what-a-call-costs.md)"
    " says what an event's cost is made of."
)
CALLS_A_SECOND: Final = 50.0
TALK_SECONDS: Final = 4 * TURN_SECONDS
READS_A_SECOND: Final = 10.0
PLOT: Final = "calls"
WEBHOOKS: Final = 20
WEBHOOKS_A_SECOND: Final = 4.0


@dataclass(frozen=True, slots=True)
class Carried:
    """One number of calls, and what carrying them was like."""

    calls: int
    used: Used
    events: int
    reads: list[float]
    """Seconds that each live read took."""
    webhooks: list[float]
    """Seconds until each webhook was answered, while all calls talked."""
    idle_bytes: int
    """Memory in use before the first call."""

    @property
    def event_seconds(self) -> float:
        """Processor seconds an event, everything that the process did meanwhile included."""
        return self.used.cpu_seconds / self.events


async def carry(calls: int, folder: Path) -> Carried:
    """Set so many calls up, have them talk, and look."""
    async with AsyncExitStack() as stack:
        carrier, address = await stack.enter_async_context(light_carrier())
        gateway = await stack.enter_async_context(gateway_process("callscope", "uvloop", address, folder))
        idle = (await gateway.used()).resident_bytes
        await gateway.calls(calls, CALLS_A_SECOND)
        await carrier.attached(calls)
        await carrier.talk(TURN_SECONDS)
        await gateway.used()
        sent = carrier.events
        talking = asyncio.create_task(carrier.talk(TALK_SECONDS))
        reads = await read_until(talking, gateway)
        used, events = await gateway.used(), carrier.events - sent
        talking = asyncio.create_task(carrier.talk(WEBHOOKS / WEBHOOKS_A_SECOND))
        webhooks = await gateway.calls(WEBHOOKS, WEBHOOKS_A_SECOND)
        await talking
        assert len(carrier.sidebands) == calls + WEBHOOKS, "every call must still run"
    return Carried(calls, used, events, reads, webhooks, idle)


async def read_until(done: "asyncio.Task[None]", gateway: GatewayProcess) -> list[float]:
    """Read the live metrics at an even pace until the task is over."""
    reads: list[float] = []
    while not done.done():
        reads.append(await gateway.read_live())
        await asyncio.wait({done}, timeout=max(0.0, 1 / READS_A_SECOND - reads[-1]))
    await done
    return reads


def tell(carried: Carried) -> None:
    """Say what was found; bounds are held at a thousand calls."""
    name, used = f"{carried.calls:,} calls", carried.used
    reads = sorted(carried.reads)
    rows = (
        ("share of a core", used.share, 0.22, ""),
        ("CPU an event, all included", carried.event_seconds * 1e6, None, " us"),
        ("live read, p99", reads[int(len(reads) * 0.99)] * 1e3, 20.0, " ms"),
        ("live read, median", median(reads) * 1e3, None, " ms"),
        ("event loop late, p99", used.late_p99 * 1e3, 10.0, " ms"),
        ("event loop late, most", used.late_most * 1e3, None, " ms"),
        ("webhook answered, median", median(carried.webhooks) * 1e3, None, " ms"),
        ("webhook answered, most", max(carried.webhooks) * 1e3, None, " ms"),
        ("memory a call", (used.resident_bytes - carried.idle_bytes) / carried.calls / 1e3, None, " kB"),
    )
    for what, value, bound, unit in rows:
        if bound is not None and carried.calls == ASKED_AT:
            verdict.at_most(f"{name}: {what}", value, bound, unit, held=HELD)
        else:
            verdict.figure(f"{name}: {what}", value, unit)
    verdict.point(PLOT, "share of a core, %", carried.calls, used.share * 100)
    verdict.point(PLOT, "CPU an event, us", carried.calls, carried.event_seconds * 1e6)
    verdict.point(PLOT, "live read p99, ms", carried.calls, reads[int(len(reads) * 0.99)] * 1e3)
    verdict.point(PLOT, "event loop late p99, ms", carried.calls, used.late_p99 * 1e3)


def main() -> None:
    """Measure each size, and say what was found."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    print("Calls that talk, 26 events a turn of 6 s each, live metrics read ten times a second")
    for size in sizes:
        with TemporaryDirectory() as folder:
            tell(asyncio.run(carry(size, Path(folder))))


if __name__ == "__main__":
    main()
