"""What calls notice when the Collector is away for a minute under load: killed once, and once frozen.

The real service process takes simulated calls and exports twice a second to a real Collector, which passes on to a real
Prometheus. Every stretch of the run has the same calls in the same order. Compared are the time from the webhook to the
decision (as the service tells of each call), from the webhook to the agent's first audio (as the carrier hears it), the
webhook's answer and a live read, each with the stretches before and after, for a machine has its moods; and processor
time a call, which other programs on the machine disturb least. Afterwards carrier, service and Prometheus have to agree
on every number.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import httpx2

from benchmarks import verdict
from service.simulator.delivery import WEBHOOK_PATH
from service.simulator.plan import Plan
from service.simulator.signing import signed_headers
from service.simulator.tenants import simulated_tenants
from tests.peers.binaries import find
from tests.peers.gateway import Gateway, eventually, gateway
from tests.peers.ledgers import differing, exported, table
from tests.peers.peers import Peers
from tests.peers.service import SECRET

AWAY_SECONDS = 60.0
"""How long the Collector is away each time, unless the command line says otherwise."""

CALLS_PER_SECOND = 4
TENANTS = 12
SCALE = 0.05
"""Real seconds that a second of conversation takes."""

PROBE_EVERY = 0.05
MEDIAN_RATIO = 1.25
NINETY_FIFTH_RATIO = 1.5
"""A neighbour on the machine moves the slowest calls more than the middle ones."""

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

    def __add__(self, later: "Seen") -> "Seen":
        """Both stretches as one."""
        return Seen(
            self.setup + later.setup,
            self.first_audio + later.first_audio,
            self.webhook + later.webhook,
            self.live_read + later.live_read,
            self.calls + later.calls,
            self.processor + later.processor,
            later.memory,
        )

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
        for call in self._line.carrier.truth()["calls"]:
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


async def measure(peers: Peers, folder: Path, away: float) -> None:
    """Load with the Collector there, killed, there again, frozen, and there again."""
    prometheus = peers.prometheus()
    collector = peers.collector(
        "base", "local", environment={"PROMETHEUS_OTLP_METRICS_URL": prometheus.otlp_metrics_url}
    )
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}
    tenants = simulated_tenants(TENANTS, max_concurrent_calls=4)
    async with gateway(folder, environment, tenants=tenants, scale=SCALE) as line:
        run = Run(line)
        await run.stretch("warm-up", away / 4)
        before = await run.stretch("before", away / 2)
        await asyncio.to_thread(collector.kill)
        killed = await run.stretch("killed", away)
        await tell_health(line, "killed")
        await asyncio.to_thread(collector.start)
        between = await run.stretch("between", away / 2)
        with collector.frozen():
            frozen = await run.stretch("frozen", away)
            await tell_health(line, "frozen")
        after = await run.stretch("after", away / 2)
        tell("killed", killed, before + between)
        tell("frozen", frozen, between + after)
        await eventually(lambda: exporting(line), "the exports to succeed again")
        truth, said, found = await line.answers()
        assert not found, found
        sent = await exported(prometheus, said)
    print(table("  equal for each tenant too", truth, said, sent))
    assert not differing(said, sent), differing(said, sent)


async def exporting(line: Gateway) -> bool:
    """Whether no signal fails to be exported."""
    return not (await line.get("/readyz"))["information"]["export"]["failing"]


async def tell_health(line: Gateway, name: str) -> None:
    """That the service knows that nothing is taken, and what it has dropped."""
    export = (await line.get("/readyz"))["information"]["export"]
    assert export["failing"], f"{name}: the service noticed nothing"
    for signal in ("metrics", "traces", "logs"):
        verdict.figure(f"{name}: {signal} failed in a row", export[signal]["consecutive_failures"])
        verdict.figure(f"{name}: {signal} dropped until now", export[signal]["dropped"])


def tell(name: str, away: Seen, there: Seen) -> None:
    """Each distribution, and how the times without a Collector compare with those with one."""
    for what, usual in there.times().items():
        times = away.times()[what]
        tell_times(f"there: {what}", usual)
        tell_times(f"{name}: {what}", times)
        for part, at, bound in ((50, "median", MEDIAN_RATIO), (95, "95th percentile", NINETY_FIFTH_RATIO)):
            ratio = percentile(times, part) / percentile(usual, part)
            verdict.at_most(f"{name} / there: {what}, {at}", ratio, bound)
    each = [seen.processor / seen.calls * 1e3 for seen in (there, away)]
    verdict.figure("there: processor time a call, probes included", each[0], " ms")
    verdict.at_most(f"{name} / there: processor time a call", each[1] / each[0], MEDIAN_RATIO)
    verdict.figure("there: memory of the service", there.memory / 2**20, " MiB")
    verdict.figure(f"{name}: memory of the service", away.memory / 2**20, " MiB")


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
    print(f"The Collector away for {away:g} s, {CALLS_PER_SECOND} calls a second")
    with TemporaryDirectory() as folder, Peers(Path(folder) / "peers") as peers:
        asyncio.run(measure(peers, Path(folder) / "line", away))


if __name__ == "__main__":
    main()
