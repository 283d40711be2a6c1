"""The admin endpoints over real HTTP, every answer held to its schema."""

from collections.abc import Iterator

import httpx2
import pytest
from fastapi import FastAPI

from service.http.tokens import HEADER
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support.contract import Contract
from tests.support.server import TIMEOUT_SECONDS, TLS, serving


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway in which nothing has happened yet."""
    with TelemetryKit() as kit:
        yield Gateway(kit)


@pytest.fixture
def app(gateway: Gateway) -> FastAPI:
    """The gateway's app."""
    return gateway.app()


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """Where the app is served."""
    with serving(app) as base:
        yield base


@pytest.fixture
def contract(app: FastAPI) -> Contract:
    """What the app's document declares."""
    return Contract.of("gateway", app)


@pytest.fixture
def anyone(url: str, contract: Contract) -> Iterator[httpx2.Client]:
    """A client without a token; every answer it gets is held against the document."""
    with httpx2.Client(
        verify=TLS, base_url=url, event_hooks={"response": [contract.check]}, trust_env=False, timeout=TIMEOUT_SECONDS
    ) as client:
        yield client


@pytest.fixture
def admin(anyone: httpx2.Client) -> httpx2.Client:
    """The same client with a valid token."""
    anyone.headers[HEADER] = TOKEN
    return anyone
