"""What the numbers of a fleet cost: reading them while all processes send, sending them, the store's share of a core.

So many instances, each with an id and rows of its own, send as processes do, twice a second, over one connection each
few hundred: 2,000 calls a second and 60,000 running calls over 10,000 tenants, whatever the number of instances. Their
rows are written beforehand, as processes on other hosts write theirs: what is measured here is the store and whoever
reads. Then a process ranks the tenants by every figure, and another counts 100 calls a second: what it spends on
sending is measured.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Final, cast

import redis

from benchmarks import verdict
from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from service.fleet.live.counts import Coverage
from service.fleet.live.fields import NUMBER, WIDTH, minus, written
from service.fleet.live.folding import ALL_BUCKETS
from service.fleet.live.ranking import FleetRanking
from service.fleet.live.scripts import SEND, bucket_keys
from service.fleet.live.store import ROWS_IN_ONE_ROUND, TOTAL, Batch, LiveStore, bucket_of
from service.fleet.member import Member
from service.fleet.store import SlotStore
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.tenants.limits import CallLimits
from telemetry.calls.call import Call
from telemetry.metrics.figures import FIGURES
from telemetry.metrics.history import Ranked, Ranking
from telemetry.metrics.past import WindowName
from telemetry.semconv.attributes import EndReason
from tests.peers.binaries import find
from tests.peers.redis import Redis
from tests.service.fleet.live.harness import CountingProcess

INSTANCES: Final = (100, 1_000)
TENANTS: Final = 10_000
CALLS_A_SECOND: Final = 2_000
RUNNING: Final = 60_000
HEARTBEAT: Final = 5.0
INTERVAL: Final = 0.5
TICKS: Final = 8
"""Ticks of each instance whose rows are written beforehand, and then sent again and again."""
TOGETHER: Final = 2
"""Instances that one connection speaks for at a time, so that the sender keeps up."""
SECONDS: Final = 20.0
READS: Final = 2_000
CALLS_OF_ONE: Final = 100
"""Calls a second of the one process whose sending is measured."""
CALL_SECONDS: Final = 30
SENDING_SECONDS: Final = 45.0
"""Seconds of counting, which take less than that."""
PLOT: Final = "fleet"
FILLING: Final = "benchmark"
"""Name of each bucket's filling."""
MEDIAN_MS: Final = 1.0
P99_MS: Final = 5.0
PAGE: Final = 51
"""Tenants of a page, and one to tell whether there is another."""
PAGE_MS: Final = 50.0

_CALL: Final = tuple(
    NUMBER[name] for name in ("received_calls", "accepted_calls", "started_calls", "active_calls", "ended_calls")
)
_DISTRIBUTIONS: Final = range(len(NUMBER), WIDTH)


class Instance:
    """One process's rows, tick by tick."""

    def __init__(self, number: int, of: int) -> None:
        self.holder = f"instance-{number:04}:1"
        self.chance = random.Random(number)  # noqa: S311 -- the same each time
        self.calls = CALLS_A_SECOND * INTERVAL / of
        self.billed = RUNNING * INTERVAL / HEARTBEAT / of
        self.rows: dict[str, list[int]] = {}
        self.sequences = dict.fromkeys(ALL_BUCKETS, 0)
        self.ticks = [self._tick() for _ in range(TICKS)]
        self._commands: list[dict[int, tuple[bytes, bytes]]] = []

    def _tick(self) -> dict[int, dict[str, tuple[str, str]]]:
        """Return the rows that change in half a second, by bucket."""
        batches: dict[int, dict[str, tuple[str, str]]] = {}
        # A call that begins is received, accepted and started in two ticks, and one that ends changes a third.
        changed = [(self._tenant(), True) for _ in range(self._times(3 * self.calls))]
        changed += [(self._tenant(), False) for _ in range(self._times(self.billed))]
        total = self.rows.setdefault(TOTAL, [0] * WIDTH)
        before_total = list(total)
        for tenant_id, call in changed:
            row = self.rows.setdefault(tenant_id, [0] * WIDTH)
            before = list(row)
            places = [*_CALL, *self.chance.sample(_DISTRIBUTIONS, 6)] if call else [NUMBER["minutes_processed"]]
            for place in places:
                amount = 5_000 if place == NUMBER["minutes_processed"] else 1
                row[place] += amount
                total[place] += amount
            batches.setdefault(bucket_of(tenant_id), {})[tenant_id] = (written(row), written(minus(row, before)))
        batches[bucket_of(TOTAL)] = {TOTAL: (written(total), written(minus(total, before_total)))}
        return batches

    def _tenant(self) -> str:
        return f"tenant-{self.chance.randrange(TENANTS):05}"

    def _times(self, mean: float) -> int:
        return int(mean) + (self.chance.random() < mean % 1)

    def commands(self, tick: int) -> Iterator[bytes]:
        """Yield what is sent in a tick, one command a bucket."""
        for bucket, (before, after) in self._commands[tick % TICKS].items():
            last = self.sequences[bucket]
            self.sequences[bucket] += 1
            yield before + _SEQUENCES % (last + 1, last) + after

    def prepare(self, prefix: str) -> int:
        """Write the commands beforehand, and forget the rows; return how many rows a cycle of ticks has."""
        rows = sum(len(rows) for tick in self.ticks for rows in tick.values())
        self._commands = [
            {
                bucket: _command(prefix, Batch(bucket, self.holder, 0, rows, 0, _lag(rows), f"{FILLING}:0"))
                for bucket, rows in tick.items()
            }
            for tick in self.ticks
        ]
        self.ticks, self.rows = [], {}
        return rows


