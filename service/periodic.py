"""Work that is done again and again beside everything else, for as long as the process runs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

Pass = Callable[[], Awaitable[bool | None]]
"""Does some of the work; a true answer says that there is more of it which could be done at once."""

NEVER: Final = None
"""The interval of a worker that only works on demand."""


class PeriodicWorker:
    """Makes a pass over its work at every interval and on demand, one at a time.

    Whoever waits for a pass shares it with all others that wait: that is what makes one commit serve many calls.

    Args:
        work: makes one pass.
        interval: seconds from the end of one pass to the next; :data:`NEVER` for passes on demand alone.
        failed: takes what a pass raised; the next one is made all the same.
        name: the task's, for whoever looks at the tasks of a process.
    """

    def __init__(
        self,
        work: Pass,
        *,
        interval: float | None,
        failed: Callable[[Exception], object],
        name: str = "callscope-worker",
    ) -> None:
        self._work = work
        self._interval = interval
        self._failed = failed
        self._name = name
        self._demand = asyncio.Event()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """True from :meth:`start` to :meth:`stop`."""
        return self._task is not None

    def start(self) -> None:
        """Begin to work; does nothing if that has begun. Needs the running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=self._name)

    async def stop(self) -> None:
        """End the work, in the middle of a pass if need be; does nothing if it has not begun."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """Work until cancelled, also by a cancellation that the work mistook for a failure of its own."""
        task = asyncio.current_task()
        while task is None or not task.cancelling():
            await self._due()
            self._demand.clear()
            while await self._pass() and not (task and task.cancelling()):
                pass

    def wake(self) -> None:
        """Have a pass made now, or another one after the present."""
        self._demand.set()

    async def passed(self) -> None:
        """Demand a pass and wait until one is over; it may have begun before."""
        over = self._over
        self._demand.set()
        await over.wait()

    async def _due(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await self._demand.wait()

    async def _pass(self) -> bool:
        try:
            return bool(await self._work())
        except Exception as error:  # noqa: BLE001 -- one pass that fails must not be the last
            self._failed(error)
            return False
        finally:
            self._over.set()
            self._over = asyncio.Event()
