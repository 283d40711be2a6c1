"""What is done to a fleet of light processes while calls come: chosen by a seed, each written down as it happens."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

from tests.histories.carrier import Carrier, LightProcess
from tests.histories.events import Kind
from tests.histories.stores import Proxies, Store
from tests.histories.worker import Order
from tests.support.proxy import nothing

Fault = Callable[[], Awaitable[None]]

TAKES_NOTHING: Final = ("kill", "stop", "stand_still", "starve", "lose", "cut", "partition", "late", "outage")
"""Faults after which the store has all that it acknowledged."""
FAIL_OVER: Final = "fail_over"
LOSES: Final = ("flush", FAIL_OVER)
"""Faults after which it may have not."""


class Faults:
    """The faults of one run.

    Args:
        carrier: of the calls.
        proxies: before the store, those of each process.
        store: what has the slots.
        replace: returns the order of a process that stands in for a killed one, with a proxy of its own.
        random: chooses.
        beat_seconds: between two heartbeats of a process.
    """

    def __init__(
        self,
        carrier: Carrier,
        proxies: dict[str, Proxies],
        store: Store,
        replace: Callable[[], Awaitable[Order]],
        random: Random,
        beat_seconds: float,
    ) -> None:
        self._carrier = carrier
        self._proxies = proxies
        self._store = store
        self._replace = replace
        self._random = random
        self._beat_seconds = beat_seconds

    async def happen(self, names: Sequence[str]) -> None:
        """Let these faults happen one after the other, with all well between them."""
        for name in names:
            await asyncio.sleep(self._beat_seconds * (0.5 + self._random.random()))
            await getattr(self, name)()

    def _one(self) -> LightProcess:
        return self._random.choice(self._carrier.awake)

    def _some(self) -> list[Proxies]:
        """Return the proxies of all processes, or of one."""
        everyone = [self._proxies[process.name] for process in self._carrier.living]
        return everyone if self._random.random() < 0.5 else [self._random.choice(everyone)]

    async def kill(self) -> None:
        """End a process; later another takes its calls over, and a new one takes its place."""
        victim = self._one()
        self._carrier.kill(victim)
        await asyncio.sleep(self._beat_seconds * self._random.random())
        self._carrier.move_calls(victim)
        await self._carrier.start([await self._replace()])

    async def stop(self) -> None:
        """Have a process stand still for less time than gets it fenced."""
        victim = self._one()
        self._carrier.stop(victim)
        await asyncio.sleep(self._beat_seconds * (0.5 + self._random.random()))
        self._carrier.go_on(victim)

    async def stand_still(self) -> None:
        """Have a process stand still until it is fenced; mostly another has taken its calls over by then."""
        victim = self._one()
        self._carrier.stop(victim)
        await asyncio.sleep(4 * self._beat_seconds)
        if self._random.random() < 0.7:
            self._carrier.move_calls(victim)
            await asyncio.sleep(self._beat_seconds * self._random.random())
        self._carrier.go_on(victim)

    async def starve(self) -> None:
        """Have all processes run a little at a time, as on a machine that is far too busy."""
        self._fault("starve")
        over = self._carrier.now() + 2 * self._beat_seconds
        while self._carrier.now() < over:
            some = [process for process in self._carrier.awake if self._random.random() < 0.7]
            for process in some:
                process.signal(signal.SIGSTOP)
            await asyncio.sleep(0.03 + 0.05 * self._random.random())
            for process in some:
                process.signal(signal.SIGCONT)
            await asyncio.sleep(0.005)

    async def lose(self) -> None:
        """Lose the replies to one request in three, after they were carried out."""
        some = self._some()
        self._fault("lose")
        for proxy in some:
            proxy.lose(lambda _request: self._random.random() < 0.3)
        await asyncio.sleep(2 * self._beat_seconds)
        for proxy in some:
            proxy.lose(nothing)

    async def cut(self) -> None:
        """Cut one process off from a store that all others reach."""
        proxy = self._proxies[self._one().name]
        self._fault("cut")
        proxy.down = True
        await asyncio.sleep(2 * self._beat_seconds)
        proxy.down = False

    async def partition(self) -> None:
        """Cut some off until they are fenced, from a store that the others reach and fill."""
        living = [process.name for process in self._carrier.living]
        self._fault("partition")
        some = [self._proxies[name] for name in self._random.sample(living, self._random.randint(1, len(living) - 1))]
        for proxy in some:
            proxy.down = True
        await asyncio.sleep(5 * self._beat_seconds)
        for proxy in some:
            proxy.down = False

    async def late(self) -> None:
        """Have answers come later than a call may wait."""
        some = self._some()
        self._fault("late")
        for proxy in some:
            proxy.delay(0.06 + 0.1 * self._random.random())
        await asyncio.sleep(2 * self._beat_seconds)
        for proxy in some:
            proxy.delay(0.0)

    async def outage(self) -> None:
        """Take the store from everybody."""
        self._fault("outage")
        for proxy in self._proxies.values():
            proxy.down = True
        await asyncio.sleep(3 * self._beat_seconds)
        for proxy in self._proxies.values():
            proxy.down = False

    async def flush(self) -> None:
        """Empty the store."""
        self._carrier.note(Kind.LOSS, by="flush")
        await self._store.flush()
        self._carrier.note(Kind.LOSS)

    async def fail_over(self) -> None:
        """Have another server take the slots, which has missed the last of what was acknowledged."""
        by = "fail_over"

        def lost() -> None:
            nonlocal by
            self._carrier.note(Kind.LOSS, by=by)
            by = ""

        await self._store.fail_over(lost)

    def _fault(self, name: str) -> None:
        self._carrier.note(Kind.FAULT, by=name)
