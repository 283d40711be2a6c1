"""Who changed which tenant, and when, over HTTP; also of tenants that are gone."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.api.tenants.answers import NOT_MODIFIED, shown, versioned
from service.api.tenants.conditions import Conditions, list_tag
from service.api.tenants.parameters import EntryCursor, Knowing, TenantInPath, cursor_of
from service.api.tenants.problems import FOUND, PATH, no_such_tenant, tenant_problems
from service.api.tenants.shapes import CHANGES, ChangeList
from service.problems import declared_invalid
from service.tenants.rendering import as_change
from service.tenants.repository import TenantRepository

AUDIT = "/api/v1/audit"
"""Where the changes of all tenants are."""

MAX_CHANGES = 100
"""Entries on a page: one may name every number of a tenant."""

_Limit = Annotated[int, Query(ge=1, le=MAX_CHANGES, description="Most entries on a page.")]

_OF_ALL = {
    **shown(ChangeList, "Some changes.", CHANGES),
    **NOT_MODIFIED,
    422: declared_invalid(f"{AUDIT}?limit=0", "query.limit", "Input should be greater than or equal to 1"),
}
_OF_ONE = {**shown(ChangeList, "Some changes.", CHANGES), **NOT_MODIFIED, **FOUND}


def tenants_audit_router(tenants: TenantRepository) -> APIRouter:
    """The routes ``/api/v1/audit`` and ``/api/v1/tenants/{tenant_id}/audit``."""
    router = APIRouter()

    async def page(tenant_id: str | None, cursor: int | None, limit: int, knowing: Conditions) -> Response:
        with tenant_problems():
            tag = list_tag(await tenants.revision())
            found = await tenants.audit(tenant_id, before=cursor, limit=limit)
            # Whoever was ever there left the entry of its creation.
            if tenant_id is not None and not found.entries and not (await tenants.audit(tenant_id, limit=1)).entries:
                raise no_such_tenant()
        content = {"changes": list(map(as_change, found.entries)), "next_cursor": cursor_of(found.next_before)}
        return versioned(content, tag, knowing)

    @router.get(AUDIT, summary="Changes of all tenants", operation_id="audit", responses=_OF_ALL)
    async def changes_of_all(knowing: Knowing, limit: _Limit = MAX_CHANGES, cursor: EntryCursor = None) -> Response:
        """List who changed what, and when, the latest first."""
        return await page(None, cursor, limit, knowing)

    @router.get(
        f"{PATH}/{{tenant_id}}/audit", summary="Changes of a tenant", operation_id="tenantAudit", responses=_OF_ONE
    )
    async def changes_of_one(
        tenant_id: TenantInPath, knowing: Knowing, limit: _Limit = MAX_CHANGES, cursor: EntryCursor = None
    ) -> Response:
        """List the same for one tenant; its changes stay when it is deleted."""
        return await page(tenant_id, cursor, limit, knowing)

    return router
