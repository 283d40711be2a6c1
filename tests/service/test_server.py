"""The server changes what belongs to the process, and the library does not."""

import asyncio
import gc
import sys

import httpx2
import pytest
from fastapi import FastAPI

from service.server import SWITCH_SECONDS, YOUNG_OBJECTS, address_of, listen, server_for
from tests.support.server import TIMEOUT_SECONDS

Interpreter = tuple[float, tuple[int, int, int], bool]
"""Switch interval in seconds, thresholds of the garbage collector, and whether anything is set aside from it."""


def interpreter() -> Interpreter:
    """Return what a server may change of the interpreter."""
    return sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count() > 0


async def while_serving(*, has_process: bool) -> Interpreter:
    """Return the interpreter as it is while a server serves."""
    server, serving_now = server_for(FastAPI()), asyncio.Event()
    server.has_process, server.when_serving = has_process, serving_now.set
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        await asyncio.wait_for(serving_now.wait(), 60)
        seen = interpreter()
        server.should_exit = True
        await serving
    return seen


@pytest.mark.parametrize(("before", "shortened"), [(0.005, SWITCH_SECONDS), (SWITCH_SECONDS / 2,) * 2])
async def test_a_server_with_a_process_of_its_own_changes_the_interpreter_until_it_ends(
    before: float, shortened: float
) -> None:
    """Threads switch often, never less than before, and garbage is looked for seldom, among what calls make."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(before)
    try:
        unchanged = interpreter()
        interval, thresholds, frozen = await while_serving(has_process=True)
        assert interval == pytest.approx(shortened)
        assert thresholds == (YOUNG_OBJECTS, *unchanged[1][1:])
        assert frozen
        assert interpreter() == unchanged
    finally:
        sys.setswitchinterval(usual)


async def test_a_server_beside_something_else_leaves_the_interpreter_alone() -> None:
    """The process is not its own: a test's, or another application's."""
    assert await while_serving(has_process=False) == interpreter()


async def test_what_a_server_logs_carries_our_name(caplog: pytest.LogCaptureFixture) -> None:
    """The lines of a start and a stop among them, of which the library calls the logger an error's."""
    server = server_for(FastAPI())
    with caplog.at_level("INFO"), listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.001)
        server.should_exit = True
        await serving
    assert "Shutting down" in caplog.messages
    assert {record.name for record in caplog.records if record.name != "asyncio"} == {"service.server"}


async def test_a_server_that_is_told_to_stop_serves_on_for_its_time() -> None:
    """It says once that it was told, answers requests until the time is over, and then ends by itself."""
    told: list[str] = []
    app = FastAPI()
    app.get("/")(lambda: "served")
    server = server_for(app)
    server.drain_seconds, server.when_told = 0.2, lambda: told.append("told")
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.001)
        server.stop_soon()
        server.stop_soon()
        assert not server.should_exit
        async with httpx2.AsyncClient(base_url=address_of(listening), timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/")).json() == "served"
        await asyncio.wait_for(serving, 60)
    assert (told, server.should_exit) == (["told"], True)
