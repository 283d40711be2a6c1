"""Places a plan's calls at their times, whatever becomes of the ones before."""

import asyncio
from collections.abc import AsyncIterator

from service.simulator.call import SimulatedCall
from service.simulator.plan import Plan
from service.simulator.simulator import Simulator

FAREWELL_SECONDS = 3.0
"""After everybody was made to hang up, a call that still waits for its gateway to answer is broken off."""


class Traffic:
    """One run of a plan on a simulator that is on the air."""

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
            asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._break_off)

    async def _place(self, call: SimulatedCall) -> None:
        """A call whose turn came and whose task had not begun when the traffic was stopped is not placed."""
        if not self._stopping.is_set():
            self.placed += 1
            await self._simulator.place_call(call)

    def _break_off(self) -> None:
        for task in self._calls:
            task.cancel()

    async def _due(self) -> AsyncIterator[SimulatedCall]:
        loop = asyncio.get_running_loop()
        begun = due = loop.time()
        for place in self._plan.places():
            due += self._plan.gap(place)
            if self._plan.seconds is not None and due > begun + self._plan.seconds:
                return
            if await self._stopped_before(due):
                return
            yield self._plan.call(place, self._numbers)

    async def _stopped_before(self, due: float) -> bool:
        try:
            async with asyncio.timeout_at(due):
                await self._stopping.wait()
        except TimeoutError:
            return self._stopping.is_set()
        return True
