"""The tenants' endpoints over real HTTP on real databases, every answer held to its schema."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from fastapi import FastAPI

from service.http.tokens import HEADER
from tests.service.api.tenants.harness import TOKEN, TenantsHarness
from tests.support.contract import Contract
from tests.support.databases import migrated_content
from tests.support.server import TLS, serving

TIMEOUT_SECONDS = 60.0
"""How long an answer may take on a busy machine."""


@pytest.fixture
def harness(database_url: str) -> TenantsHarness:
    """The routers on connections of their own, and what was announced of changes."""
    return TenantsHarness(database_url)


@pytest.fixture
def app(harness: TenantsHarness) -> FastAPI:
    """The harness's app."""
    return harness.app


@pytest.fixture
def admin(app: FastAPI) -> Iterator[httpx2.Client]:
    """A client with a token; every answer it gets is held against the document."""
    with admin_of(app) as client:
        yield client


@pytest.fixture(scope="module")
def module_admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """The same, of an app with a database that all tests of a module share."""
    file = tmp_path_factory.mktemp("tenants") / "callscope.db"
    file.write_bytes(migrated_content())
    with admin_of(TenantsHarness(f"sqlite+aiosqlite:///{file}").app) as client:
        yield client


@contextmanager
def admin_of(app: FastAPI) -> Iterator[httpx2.Client]:
    """A client with a token of an app that is served."""
    contract = Contract.of("tenants", app)
    with (
        serving(app) as base,
        httpx2.Client(
            verify=TLS,
            base_url=base,
            event_hooks={"response": [contract.check]},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        ) as client,
    ):
        client.headers[HEADER] = TOKEN
        yield client


@pytest.fixture
def two_admins(database_url: str) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """Clients of two servers over one database."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                httpx2.Client(
                    verify=TLS,
                    base_url=stack.enter_context(serving(TenantsHarness(database_url).app)),
                    headers={HEADER: TOKEN},
                    timeout=TIMEOUT_SECONDS,
                    trust_env=False,
                )
            )
            for _ in range(2)
        ]
        for client in clients:
            # The framework completes its routes at the first request that passes them, and changes the warning filters
            # of the whole process meanwhile: not to be done by two servers of one process at the same time.
            assert client.get("/nowhere").status_code == 404
        yield clients[0], clients[1]
