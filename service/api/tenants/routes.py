"""Tenants over HTTP: who may be called, read and changed while calls run."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.api import tags
from service.api.admin import admin_router
from service.api.tenants.answers import NOT_MODIFIED, shown, shown_tenant, tenant_answer, versioned
from service.api.tenants.audit import tenants_audit_router
from service.api.tenants.body import declared_body, stated_tenant
from service.api.tenants.changes import Changed, TenantChanges
from service.api.tenants.conditions import list_tag
from service.api.tenants.features import tenants_features_router
from service.api.tenants.instructions import tenants_instructions_router
from service.api.tenants.numbers import tenants_numbers_router
from service.api.tenants.parameters import (
    DEFAULT_LIMIT,
    Actor,
    Body,
    Demands,
    Knowing,
    Limit,
    TenantCursor,
    TenantInPath,
)
from service.api.tenants.problems import CHANGED, FOUND, NUMBER_TAKEN, PATH, WITH_BODY, tenant_problems
from service.api.tenants.shapes import ENTRY, LIST, TenantEntry, TenantList, TenantOverview, TenantStatement
from service.problems import declared_invalid
from service.security import AdminCheck
from service.tenants.repository import TenantRepository
from service.tenants.tenant import Sought, Tenant

_Text = Annotated[
    str,
    Query(
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Part of the id or of the name, in any case, or digits of a number.",
        examples=["acme"],
    ),
]
_Enabled = Annotated[bool | None, Query(description="Only tenants that let calls in, or only those that do not.")]

_LISTED = {
    **shown(TenantList, "Some tenants.", LIST),
    **NOT_MODIFIED,
    422: declared_invalid(f"{PATH}?limit=0", "query.limit", "Input should be greater than or equal to 1"),
}
_SHOWN = {**shown_tenant(TenantEntry, "The tenant.", ENTRY), **NOT_MODIFIED, **FOUND}
_PUT = {
    **shown_tenant(TenantEntry, "The tenant as it is now, changed or as stated before.", ENTRY),
    **shown_tenant(TenantEntry, "The tenant is new.", ENTRY, created=True),
    **WITH_BODY,
    **NUMBER_TAKEN,
}
_PATCHED = {**shown_tenant(TenantEntry, "The tenant as it is now.", ENTRY), **WITH_BODY, **NUMBER_TAKEN}
_DELETED = {204: {"description": "The tenant is gone."}, **CHANGED}

_STATED = declared_body(
    TenantStatement, {name: value for name, value in ENTRY.items() if name != "tenant_id"}, "The tenant, whole."
)
_STATED_IN_PART = declared_body(TenantStatement, {"max_concurrent_calls": 20}, "The fields to change.")


def tenants_router(*, tenants: TenantRepository, changed: Changed, admin: AdminCheck) -> APIRouter:
    """The routes under ``/api/v1/tenants`` and the audit; ``admin`` decides who may use them."""
    router = admin_router(tags.TENANTS, admin)
    changes = TenantChanges(tenants, changed)
    router.include_router(_listing(tenants))
    router.include_router(_whole(changes))
    router.include_router(tenants_numbers_router(changes))
    router.include_router(tenants_instructions_router(changes))
    router.include_router(tenants_features_router(changes))
    router.include_router(tenants_audit_router(tenants))
    return router


def _listing(tenants: TenantRepository) -> APIRouter:
    router = APIRouter()

    @router.get(PATH, summary="Find tenants", operation_id="tenants", responses=_LISTED)
    async def find_tenants(
        knowing: Knowing,
        limit: Limit = DEFAULT_LIMIT,
        cursor: TenantCursor = "",
        q: _Text = "",
        enabled: _Enabled = None,
    ) -> Response:
        """List tenants in the order of their ids; the text and the state narrow the list down."""
        with tenant_problems():
            # Before the list: a change in between makes the list newer than its tag, which the next request finds out.
            tag = list_tag(await tenants.revision())
            if knowing.known(tag):
                return versioned(None, tag, knowing)
            page = await tenants.find(Sought(q.strip(), enabled), after=cursor, limit=limit)
        shown_tenants = tuple(TenantOverview.model_validate(tenant, from_attributes=True) for tenant in page.tenants)
        content = TenantList(tenants=shown_tenants, next_cursor=page.next_after)
        return versioned(content.model_dump(mode="json"), tag)

    return router


def _whole(changes: TenantChanges) -> APIRouter:
    router = APIRouter(prefix=f"{PATH}/{{tenant_id}}")

    @router.get("", summary="A tenant", operation_id="tenant", responses=_SHOWN)
    async def show_tenant(tenant_id: TenantInPath, knowing: Knowing) -> Response:
        """Show a tenant, whole, in the shape that a PUT and `callscope tenants import` take."""
        return tenant_answer(await changes.found(tenant_id), knowing)

    @router.put(
        "", summary="Create or replace a tenant", operation_id="putTenant", responses=_PUT, openapi_extra=_STATED
    )
    async def put_tenant(tenant_id: TenantInPath, body: Body, demands: Demands, actor: Actor) -> Response:
        """Make the tenant what the body states. A field that is left out gets its default.

        An existing tenant is changed only with its version in `If-Match`; with `If-None-Match: *` it must not exist.
        Sent again, the request changes nothing.
        """
        spec = await stated_tenant(tenant_id, body)
        put = await changes.put(spec.whole(), demands, actor)
        return tenant_answer(put.tenant, created=put.created)

    @router.patch(
        "", summary="Change a tenant", operation_id="changeTenant", responses=_PATCHED, openapi_extra=_STATED_IN_PART
    )
    async def change_tenant(tenant_id: TenantInPath, body: Body, demands: Demands, actor: Actor) -> Response:
        """Change the fields that the body mentions, each as a whole; the others stay."""
        spec = await stated_tenant(tenant_id, body)

        async def change(before: Tenant) -> Tenant:
            return await changes.tenants.change(spec, actor=actor, expected_version=before.version)

        return tenant_answer(await changes.change(tenant_id, demands, change))

    @router.delete("", summary="Delete a tenant", operation_id="deleteTenant", status_code=204, responses=_DELETED)
    async def delete_tenant(tenant_id: TenantInPath, demands: Demands, actor: Actor) -> Response:
        """Remove a tenant with its numbers and instructions. Running calls go on; audit and usage stay."""
        await changes.delete(tenant_id, demands, actor)
        return Response(status_code=204)

    return router
