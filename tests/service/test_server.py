"""The server changes what belongs to the process, and the library does not."""

import asyncio
import gc
import sys

import pytest
from fastapi import FastAPI

from service.server import SWITCH_SECONDS, YOUNG_OBJECTS, listen, server_for


@pytest.mark.parametrize(("before", "while_serving"), [(0.005, SWITCH_SECONDS), (SWITCH_SECONDS / 2,) * 2])
async def test_a_server_shortens_the_switch_interval_and_keeps_a_shorter_one(
    before: float, while_serving: float
) -> None:
    """An event loop with little to do must not wait five milliseconds for an export's encoding."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(before)
    server = server_for(FastAPI())
    try:
        with listen("127.0.0.1", 0) as listening:
            serving = asyncio.create_task(server.serve([listening]))
            await asyncio.sleep(0)
            seen = sys.getswitchinterval()
            server.should_exit = True
            await serving
    finally:
        sys.setswitchinterval(usual)
    assert seen == pytest.approx(while_serving)


async def test_a_server_sets_what_is_there_aside_until_it_ends() -> None:
    """Garbage is looked for among what calls make, seldom; afterwards the process collects as it did."""
    before, server = gc.get_threshold(), server_for(FastAPI())
    serving_now = asyncio.Event()
    server.when_serving = serving_now.set
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        await asyncio.wait_for(serving_now.wait(), 60)
        frozen, threshold = gc.get_freeze_count(), gc.get_threshold()
        server.should_exit = True
        await serving
    assert frozen > 0
    assert threshold == (YOUNG_OBJECTS, *before[1:])
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)


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
