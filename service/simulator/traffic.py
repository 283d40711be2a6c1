"""Simulated traffic: a plan from which every call follows, and the placing of its calls at their times."""

import asyncio
import contextlib
import hashlib
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from service.simulator.call import ONCE, Delivery, SimulatedCall, dial
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.ground_truth import progress_line
from service.simulator.script_writer import USUAL, Shares, add_trouble, write_script
from service.simulator.simulator import Simulator
from service.simulator.tenants import unassigned_number

_REPEATED_DELIVERIES = (
    Delivery(repeats=1),
    Delivery(repeats=2),
    Delivery(repeats_after_end=1),
    Delivery(under_new_ids=1),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of traffic. Two runs of one plan differ in their ids only."""

    run_id: str
    """Tells this run's call ids from those of any other run against the same gateway."""
    seed: int = 1
    calls_per_second: float = 5.0
    """Calls begin at this rate on average, however long others take (an open loop with random gaps)."""
    calls: int | None = None
    """The run ends after so many calls; without it and ``seconds`` it ends when it is stopped."""
    seconds: float | None = None
    """The run begins no call after so many real seconds."""
    max_running: int = 2_000
    """A call that would be one more at a time is not placed."""
    shares: Shares = USUAL
    faults: tuple[tuple[float, CallFaults], ...] = ()
    """Shares of calls with what goes wrong in them."""

    def __post_init__(self) -> None:
        if self.calls_per_second <= 0:
            raise ValueError(f"calls per second must be more than 0, got {self.calls_per_second}")
        if self.max_running < 1:
            raise ValueError(f"calls at a time must be at least 1, got {self.max_running}")
        if sum(share for share, _ in self.faults) > 1:
            raise ValueError("shares of faulty calls together must not exceed 1")

    def indices(self) -> Iterable[int]:
        """Return the places of the plan's calls, from 0."""
        return count() if self.calls is None else range(self.calls)

    def gap(self, index: int) -> float:
        """Return the seconds between the beginnings of the call before and this one."""
        return self._rng("gap", index).expovariate(self.calls_per_second)

    def call(self, index: int, numbers: Sequence[str]) -> SimulatedCall:
        """Return one call of the plan to one of the numbers, or to nobody's."""
        rng = self._rng("call", index)
        unknown = not numbers or rng.random() < self.shares.unknown
        number = unassigned_number(rng) if unknown else rng.choice(numbers)
        script = write_script(self.shares, rng)
        script, faults = add_trouble(script, self._faults(rng), self.shares, self._rng("trouble", index))
        return dial(
            number,
            script,
            rng=rng,
            call_id=self._call_id(index),
            faults=faults,
            delivery=self._delivery(rng),
        )

    def _call_id(self, index: int) -> str:
        return "rtc_u1_" + hashlib.sha256(f"{self.run_id}/{self.seed}/{index}".encode()).hexdigest()[:32]

    def _faults(self, rng: Random) -> CallFaults:
        drawn = rng.random()
        for share, faults in self.faults:
            drawn -= share
            if drawn < 0:
                return faults
        return NO_FAULTS

    def _delivery(self, rng: Random) -> Delivery:
        late, repeated, repeats = rng.random(), rng.random(), rng.choice(_REPEATED_DELIVERIES)
        if late < self.shares.late:
            return Delivery(late=True)
        return repeats if repeated < self.shares.duplicates else ONCE

    def _rng(self, purpose: str, index: int) -> Random:
        return Random(f"{self.seed}/{purpose}/{index}")  # noqa: S311 - reproducible traffic, not secrets


PROGRESS_SECONDS = 2.0
"""Seconds between lines that tell how far the traffic is."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Either makes every caller hang up and the run end in good order."""
HANG_UP_SECONDS = 3.0
"""Seconds after every caller hung up, at which a call that still waits for its gateway to answer is broken off."""


class Traffic:
    """One run of a plan on a simulator that runs."""

    def __init__(self, simulator: Simulator, plan: Plan) -> None:
        self._simulator, self._plan = simulator, plan
        self._numbers = tuple(simulator.numbers)
        self._stopping = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self.placed = 0
        self.shed = 0
        """Calls not placed because too many were running."""

    async def run(self) -> None:
        """Place the calls; returns when the last of them is over."""
        async with asyncio.TaskGroup() as group:
            async for call in self._due():
                if len(self._calls) >= self._plan.max_running:
                    self.shed += 1
                    continue
                task = group.create_task(self._place(call))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)

    def stop(self, *, hang_up: bool = False) -> None:
        """Begin no further call; those running finish, or their callers hang up now."""
        self._stopping.set()
        if hang_up:
            self._simulator.hang_up_all()
            asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._break_off)

    async def _place(self, call: SimulatedCall) -> None:
        """Place a call, unless the traffic was stopped between its turn and the start of its task."""
        if not self._stopping.is_set():
            self.placed += 1
            await self._simulator.place_call(call)

    def _break_off(self) -> None:
        for task in self._calls:
            task.cancel()

    async def _due(self) -> AsyncIterator[SimulatedCall]:
        loop = asyncio.get_running_loop()
        begun = due = loop.time()
        for index in self._plan.indices():
            due += self._plan.gap(index)
            if self._plan.seconds is not None and due > begun + self._plan.seconds:
                return
            if await self._stopped_before(due):
                return
            yield self._plan.call(index, self._numbers)

    async def _stopped_before(self, due: float) -> bool:
        try:
            async with asyncio.timeout_at(due):
                await self._stopping.wait()
        except TimeoutError:
            return self._stopping.is_set()
        return True


async def run(
    carrier: Simulator, plan: Plan, *, tell: Callable[[str], None], progress_seconds: float = PROGRESS_SECONDS
) -> None:
    """Run a plan in the foreground; raises :class:`OSError` when the carrier cannot listen."""
    traffic = Traffic(carrier, plan)
    async with carrier:
        tell(f"the carrier serves {carrier.base_url} and calls {', '.join(carrier.targets)}")
        with _stopped_by_signals(traffic):
            async with _progress(carrier, tell, progress_seconds):
                await traffic.run()
    if traffic.shed:
        tell(f"{traffic.shed} calls not placed: {plan.max_running} were running")


@contextlib.contextmanager
def _stopped_by_signals(traffic: Traffic) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, lambda: traffic.stop(hang_up=True))
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _progress(carrier: Simulator, tell: Callable[[str], None], every: float) -> AsyncIterator[None]:
    telling = asyncio.create_task(_tell(carrier, tell, every))
    try:
        yield
    finally:
        telling.cancel()


async def _tell(carrier: Simulator, tell: Callable[[str], None], every: float) -> None:
    while True:
        await asyncio.sleep(every)
        tell(progress_line(carrier.counts()))
