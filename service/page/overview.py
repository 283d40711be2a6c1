"""The first page as JSON: the page and ``callscope watch`` show just this."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response

from service.api.live import EXAMPLE as LIVE_EXAMPLE
from service.api.live import UNKNOWN, TenantCheck
from service.api.scope import NUMBERS_HEADERS
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.parameters import TenantFilter
from service.http.problems import ProblemError
from service.http.responses import admin_router
from service.http.security import AdminCheck
from service.page.facts import Overview, PageFacts
from service.tenants.directory import TenantDirectory

PATH: Final = "/api/v1/overview"

EXAMPLE: Final[dict[str, Any]] = {
    "as_of": "2026-11-22T20:00:00Z",
    "since": "2026-11-22T08:00:00Z",
    "scope": "process",
    "tenant_id": None,
    "strip": {
        "running": 12,
        "in_use": 14,
        "limit": 100,
        "calls_per_minute": 21.4,
        "failed_share": 0.003,
        "turn_p95_seconds": 0.82,
        "processes": {"answering": 1, "known": 1},
        "age_seconds": 0.0,
    },
    "live": LIVE_EXAMPLE,
    "verdicts": [
        {
            "name": "capacity",
            "state": "well",
            "text": "14 of 100 slots are in use; at most 20 in the last hour.",
            "link": "/#limit",
        }
    ],
    "running": [
        {"call_id": "rtc_1", "tenant_id": "acme", "state": "started", "age_seconds": 12.3, "last_seen_seconds": 0.8}
    ],
    "running_count": 12,
    "attention": [
        {
            "call_id": "rtc_2",
            "tenant_id": "acme",
            "received_at": "2026-11-22T19:40:11Z",
            "running": False,
            "score": 5,
            "reasons": ["failed (SessionLost)", "somebody waited 6.2 s"],
        }
    ],
}
"""For the OpenAPI document."""
_OVERVIEW: Responses = {
    200: success(Overview, "What an operator looks at first.", EXAMPLE, NUMBERS_HEADERS),
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN),
        "There is no such tenant: it is not configured, and no call of it is known.",
        f"{PATH}?tenant_id=nobody",
    ),
    422: declared_invalid(f"{PATH}?tenant_id=", "query.tenant_id", "String should match pattern"),
}


def overview_router(*, facts: PageFacts, tenants: TenantDirectory, admin: AdminCheck) -> APIRouter:
    """Return the route ``/api/v1/overview``; ``admin`` decides who may use it."""
    router = admin_router(Tag.METRICS, admin)
    known = TenantCheck(facts.parts.telemetry.live, tenants, facts.parts.scopes)

    @router.get(PATH, summary="The first page as data", operation_id="overview", responses=_OVERVIEW)
    async def overview(response: Response, tenant_id: TenantFilter = None) -> Overview:
        """Show what runs, what is well and what is not, and which calls need attention; at most a second old."""
        await known.demand(tenant_id)
        found = await facts.answered_overview(tenant_id)
        response.headers.update(found.extent.headers())
        return found.body

    return router
