"""A caller that detaches from a database waits neither for its answer nor for its clean-up."""

import asyncio
import time

import pytest

from service.storage import database
from service.storage.database import detach_on_timeout


async def test_an_answer_in_time_is_the_answer() -> None:
    """What the work answers, or raises, is what its caller gets."""

    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise OSError("gone")

    assert await detach_on_timeout(60, answer()) == 7
    with pytest.raises(OSError, match="gone"):
        await detach_on_timeout(60, fail())


async def test_a_pause_of_the_process_itself_is_no_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that stands still for longer than the work may take still finds its answer, some steps later."""

    async def answer() -> int:
        for _ in range(20):
            await asyncio.sleep(0)
        return 7

    monkeypatch.setattr(database, "TIMEOUT_STEP_SECONDS", 0.01)
    seconds = 0.5
    asyncio.get_running_loop().call_soon(time.sleep, 2 * seconds)
    assert await detach_on_timeout(seconds, answer()) == 7


@pytest.mark.parametrize("by", ["time", "cancellation"])
async def test_a_clean_up_that_hangs_holds_nobody_up(by: str) -> None:
    """Work that answers its cancellation with another endless wait is left behind, and ends by itself."""
    cleaned, released = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()
            cleaned.set()

    waiting = asyncio.create_task(detach_on_timeout(0.01 if by == "time" else 600, hang()))
    if by == "cancellation":
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(TimeoutError if by == "time" else asyncio.CancelledError):
        await waiting
    assert not cleaned.is_set()
    released.set()
    await cleaned.wait()
