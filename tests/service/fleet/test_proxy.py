"""The proxy of docker-compose.yml, a real HAProxy, in front of two real services."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.peers.binaries import ROOT, require
from tests.peers.network import HOST, answers, free_port
from tests.peers.program import Program
from tests.service.fleet.pair import Pair, pair
from tests.service.gateway.harness import TOKEN, GatewayHarness
from tests.service.page.browsing import SAME

pytestmark = pytest.mark.peers

SHIPPED = (ROOT / "examples" / "compose" / "haproxy.cfg").read_text()
BY_NAME = 'server-template process 1-8 "${CALLSCOPE_NAME}":8000 resolvers names'


def settings_for(*harnesses: GatewayHarness, port: int) -> str:
    """The shipped settings, with these services in the place of those that Compose's names stand for."""
    servers = [
        f"server process{number} {HOST}:{harness.client.base_url.port}" for number, harness in enumerate(harnesses, 1)
    ]
    assert SHIPPED.count(BY_NAME) == 1
    return SHIPPED.replace(BY_NAME, "\n  ".join(servers)).replace("bind :8000", f"bind {HOST}:{port}")


@pytest.fixture
async def both(tmp_path: Path, store_url: str) -> AsyncIterator[Pair]:
    async with pair(tmp_path, store_url) as opened:
        yield opened


@pytest.fixture
async def address(both: Pair, tmp_path: Path) -> AsyncIterator[str]:
    """The proxy's address, once it has found a service."""
    port = free_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(settings_for(both.first, both.second, port=port))
    proxy, base = Program("haproxy", tmp_path), f"http://{HOST}:{port}"
    await asyncio.to_thread(proxy.start, [require("haproxy"), "-f", file], lambda: answers(f"{base}/readyz"))
    yield base
    await asyncio.to_thread(proxy.stop)


async def answering(client: httpx2.AsyncClient) -> set[str]:
    """The processes that answer twenty requests."""
    found = set()
    for _ in range(20):
        state = (await client.get("/api/v1/fleet")).raise_for_status().json()
        found |= {process["instance_id"] for process in state["processes"] if process["this_process"]}
    return found


async def test_requests_are_shared_by_whoever_is_ready(both: Pair, address: str) -> None:
    """Both answer; once one drains, before it stops, the other alone does, and no request fails meanwhile."""
    first, second = both.first.container.instance_id, both.second.container.instance_id
    async with httpx2.AsyncClient(base_url=address, headers={"X-Admin-Token": TOKEN}, timeout=60) as client:
        async with asyncio.timeout(120):
            # The proxy finds them one after the other.
            while await answering(client) != {first, second}:
                pass
            both.first.container.leaving.set()
            while await answering(client) != {second}:
                pass


async def test_a_sign_in_holds_whichever_process_answers(address: str) -> None:
    """Every page after a sign-in is shown, though the proxy takes now the one process and now the other."""
    async with httpx2.AsyncClient(base_url=address, headers=SAME, timeout=60) as browser:
        assert (await browser.post("/sign-in", data={"token": TOKEN})).status_code == 303
        assert [(await browser.get("/")).status_code for _ in range(10)] == [200] * 10
