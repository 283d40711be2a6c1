"""The service with its page, on a real port, and people who are signed in."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.peers.binaries import require
from tests.service.gateway.harness import GatewayHarness, running_harness
from tests.service.page.browsing import TOKENS, SignedIn, signed_in


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[GatewayHarness]:
    """A service with two tenants and a token of each kind."""
    async with running_harness(tmp_path, tenants=2, admin_token=",".join(TOKENS.values())) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayHarness]:
    """The same for all tests of a module that change nothing another one sees."""
    folder = tmp_path_factory.mktemp("page")
    async with running_harness(folder, tenants=2, admin_token=",".join(TOKENS.values())) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def reader(module_harness: GatewayHarness) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who signed in there with the token for everything."""
    async with signed_in(module_harness, "all") as client:
        yield client


@pytest.fixture
async def person(harness: GatewayHarness) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who signed in with the token for everything."""
    async with signed_in(harness, "all") as client:
        yield client


@pytest.fixture
def visit(harness: GatewayHarness) -> SignedIn:
    """Signs somebody in with a token of a kind."""

    @asynccontextmanager
    async def sign_in(role: str) -> AsyncIterator[httpx2.AsyncClient]:
        async with signed_in(harness, role) as client:
            yield client

    return sign_in


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The browser."""
    chromium = require("chromium")
    async with async_playwright() as playwright:
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = await playwright.chromium.launch(executable_path=str(chromium), args=args)
        yield running
        await running.close()
