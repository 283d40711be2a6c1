"""The server changes what belongs to the process, and the library does not."""

import asyncio
import sys

import pytest
from fastapi import FastAPI

from service.server import SWITCH_SECONDS, listen, server_for


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
