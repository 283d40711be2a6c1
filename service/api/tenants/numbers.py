"""A tenant's numbers over HTTP, one by one."""

from fastapi import APIRouter
from starlette.responses import Response

from service.api.tenants.answers import NOT_MODIFIED, shown, versioned
from service.api.tenants.changes import TenantChanges
from service.api.tenants.conditions import Conditions, tag_of
from service.api.tenants.parameters import Actor, Demands, Knowing, NumberInPath, TenantInPath
from service.api.tenants.problems import CHANGED, FOUND, NUMBER_TAKEN, PATH
from service.api.tenants.shapes import NUMBERS, NumberList
from service.tenants.tenant import Tenant

_LISTED = {**shown(NumberList, "The numbers that reach the tenant.", NUMBERS), **NOT_MODIFIED, **FOUND}
_GIVEN = {**shown(NumberList, "The numbers, this one among them.", NUMBERS), **CHANGED, **NUMBER_TAKEN}
_TAKEN_AWAY = {**shown(NumberList, "The numbers that are left.", {"numbers": []}), **CHANGED}


def tenants_numbers_router(changes: TenantChanges) -> APIRouter:
    """The routes under ``/api/v1/tenants/{tenant_id}/numbers``."""
    router = APIRouter(prefix=f"{PATH}/{{tenant_id}}/numbers")

    @router.get("", summary="A tenant's numbers", operation_id="tenantNumbers", responses=_LISTED)
    async def show_numbers(tenant_id: TenantInPath, knowing: Knowing) -> Response:
        """List the dialled numbers that reach the tenant."""
        return _answered(await changes.found(tenant_id), knowing)

    @router.put("/{number}", summary="Give a tenant a number", operation_id="addTenantNumber", responses=_GIVEN)
    async def add_number(tenant_id: TenantInPath, number: NumberInPath, demands: Demands, actor: Actor) -> Response:
        """Let a number reach the tenant; that of another tenant is refused with its owner's id."""

        async def add(before: Tenant) -> Tenant:
            return await changes.tenants.add_number(tenant_id, number, actor=actor, expected_version=before.version)

        return _answered(await changes.change(tenant_id, demands, add, numbers_at="path.number"))

    @router.delete(
        "/{number}", summary="Take a number from a tenant", operation_id="removeTenantNumber", responses=_TAKEN_AWAY
    )
    async def remove_number(tenant_id: TenantInPath, number: NumberInPath, demands: Demands, actor: Actor) -> Response:
        """Let a number reach nobody: its calls are rejected from now on, running ones go on."""

        async def remove(before: Tenant) -> Tenant:
            return await changes.tenants.remove_number(tenant_id, number, actor=actor, expected_version=before.version)

        return _answered(await changes.change(tenant_id, demands, remove))

    return router


def _answered(tenant: Tenant, knowing: Conditions | None = None) -> Response:
    return versioned({"numbers": list(tenant.numbers)}, tag_of(tenant.version), knowing)
