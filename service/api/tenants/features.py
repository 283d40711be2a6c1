"""A tenant's features over HTTP, one by one."""

from fastapi import APIRouter
from pydantic import TypeAdapter
from starlette.responses import Response

from service.api.tenants.answers import NOT_MODIFIED, shown, versioned
from service.api.tenants.body import declared_body, stated
from service.api.tenants.changes import TenantChanges
from service.api.tenants.conditions import Conditions, tag_of
from service.api.tenants.parameters import Actor, Body, Demands, FeatureInPath, Knowing, TenantInPath
from service.api.tenants.problems import CHANGED, FOUND, PATH, WITH_BODY
from service.api.tenants.shapes import FEATURES, FeatureList, FeatureValue
from service.tenants.spec import checked_spec
from service.tenants.tenant import Features, Tenant

_LISTED = {**shown(FeatureList, "What the features are set to.", FEATURES), **NOT_MODIFIED, **FOUND}
_SET = {**shown(FeatureList, "The features, this one among them.", FEATURES), **WITH_BODY}
_UNSET = {**shown(FeatureList, "The features that are left.", {"features": {}}), **CHANGED}

_VALUE = TypeAdapter(FeatureValue)
_STATED = declared_body(FeatureValue, {"value": True}, "What to set the feature to.")


def tenants_features_router(changes: TenantChanges) -> APIRouter:
    """The routes under ``/api/v1/tenants/{tenant_id}/features``."""
    router = APIRouter(prefix=f"{PATH}/{{tenant_id}}/features")

    async def replace(before: Tenant, features: Features, actor: str) -> Tenant:
        spec = checked_spec(before.tenant_id, {"features": dict(features)})
        return await changes.tenants.change(spec, actor=actor, expected_version=before.version)

    @router.get("", summary="A tenant's features", operation_id="tenantFeatures", responses=_LISTED)
    async def show_features(tenant_id: TenantInPath, knowing: Knowing) -> Response:
        """Show what is set; `capture_content`, which keeps what was said, is off unless it is there and `true`."""
        return _answered(await changes.found(tenant_id), knowing)

    @router.put(
        "/{feature}",
        summary="Set a feature of a tenant",
        operation_id="setTenantFeature",
        responses=_SET,
        openapi_extra=_STATED,
    )
    async def set_feature(
        tenant_id: TenantInPath, feature: FeatureInPath, body: Body, demands: Demands, actor: Actor
    ) -> Response:
        """Set one feature and leave the others as they are. It holds for calls that come in from now on."""
        value = (await stated(_VALUE, body)).value

        async def change(before: Tenant) -> Tenant:
            return await replace(before, {**before.features, feature: value}, actor)

        return _answered(await changes.change(tenant_id, demands, change))

    @router.delete(
        "/{feature}", summary="Unset a feature of a tenant", operation_id="unsetTenantFeature", responses=_UNSET
    )
    async def unset_feature(
        tenant_id: TenantInPath, feature: FeatureInPath, demands: Demands, actor: Actor
    ) -> Response:
        """Let a feature be as if it had never been set; one that was not set stays so."""

        async def change(before: Tenant) -> Tenant:
            return await replace(before, {k: v for k, v in before.features.items() if k != feature}, actor)

        return _answered(await changes.change(tenant_id, demands, change))

    return router


def _answered(tenant: Tenant, knowing: Conditions | None = None) -> Response:
    return versioned({"features": dict(tenant.features)}, tag_of(tenant.version), knowing)
