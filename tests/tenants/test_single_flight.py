"""Shared work and bounded memory, the parts a cache is made of."""

import asyncio

import pytest

from service.tenants.lru import Lru
from service.tenants.single_flight import SingleFlight


async def test_an_error_is_shared_like_a_result() -> None:
    """Everybody who waits for work that fails hears its error, and the next caller starts anew."""
    flights: SingleFlight[str, int] = SingleFlight()
    runs = 0

    async def fail() -> int:
        nonlocal runs
        runs += 1
        raise LookupError("no")

    results = await asyncio.gather(*(flights.run("k", fail) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 5
    with pytest.raises(LookupError):
        await flights.run("k", fail)
    assert runs == 2


async def test_different_keys_do_not_wait_for_each_other() -> None:
    """Work for one key goes on while another's is stuck."""
    flights: SingleFlight[str, str] = SingleFlight()
    stuck = asyncio.Event()

    async def slow() -> str:
        await stuck.wait()
        return "slow"

    async def quick() -> str:
        return "quick"

    waiting = asyncio.create_task(flights.run("a", slow))
    assert await flights.run("b", quick) == "quick"
    stuck.set()
    assert await waiting == "slow"


async def test_nothing_is_kept_of_work_that_ended() -> None:
    """Finished, failed and deserted work leaves no entry behind, and no complaint of an error nobody fetched."""
    flights: SingleFlight[int, None] = SingleFlight()
    stuck = asyncio.Event()

    async def fail() -> None:
        await stuck.wait()
        raise LookupError

    deserted = [asyncio.create_task(flights.run(n, fail)) for n in range(3)]
    await asyncio.sleep(0)
    assert len(flights) == 3
    for caller in deserted:
        caller.cancel()
    await asyncio.gather(*deserted, return_exceptions=True)
    stuck.set()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
    assert len(flights) == 0


def test_the_least_recently_used_entry_goes() -> None:
    """Reading and writing both count as use; what was used longest ago makes room, and is counted."""
    memory: Lru[str, int] = Lru(2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.get("a") == 1
    memory.put("c", 3)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (1, None, 3)
    memory.put("a", 4)
    memory.put("d", 5)
    assert (memory.get("a"), memory.get("c"), len(memory), memory.evictions) == (4, None, 2, 2)


def test_forgetting_is_no_eviction() -> None:
    """An entry that is discarded is not counted, and discarding what is not there is nothing."""
    memory: Lru[str, int] = Lru(2)
    memory.put("a", 1)
    memory.discard("a")
    memory.discard("b")
    assert (memory.get("a"), len(memory), memory.evictions) == (None, 0, 0)


@pytest.mark.parametrize("size", [0, -1])
def test_a_memory_needs_room(size: int) -> None:
    """A size that could hold nothing is refused."""
    with pytest.raises(ValueError, match="size must be at least 1"):
        Lru(size)
