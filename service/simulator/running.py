"""Runs a plan from going on the air to the last caller's end, telling how far it is."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator

from service.simulator.plan import Plan
from service.simulator.rendering import progress_line
from service.simulator.simulator import Simulator
from service.simulator.traffic import Traffic

PROGRESS_SECONDS = 2.0
"""How often a line tells how far the traffic is."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Either makes every caller hang up and the run end in good order."""


async def run(
    carrier: Simulator, plan: Plan, *, tell: Callable[[str], None], progress_seconds: float = PROGRESS_SECONDS
) -> None:
    """One whole run in the foreground; raises :class:`OSError` when the carrier cannot listen."""
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
