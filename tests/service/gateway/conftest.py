"""A service that the tests of a module share."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.service.gateway.harness import GatewayHarness, running_harness


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayHarness]:
    """A service and a carrier."""
    async with running_harness(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def shared(module_harness: GatewayHarness) -> GatewayHarness:
    """The same, for one test of the module that changes nothing another one sees: it finds nothing counted yet."""
    await module_harness.count_anew()
    return module_harness
