"""Waiting for a database that may answer nothing at all, and not for its goodbye either."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_given_up: Final[set[asyncio.Task[Any]]] = set()
# The event loop alone would let go of them; each ends by the driver's own time limit, and leaves then.


async def give_up_after(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work within so many seconds; ``TimeoutError`` after that, however long its clean-up takes.

    A transaction that is cancelled rolls back first, and a server that hangs lets it wait for that too: who only wants
    to know whether there is an answer cannot stay so long.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _leave(task)
        raise
    if not done:
        _leave(task)
        raise TimeoutError
    return task.result()


def _leave(task: asyncio.Task[Any]) -> None:
    _given_up.add(task)
    task.add_done_callback(_ended)
    task.cancel()


def _ended(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()  # marks it as seen: nobody asks any more