_SEQUENCES: Final = b"$12\r\n%012d\r\n$12\r\n%012d\r\n"
# A row's sequence, and the one before: what alone differs from one time to the next that a command is sent.

_TAKEN: Final = b"$2\r\nok\r\n"
# Of each reply.


def _lag(rows: dict[str, tuple[str, str]]) -> int | None:
    return 0 if TOTAL in rows else None


def _command(prefix: str, batch: Batch) -> tuple[bytes, bytes]:
    """Return the command up to its sequences, and what comes behind them."""
    keys = bucket_keys(prefix, batch.bucket, batch.holder)
    holder, _, _, *rest = batch.arguments()
    before = ["EVALSHA", SEND.digest, str(len(keys)), *keys, str(holder)]
    head = f"*{len(before) + 2 + len(rest)}\r\n".encode()
    return head + b"".join(map(_bulk, before)), b"".join(map(_bulk, map(str, rest)))


def _bulk(text: str) -> bytes:
    return f"${len(text.encode())}\r\n{text}\r\n".encode()


async def send(url: str, prefix: str, count: int, seconds: float) -> None:
    """Be all the instances; print rows a second and the share of ticks that came late."""
    with redis.Redis.from_url(url) as client:
        client.script_load(SEND.text)
    address = StoreAddress.parse(url).hosts[0]
    reader, writer = await asyncio.open_connection(*address)
    instances = [Instance(number, count) for number in range(count)]
    each = sum(instance.prepare(prefix) for instance in instances) / TICKS / count
    print("ready", flush=True)
    sys.stdin.readline()
    late = sent = tick = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for index in range(0, count, TOGETHER):
            due = began + (tick + index / count) * INTERVAL
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            some = instances[index : index + TOGETHER]
            late += len(some) * (time.monotonic() - due > INTERVAL)
            commands = [command for instance in some for command in instance.commands(tick)]
            # As a process does: some twenty rows, then others have their turn.
            together = max(1, round(ROWS_IN_ONE_ROUND * len(commands) / (each * len(some))))
            for first in range(0, len(commands), together):
                part = commands[first : first + together]
                writer.write(b"".join(part))
                await _taken(reader, len(part))
            sent += len(some)
        tick += 1
    print(f"{sent * each / (time.monotonic() - began)} {late / sent} {each}", flush=True)
    writer.close()
    await writer.wait_closed()


async def _taken(reader: asyncio.StreamReader, count: int) -> None:
    """Wait until so many commands are answered, each of them as it should be."""
    answers = b""
    while answers.count(_TAKEN) < count:
        some = await reader.read(65_536)
        assert some, answers
        assert b"-ERR" not in some, some
        answers += some


async def reading(url: str, prefix: str, count: int) -> None:
    """Measure reads of one tenant and of the total while so many instances send."""
    connection = StoreConnection(StoreAddress.parse(url))
    store = LiveStore(connection, prefix)
    for bucket in ALL_BUCKETS:
        if await store.begin_seeding(bucket, FILLING):
            await store.end_seeding(bucket, FILLING)
    sender = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.fleet_numbers",
        "send",
        url,
        prefix,
        str(count),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert sender.stdin is not None
    assert sender.stdout is not None
    await sender.stdout.readline()
    sender.stdin.write(b"\n")
    await asyncio.sleep(3)
    server = redis.Redis.from_url(url)
    cpu, began = _cpu(server), time.monotonic()
    took: dict[str, list[float]] = {"one tenant": [], "the total": []}
    chance = random.Random(1)  # noqa: S311 -- the same each time
    pause = (SECONDS - 6) / READS
    for _ in range(READS):
        for what, tenant_id in (("one tenant", f"tenant-{chance.randrange(TENANTS):05}"), ("the total", TOTAL)):
            at = time.perf_counter()
            await store.sum_of(tenant_id, "instance-0000:1", past=False)
            took[what].append((time.perf_counter() - at) * 1e3)
        await asyncio.sleep(pause)
    share = (_cpu(server) - cpu) / (time.monotonic() - began)
    rows, late, each = map(float, (await sender.stdout.readline()).split())
    await sender.wait()
    named = f"{count:,} instances"
    for what, milliseconds in took.items():
        verdict.at_most(f"{named}: reading {what}, median", median(milliseconds), MEDIAN_MS, " ms")
        verdict.at_most(f"{named}: reading {what}, p99", quantiles(milliseconds, n=100)[-1], P99_MS, " ms")
        verdict.point(PLOT, f"reading {what}, median", count, median(milliseconds))
    verdict.figure(f"{named}: rows sent a second", rows)
    verdict.figure(f"{named}: rows a process sends at once", each)
    verdict.figure(f"{named}: ticks sent more than a tick late", 100 * late, " %")
    verdict.figure(f"{named}: the store's share of a core, reads included", 100 * share, " %")
    verdict.figure(f"{named}: the store's share of a core a thousand rows a second", 100 * share / (rows / 1000), " %")
    verdict.figure(f"{named}: memory of the store", server.info("memory")["used_memory"] / 1e6, " MB")
    server.close()
    await connection.close()


