"""What calls notice when the Collector is away for a minute under load: killed once, and once frozen.

Two real service processes take the same simulated calls at the same time and export twice a second, each to a real
Collector of its own, which passes on to a real Prometheus. One of the Collectors goes away. Compared are, between the
two services, the time from the webhook to the decision (as the service tells of each call), from the webhook to the
agent's first audio (as the carrier hears it), the webhook's answer, a live read, and processor time a call: whatever
else the machine does falls on both. Afterwards carrier, services and Prometheus have to agree on every number.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import httpx2

from benchmarks import verdict
from service.simulator.delivery import WEBHOOK_PATH, signed_headers
from service.simulator.tenants import simulated_tenants
from service.simulator.traffic import Plan
from tests.peers.binaries import find
from tests.peers.collector import Collector
from tests.peers.gateway import Gateway, eventually, gateway
from tests.peers.ledgers import differing, exported, summed, table
from tests.peers.peers import Peers
from tests.peers.service import SECRET

AWAY_SECONDS = 60.0
"""How long the Collector is away each time, unless the command line says otherwise."""

CALLS_PER_SECOND = 3
"""At each of the two services."""

TENANTS = 12
SCALE = 0.05
"""Real seconds that a second of conversation takes."""

PROBE_EVERY = 0.05
MEDIAN_RATIO = 1.25
NINETY_FIFTH_RATIO = 1.5
"""A neighbour on the machine moves the slowest calls more than the middle ones."""

MEMORY = Path("/dev/shm")  # noqa: S108 -- a folder of its own is made in it
"""Where the databases are put if it is there: a disk is slow at times for reasons of its own."""

NEEDED = ("otelcol-callscope", "prometheus")
NOT_OURS = b'{"object": "event", "id": "evt_probe", "type": "response.completed", "data": {}}'
"""A signed delivery that is verified, read and counted, and begins no call."""


@dataclass(slots=True)
class Seen:
    """What one stretch was like, in milliseconds."""

    setup: list[float] = field(default_factory=list)
    """Webhook received to call decided."""
    first_audio: list[float] = field(default_factory=list)
    """Webhook sent to the agent heard."""
    webhook: list[float] = field(default_factory=list)
    """Webhook sent to its answer."""
    live_read: list[float] = field(default_factory=list)
    """Admin read sent to its answer."""
    calls: int = 0
    """Calls accepted."""
    processor: float = 0
    """Processor seconds the service used."""
    memory: int = 0
    """Bytes it had in use at the end."""

    def times(self) -> dict[str, list[float]]:
        """The distributions by name."""
        return {
            "webhook to decision": self.setup,
            "webhook to first audio": self.first_audio,
            "webhook's answer": self.webhook,
            "live read": self.live_read,
        }


class Run:
    """One service under load."""

    def __init__(self, line: Gateway) -> None:
        self._line = line
        self._told: set[str] = set()
        self._numbers = count()

    async def stretch(self, name: str, seconds: float) -> Seen:
        """The calls of so many seconds, to the end of the last."""
        seen, service = Seen(), self._line.service
        processor = service.processor_seconds
        async with self._probing(seen):
            await self._line.traffic(Plan(name, seed=1, calls_per_second=CALLS_PER_SECOND, seconds=seconds))
        seen.processor = service.processor_seconds - processor
        seen.memory = service.resident_bytes
        await self._read_calls(seen)
        return seen

    @asynccontextmanager
    async def _probing(self, seen: Seen) -> AsyncIterator[None]:
        probes = [
            asyncio.create_task(_probe(seen.webhook, self._post)),
            asyncio.create_task(_probe(seen.live_read, self._read)),
        ]
        try:
            yield
        finally:
            for probe in probes:
                probe.cancel()
                with suppress(asyncio.CancelledError):
                    await probe

    async def _post(self) -> httpx2.Response:
        headers = signed_headers(SECRET, f"wh_probe_{next(self._numbers)}", int(time.time()), NOT_OURS)
        return await self._line.client.post(WEBHOOK_PATH, content=NOT_OURS, headers=headers)

    async def _read(self) -> httpx2.Response:
        return await self._line.client.get("/api/v1/metrics/live")

    async def _read_calls(self, seen: Seen) -> None:
        """What carrier and service know of the accepted calls since the last stretch."""
        for call in self._line.carrier.ground_truth()["calls"]:
            if call["call_id"] in self._told or not call["accepted"]:
                continue
            self._told.add(call["call_id"])
            seen.calls += 1
            decision = (await self._line.get(f"/api/v1/calls/{call['call_id']}"))["decision"]
            seen.setup.append(decision["setup_seconds"] * 1e3)
            if call["first_audio_seconds"] is not None:
                seen.first_audio.append(call["first_audio_seconds"] * 1e3)


async def _probe(times: list[float], ask: Callable[[], Awaitable[httpx2.Response]]) -> None:
    while True:
        await asyncio.sleep(PROBE_EVERY)
        began = time.perf_counter()
        (await ask()).raise_for_status()
        times.append((time.perf_counter() - began) * 1e3)


class Pair:
    """The service whose Collector goes away, and the one whose Collector stays."""

    def __init__(self, leaving: Gateway, staying: Gateway) -> None:
        self.lines = (leaving, staying)
        self._runs = (Run(leaving), Run(staying))

    async def stretch(self, name: str, seconds: float, *, away: bool = False) -> None:
        """The same calls at both, and how they compare: as a claim where one has no Collector, else as its noise."""
        left, there = await asyncio.gather(*(run.stretch(name, seconds) for run in self._runs))
        tell(name, left, there, away=away)


async def measure(peers: Peers, folder: Path, away: float) -> None:
    """Load with the Collector there, killed, there again, frozen, and there again."""
    prometheus = peers.prometheus()
    environment = {"PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url}
    collectors = [peers.collector("base", "local", environment=environment) for _ in range(2)]
    collector = collectors[0]
    async with AsyncExitStack() as stack:
        pair = Pair(*[await stack.enter_async_context(service(folder, each)) for each in collectors])
        leaving, _ = pair.lines
        await pair.stretch("both there", away / 2)
        await asyncio.to_thread(collector.kill)
        await pair.stretch("killed", away, away=True)
        await tell_health(leaving, "killed")
        await asyncio.to_thread(collector.start)
        await pair.stretch("back", away / 2)
        with collector.frozen():
            await pair.stretch("frozen", away, away=True)
            await tell_health(leaving, "frozen")
        await eventually(lambda: exporting(leaving), "the exports to succeed again")
        ledgers = [await line.answers() for line in pair.lines]
        ground_truth, said = summed([ledger[0] for ledger in ledgers]), summed([ledger[1] for ledger in ledgers])
        sent = await exported(prometheus, said)
    print(table("  equal for each tenant too", ground_truth, said, sent))
    assert not any(found for _, _, found in ledgers), ledgers
    assert not differing(said, sent), differing(said, sent)


def service(folder: Path, collector: Collector) -> AbstractAsyncContextManager[Gateway]:
    """A service of its own for a Collector."""
    tenants = simulated_tenants(TENANTS, max_concurrent_calls=4)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}
    return gateway(folder / str(collector.metrics_port), environment, tenants=tenants, scale=SCALE)


async def failing(line: Gateway) -> bool:
    """Whether the service says that some signal fails to be exported."""
    return bool((await line.get("/readyz"))["information"]["export"]["failing"])


async def exporting(line: Gateway) -> bool:
    """Whether it says that all are exported."""
    return not await failing(line)


async def tell_health(line: Gateway, name: str) -> None:
    """That the service knows that nothing is taken, and what it has dropped."""
    await eventually(lambda: failing(line), f"{name}: the service to notice")
    export = (await line.get("/readyz"))["information"]["export"]
    for signal in ("metrics", "traces", "logs"):
        verdict.figure(f"{name}: {signal} failed in a row", export[signal]["consecutive_failures"])
        verdict.figure(f"{name}: {signal} dropped until now", export[signal]["dropped"])


def tell(name: str, left: Seen, there: Seen, *, away: bool) -> None:
    """Each distribution, and how the service whose Collector goes away compares with the other."""
    print(f" {name}")
    ratio = verdict.at_most if away else _unbound
    for what, usual in there.times().items():
        times = left.times()[what]
        tell_times(f"one: {what}", times)
        tell_times(f"other: {what}", usual)
        for part, at, bound in ((50, "median", MEDIAN_RATIO), (95, "95th percentile", NINETY_FIFTH_RATIO)):
            ratio(f"one / other: {what}, {at}", percentile(times, part) / percentile(usual, part), bound)
    one, other = (seen.processor / seen.calls * 1e3 for seen in (left, there))
    verdict.figure("other: processor time a call, probes included", other, " ms")
    ratio("one / other: processor time a call", one / other, MEDIAN_RATIO)
    verdict.figure("one: memory at the end", left.memory / 2**20, " MiB")
    verdict.figure("other: memory at the end", there.memory / 2**20, " MiB")


def _unbound(what: str, figure: float, _bound: float) -> None:
    verdict.figure(what, figure)


def tell_times(what: str, times: list[float]) -> None:
    """One distribution in a line."""
    middle, slow, slowest = (percentile(times, part) for part in (50, 95, 99))
    print(f"  {what:<40} n {len(times):>5}  median {middle:>7.1f}  95 % {slow:>7.1f}  99 % {slowest:>7.1f} ms")


def percentile(times: list[float], part: int) -> float:
    """The time that so many per cent stay below."""
    return quantiles(times, n=100)[part - 1]


def main() -> None:
    """Measure, where the programs are there to measure with."""
    missing = [name for name in NEEDED if find(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} missing; `make peers` brings it")
        return
    away = float(sys.argv[1]) if sys.argv[1:] else AWAY_SECONDS
    print(f"The Collector away for {away:g} s, {CALLS_PER_SECOND} calls a second at each of two services")
    fast = MEMORY if MEMORY.is_dir() else None
    with TemporaryDirectory(dir=fast) as folder, Peers(Path(folder)) as peers:
        asyncio.run(measure(peers, Path(folder), away))


if __name__ == "__main__":
    main()
