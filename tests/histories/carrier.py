"""The carrier of a fleet of light processes: it announces calls, keeps their records, and writes down what runs."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from tests.histories.events import Count, Event, Kind, Seen, seen_of
from tests.histories.worker import Order
from tests.peers.binaries import ROOT

PATIENCE_SECONDS = 60.0
"""Seconds that something may take on a busy machine."""


@dataclass(eq=False)
class LightProcess:
    """One process, as the carrier knows it."""

    name: str
    pid: int
    writer: asyncio.StreamWriter
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    alive: bool = True
    stopped: bool = False
    counted: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    def send(self, **message: object) -> None:
        """Tell it something."""
        if self.alive:
            self.writer.write(json.dumps(message).encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Carrier:
    """Announces calls to processes, ends them, and moves those of a dead one to another.

    Args:
        socket: the path of the socket that processes connect to.
        random: chooses how long calls last, and who takes over.
        seconds: how long a call lasts on average.
    """

    def __init__(self, socket: Path, random: Random, seconds: float) -> None:
        self.socket = socket
        self.history: list[Event] = []
        self.processes: dict[str, LightProcess] = {}
        self.running: dict[str, str] = {}
        """Calls that run, each with its process."""
        self.stay = False
        """True if calls that are let in last until they are ended."""
        self.undecided: dict[str, str] = {}
        """Calls that were announced, each with the process that is to decide about it."""
        self._random = random
        self._seconds = seconds
        self._owner: dict[str, str] = {}
        self._claims: dict[str, int] = {}
        self._over: set[str] = set()
        self._tenants: dict[str, str] = {}
        self._moving: set[str] = set()
        self._hung_up: set[str] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._nursery: asyncio.subprocess.Process | None = None
        self._begun = time.monotonic()

    # Processes --------------------------------------------------------------------------------------------------------

    @property
    def living(self) -> list[LightProcess]:
        """Processes that run, or are stopped."""
        return [process for process in self.processes.values() if process.alive]

    @property
    def awake(self) -> list[LightProcess]:
        """Processes that run and are not stopped."""
        return [process for process in self.living if not process.stopped]

    async def start(self, orders: Iterable[Order]) -> None:
        """Start processes, and wait until all have joined the fleet."""
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        started = list(orders)
        for order in started:
            self._nursery.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        await self.until(lambda: all(order.name in self.processes for order in started), "processes to connect")
        for order in started:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.processes[order.name].ready.wait()
            self.note(Kind.START, order.name)

    def kill(self, process: LightProcess) -> None:
        """End a process as a crash would; its running calls run on, and another takes them over."""
        self.note(Kind.KILL, process.name, by="kill")
        process.alive = process.stopped = False
        process.signal(signal.SIGKILL)
        for call, owner in list(self.undecided.items()):
            if owner == process.name:
                del self.undecided[call]
                self._over.add(call)

    def stop(self, process: LightProcess) -> None:
        """Have a process stand still."""
        self.note(Kind.STOP, process.name, by="stop")
        process.stopped = True
        process.signal(signal.SIGSTOP)

    def go_on(self, process: LightProcess) -> None:
        """Have a process go on."""
        process.stopped = False
        if process.alive:
            self.note(Kind.CONTINUE, process.name)
            process.signal(signal.SIGCONT)

    def move_calls(self, process: LightProcess) -> None:
        """Have another process take over what runs in one that is dead or stands still."""
        calls = [call for call, owner in self.running.items() if owner == process.name]
        heirs = [each for each in self.awake if each is not process]
        if not calls or not heirs:
            return
        heir = self._random.choice(heirs)
        for call in calls:
            self.note(Kind.MOVED, heir.name, call)
            self._claims[call] += 1
            self._owner[call] = self.running[call] = heir.name
            self._moving.add(call)
        process.send(do="lost", calls=calls)
        heir.send(do="take", calls=[(call, self._tenants[call], self._claims[call]) for call in calls])

    # Calls ------------------------------------------------------------------------------------------------------------

    def announce(self, call: str, tenant: str, process: LightProcess, limit: int) -> None:
        """Announce a call to a process."""
        self.note(Kind.INVOKE, process.name, call, tenant)
        self.undecided[call] = self._owner[call] = process.name
        self._claims[call], self._tenants[call] = 1, tenant
        process.send(do="admit", call=call, tenant=tenant, limit=limit)

    def end(self, call: str) -> None:
        """End a running call; does nothing if it is over."""
        if call in self._moving:
            self._hung_up.add(call)
        elif call in self.running:
            owner = self.processes[self.running.pop(call)]
            self.note(Kind.END, owner.name, call)
            self._over.add(call)
            owner.send(do="end", call=call)

    def note(
        self,
        kind: Kind,
        process: str = "",
        call: str = "",
        tenant: str = "",
        by: str = "",
        since: float = 0.0,
        seen: Seen | None = None,
    ) -> None:
        """Write an event down."""
        self.history.append(Event(self.now(), kind, process, call, tenant, by, since, seen))

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._begun

    # Messages ---------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            hello = json.loads(await reader.readline())
            process = self.processes[hello["name"]] = LightProcess(hello["name"], hello["pid"], writer)
            with suppress(ConnectionError):
                while line := await reader.readline():
                    message = json.loads(line)
                    getattr(self, f"_{message.pop('say')}")(process, **message)
        finally:
            writer.close()
            self._writers.discard(writer)

    def _ready(self, process: LightProcess, pid: int) -> None:
        process.pid = pid
        process.ready.set()

    def _ok(self, process: LightProcess, call: str, by: str, seen: Mapping[str, Any] | None) -> None:
        if self.undecided.pop(call, None) is None:
            # Said before its process was killed: the carrier hears it all the same, and the call runs.
            self._over.discard(call)
        self.note(Kind.OK, process.name, call, by=by, seen=None if seen is None else self._told(seen))
        self.running[call] = process.name
        if not self.stay:
            seconds = self._random.expovariate(1 / self._seconds)
            asyncio.get_running_loop().call_later(seconds, self.end, call)
        if not process.alive:
            self.move_calls(process)

    def _told(self, seen: Mapping[str, Any]) -> Seen:
        """Return what a process saw, with its moments counted from the beginning."""
        told = seen_of(seen)
        return replace(
            told,
            total=self._since_the_beginning(told.total),
            tenant=self._since_the_beginning(told.tenant),
            sent=told.sent - self._begun,
            answered=told.answered - self._begun,
        )

    def _since_the_beginning(self, count: Count) -> Count:
        return replace(count, sent=count.sent - self._begun, answered=count.answered - self._begun)

    def _refused(self, process: LightProcess, call: str, by: str) -> None:
        self.undecided.pop(call, None)
        self._over.add(call)
        self.note(Kind.REFUSED, process.name, call, by=by)

    def _beat(self, process: LightProcess, since: float) -> None:
        self.note(Kind.BEAT, process.name, since=since - self._begun)

    def _away(self, process: LightProcess) -> None:
        self.note(Kind.AWAY, process.name)

    def _taken(self, process: LightProcess, calls: Sequence[str]) -> None:
        for call in calls:
            if self.running.get(call) != process.name:
                continue  # moved on since
            self._moving.discard(call)
            self.note(Kind.TAKEN, process.name, call)
            if call in self._hung_up:
                self.end(call)

    def _owners(self, process: LightProcess, number: int, calls: Sequence[str]) -> None:
        found = {
            call: (self._owner[call], self._claims[call], call in self._over) for call in calls if call in self._owner
        }
        process.send(do="owners", number=number, found=found)

    def _count(self, process: LightProcess, **counted: int) -> None:
        process.counted.put_nowait(counted)

    async def counted(self) -> list[dict[str, Any]]:
        """Return what each living process says that it holds."""
        for process in self.living:
            process.send(do="count")
        async with asyncio.timeout(PATIENCE_SECONDS):
            return [await process.counted.get() for process in self.living]

    async def until(self, fact: Any, what: str) -> None:  # noqa: ANN401 -- whatever can be called
        """Wait until something is so."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not fact():  # noqa: ASYNC110 -- nobody tells
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited {PATIENCE_SECONDS:g} s for {what}") from None

    @asynccontextmanager
    async def on_the_air(self) -> AsyncIterator[None]:
        """Take connections of processes, which end with the context."""
        server = await asyncio.start_unix_server(self._serve, str(self.socket), limit=1 << 24)
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.histories.nursery", str(self.socket), cwd=ROOT, stdin=asyncio.subprocess.PIPE
        )
        try:
            yield
        finally:
            for process in self.living:
                process.signal(signal.SIGKILL)
            assert self._nursery.stdin is not None
            self._nursery.stdin.close()
            await self._nursery.wait()
            server.close()
            await self.until(lambda: not self._writers, "connections to end")
            await asyncio.sleep(0)
