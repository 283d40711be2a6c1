"""Tenants over HTTP: who may be called, read and changed while calls run."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import TypeAdapter
from starlette.responses import Response

from service.api.tenants.changes import Changed, TenantChanges
from service.api.tenants.conditions import Conditions, list_tag, tag_of
from service.api.tenants.instructions import tenants_instructions_router
from service.api.tenants.problems import (
    CHANGED,
    FOUND,
    NOT_MODIFIED,
    NUMBER_TAKEN,
    PATH,
    WITH_BODY,
    no_such_tenant,
    owners_hidden,
    shown,
    shown_tenant,
    tenant_answer,
    tenant_problems,
    versioned,
)
from service.api.tenants.schemas import (
    CHANGES,
    DEFAULT_LIMIT,
    ENTRY,
    FEATURES,
    LIST,
    NUMBERS,
    Actor,
    Body,
    ChangeList,
    Demands,
    EntryCursor,
    FeatureInPath,
    FeatureList,
    FeatureValue,
    Knowing,
    Limit,
    NumberInPath,
    NumberList,
    TenantCursor,
    TenantEntry,
    TenantInPath,
    TenantList,
    TenantOverview,
    TenantStatement,
    cursor_of,
    stated_tenant,
)
from service.http.bodies import declared_body, stated
from service.http.openapi import Tag, declared_invalid
from service.http.paths import NamedRoute
from service.http.responses import admin_router
from service.http.security import AdminCheck
from service.tenants.repository import TenantRepository
from service.tenants.spec import as_change, checked_spec, located_problems
from service.tenants.tenant import Features, Sought, Tenant

AUDIT = "/api/v1/audit"
"""Path of the changes of all tenants."""
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
    """Return the routes ``/api/v1/audit`` and ``/api/v1/tenants/{tenant_id}/audit``."""
    router = APIRouter(route_class=NamedRoute)

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


_FEATURES_LISTED = {**shown(FeatureList, "What the features are set to.", FEATURES), **NOT_MODIFIED, **FOUND}
_FEATURE_SET = {**shown(FeatureList, "The features, this one among them.", FEATURES), **WITH_BODY}
_UNSET = {**shown(FeatureList, "The features that are left.", {"features": {}}), **CHANGED}
_VALUE = TypeAdapter(FeatureValue)
_FEATURE_STATED = declared_body(FeatureValue, {"value": True}, "What to set the feature to.")


def tenants_features_router(changes: TenantChanges) -> APIRouter:
    """Return the routes under ``/api/v1/tenants/{tenant_id}/features``."""
    router = APIRouter(prefix=f"{PATH}/{{tenant_id}}/features", route_class=NamedRoute)

    async def replace(before: Tenant, features: Features, actor: str) -> Tenant:
        spec = checked_spec(before.tenant_id, {"features": dict(features)})
        return await changes.tenants.change(spec, actor=actor, expected_version=before.version)

    @router.get("", summary="A tenant's features", operation_id="tenantFeatures", responses=_FEATURES_LISTED)
    async def show_features(tenant_id: TenantInPath, knowing: Knowing) -> Response:
        """Show what is set; `capture_content`, which keeps what was said, is off unless it is there and `true`."""
        return _features_answered(await changes.found(tenant_id), knowing)

    @router.put(
        "/{feature}",
        summary="Set a feature of a tenant",
        operation_id="setTenantFeature",
        responses=_FEATURE_SET,
        openapi_extra=_FEATURE_STATED,
    )
    async def set_feature(
        tenant_id: TenantInPath, feature: FeatureInPath, body: Body, demands: Demands, actor: Actor
    ) -> Response:
        """Set one feature and leave the others as they are. It holds for calls that come in from now on."""
        value = (await stated(_VALUE, body, located_problems)).value

        async def change(before: Tenant) -> Tenant:
            return await replace(before, {**before.features, feature: value}, actor)

        return _features_answered(await changes.change(tenant_id, demands, change))

    @router.delete(
        "/{feature}", summary="Unset a feature of a tenant", operation_id="unsetTenantFeature", responses=_UNSET
    )
    async def unset_feature(
        tenant_id: TenantInPath, feature: FeatureInPath, demands: Demands, actor: Actor
    ) -> Response:
        """Let a feature be as if it had never been set; one that was not set stays so."""

        async def change(before: Tenant) -> Tenant:
            return await replace(before, {k: v for k, v in before.features.items() if k != feature}, actor)

        return _features_answered(await changes.change(tenant_id, demands, change))

    return router


def _features_answered(tenant: Tenant, knowing: Conditions | None = None) -> Response:
    return versioned({"features": dict(tenant.features)}, tag_of(tenant.version), knowing)


_NUMBERS_LISTED = {**shown(NumberList, "The numbers that reach the tenant.", NUMBERS), **NOT_MODIFIED, **FOUND}
_GIVEN = {**shown(NumberList, "The numbers, this one among them.", NUMBERS), **CHANGED, **NUMBER_TAKEN}
_TAKEN_AWAY = {**shown(NumberList, "The numbers that are left.", {"numbers": []}), **CHANGED}


def tenants_numbers_router(changes: TenantChanges) -> APIRouter:
    """Return the routes under ``/api/v1/tenants/{tenant_id}/numbers``."""
    router = APIRouter(prefix=f"{PATH}/{{tenant_id}}/numbers", route_class=NamedRoute)

    @router.get("", summary="A tenant's numbers", operation_id="tenantNumbers", responses=_NUMBERS_LISTED)
    async def show_numbers(tenant_id: TenantInPath, knowing: Knowing) -> Response:
        """List the dialled numbers that reach the tenant."""
        return _numbers_answered(await changes.found(tenant_id), knowing)

    @router.put("/{number}", summary="Give a tenant a number", operation_id="addTenantNumber", responses=_GIVEN)
    async def add_number(tenant_id: TenantInPath, number: NumberInPath, demands: Demands, actor: Actor) -> Response:
        """Let a number reach the tenant; that of another tenant is refused with its owner's id."""

        async def add(before: Tenant) -> Tenant:
            return await changes.tenants.add_number(tenant_id, number, actor=actor, expected_version=before.version)

        return _numbers_answered(await changes.change(tenant_id, demands, add, numbers_at="path.number"))

    @router.delete(
        "/{number}", summary="Take a number from a tenant", operation_id="removeTenantNumber", responses=_TAKEN_AWAY
    )
    async def remove_number(tenant_id: TenantInPath, number: NumberInPath, demands: Demands, actor: Actor) -> Response:
        """Let a number reach nobody: its calls are rejected from now on, running ones go on."""

        async def remove(before: Tenant) -> Tenant:
            return await changes.tenants.remove_number(tenant_id, number, actor=actor, expected_version=before.version)

        return _numbers_answered(await changes.change(tenant_id, demands, remove))

    return router


def _numbers_answered(tenant: Tenant, knowing: Conditions | None = None) -> Response:
    return versioned({"numbers": list(tenant.numbers)}, tag_of(tenant.version), knowing)


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
    """Return the routes under ``/api/v1/tenants`` and the audit; ``admin`` decides who may use them."""
    router = admin_router(Tag.TENANTS, admin)
    router.dependencies.append(Depends(owners_hidden))
    changes = TenantChanges(tenants, changed)
    router.include_router(_listing(tenants))
    router.include_router(_whole(changes))
    router.include_router(tenants_numbers_router(changes))
    router.include_router(tenants_instructions_router(changes))
    router.include_router(tenants_features_router(changes))
    router.include_router(tenants_audit_router(tenants))
    return router


def _listing(tenants: TenantRepository) -> APIRouter:
    router = APIRouter(route_class=NamedRoute)

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
    router = APIRouter(prefix=f"{PATH}/{{tenant_id}}", route_class=NamedRoute)

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