class _Member:
    """A process of the fleet, as far as a ranking has to know."""

    away = False

    def doubt(self, error: Exception) -> None:
        raise error


async def ranking(url: str, prefix: str, count: int) -> None:
    """Measure pages of rankings of all tenants that so many instances have sent."""
    connection = StoreConnection(StoreAddress.parse(url))

    async def covered(_filled_seconds: float) -> Coverage:
        return Coverage(0.0, count, count, 0)

    store, slots = LiveStore(connection, prefix), SlotStore(connection, prefix)
    ranks = FleetRanking(store, slots, cast("Member", _Member()), CallLimits(RUNNING), covered)
    ranks.fill_seconds = 600.0
    orders = [
        Ranking(FIGURES[name], window, descending=True)
        for name in FIGURES
        for window in WindowName
        if not FIGURES[name].chosen.peaks
    ]
    at = time.perf_counter()
    await ranks.ranked(orders[0], PAGE)
    verdict.figure(f"{count:,} instances: copying all sums for the first ranking", time.perf_counter() - at, " s")
    first: list[float] = []
    later: list[float] = []
    for order in orders:
        behind: Ranked | None = None
        for took in (first, *(later,) * 5):
            at = time.perf_counter()
            found = await ranks.ranked(order, PAGE, behind)
            took.append((time.perf_counter() - at) * 1e3)
            behind = found.ranked[-1]
    named = f"{count:,} instances: a page of a ranking of {TENANTS:,} tenants"
    verdict.at_most(f"{named}, median", median(later), PAGE_MS, " ms")
    verdict.figure(f"{named}, p99", quantiles(later, n=100)[-1], " ms")
    verdict.at_most(f"{named}, the first of an order, median", median(first), PAGE_MS, " ms")
    verdict.point(PLOT, "a page of a ranking, median", count, median(later))
    verdict.point(PLOT, "the first page of an order, median", count, median(first))
    await connection.close()


def _cpu(server: "redis.Redis") -> float:
    found = server.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


async def sending(url: str, folder: Path) -> None:
    """Measure what a process that counts 100 calls a second spends on sending."""
    database = f"sqlite+aiosqlite:///{folder / 'counts.db'}"
    connection = StoreConnection(StoreAddress.parse(url))
    async with Database.from_url(database) as opened:
        await upgrade(opened.engine)
        process = CountingProcess(connection, "sender", opened, max_tenants=2 * TENANTS)
        await process.start()
        await process.publish()
        chance = random.Random(1)  # noqa: S311 -- the same each time
        running: list[Call] = []
        spent, began = 0.0, time.monotonic()
        for tick in range(round(SENDING_SECONDS / INTERVAL)):
            for number in range(round(CALLS_OF_ONE * INTERVAL)):
                call = process.call(f"rtc_{tick}_{number}", f"tenant-{chance.randrange(TENANTS):05}")
                running.append(call)
            process.kit.clock.advance(INTERVAL)
            for call in running[:: round(HEARTBEAT / INTERVAL)]:
                call.heartbeat()
            while len(running) > CALLS_OF_ONE * CALL_SECONDS:
                running.pop(0).ended(EndReason.HANGUP)
            process.kit.reader.refresh()
            await process.fleet.member.beat()
            at = time.process_time()
            await process.publisher.publish()
            spent += time.process_time() - at
        counted = SENDING_SECONDS
        sent = process.publisher.health().sent_rows
        verdict.at_most(f"sending what {CALLS_OF_ONE} calls a second count", 100 * spent / counted, 5.0, " %")
        verdict.figure("rows it sends a second", sent / counted)
        verdict.figure("seconds this took", time.monotonic() - began)
        process.close()
    await connection.close()


def main() -> None:
    """Measure each number of instances, and say what was found."""
    print("The numbers of a fleet")
    if find("redis-server") is None:
        raise SystemExit("redis-server is not on this machine: run `make peers`")
    with tempfile.TemporaryDirectory() as folder:
        for count in INSTANCES:
            server = Redis(Path(folder)).start()
            try:
                asyncio.run(reading(server.url, f"of-{count}", count))
                asyncio.run(ranking(server.url, f"of-{count}", count))
            finally:
                server.stop()
        server = Redis(Path(folder)).start()
        try:
            asyncio.run(sending(server.url, Path(folder)))
        finally:
            server.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        asyncio.run(send(sys.argv[2], sys.argv[3], int(sys.argv[4]), SECONDS))
    else:
        main()
