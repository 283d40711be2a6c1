"""Places a plan's calls at their times, whatever becomes of the ones before."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator

from service.simulator.call import SimulatedCall
from service.simulator.plan import Plan
from service.simulator.rendering import progress_line
from service.simulator.simulator import Simulator

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
        tell(f"the carrier serves {carrier.base_url} and calls {carrier.target}")
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
