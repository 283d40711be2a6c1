"""An app of the tenants' endpoints alone, and what the tests of it do over and over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import FastAPI

from service.api.tenants.routes import tenants_router
from service.http.errors import use_problem_details
from service.http.openapi import OPENAPI_TAGS
from service.http.security import AdminAttempts, require_admin
from service.http.tokens import AdminTokens
from service.storage.database import Database
from service.tenants.sql import SqlTenantRepository

TOKEN = "correct horse"
OTHER_TOKEN = "battery staple"
TENANTS = "/api/v1/tenants"
AUDIT = "/api/v1/audit"
ACME = f"{TENANTS}/acme"
FIRST, SECOND, THIRD = "+18005550100", "+18005550101", "+4930123456"

ENTRY: dict[str, Any] = {
    "tenant_id": "acme",
    "name": "Acme",
    "numbers": [FIRST],
    "max_concurrent_calls": 10,
    "instructions": "You are Ada.",
    "enabled": True,
    "transfer_targets": {"sales": "tel:+14155550123"},
    "features": {"capture_content": True},
}
"""A tenant with everything."""

BARE: dict[str, Any] = {
    "name": "beta",
    "numbers": [],
    "max_concurrent_calls": None,
    "instructions": None,
    "enabled": True,
    "transfer_targets": {},
    "features": {},
}
"""What a tenant has of which nothing is stated but the id ``beta``."""


class TenantsHarness:
    """The app under test; ``told`` counts the changes it announced to its process."""

    def __init__(self, database_url: str, token: str = TOKEN) -> None:
        self.database = Database.from_url(database_url)
        self.told = 0
        self.app = FastAPI(title="Under test", openapi_tags=OPENAPI_TAGS, lifespan=self._lifespan)
        use_problem_details(self.app)
        admin = require_admin(AdminTokens([token, OTHER_TOKEN]), AdminAttempts())
        self.app.include_router(
            tenants_router(tenants=SqlTenantRepository(self.database), changed=self._changed, admin=admin)
        )

    async def _changed(self) -> None:
        self.told += 1

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        yield
        await self.database.dispose()


def put(client: httpx2.Client, path: str = ACME, body: object = ENTRY, **headers: str) -> httpx2.Response:
    """Put a body; header names are written with ``_``."""
    return client.put(path, json=body, headers=_named(headers))


def patch(client: httpx2.Client, path: str = ACME, body: object = None, **headers: str) -> httpx2.Response:
    """Patch with a body."""
    return client.patch(path, json=body, headers=_named(headers))


def created(client: httpx2.Client, path: str = ACME, body: object = ENTRY) -> str:
    """Create a tenant; answers its tag."""
    response = put(client, path, body, if_none_match="*")
    assert response.status_code == 201, response.text
    return str(response.headers["etag"])


def problems(response: httpx2.Response, status: int = 422) -> list[tuple[str, str]]:
    """The fields a problem names, with what is wrong there."""
    assert (response.status_code, response.json()["status"]) == (status, status), response.text
    return [(error["field"], error["detail"]) for error in response.json()["errors"]]


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
