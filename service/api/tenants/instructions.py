"""A tenant's instructions over HTTP: every version with its author and time, and the restoring of an old one."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import TypeAdapter
from starlette.responses import Response

from service.api.tenants.changes import TenantChanges
from service.api.tenants.conditions import Conditions, tag_of
from service.api.tenants.problems import (
    CHANGED,
    FOUND,
    NOT_MODIFIED,
    PATH,
    WITH_BODY,
    shown,
    tenant_problems,
    versioned,
)
from service.api.tenants.schemas import (
    DEFAULT_LIMIT,
    INSTRUCTIONS,
    INSTRUCTIONS_LIST,
    Actor,
    Body,
    Demands,
    EntryCursor,
    InstructionsList,
    InstructionsText,
    InstructionsVersionRow,
    InstructionsWhole,
    Knowing,
    Limit,
    TenantInPath,
    VersionInPath,
    cursor_of,
)
from service.http.bodies import declared_body, stated
from service.http.openapi import Responses, declared
from service.http.paths import NamedRoute
from service.http.problems import ProblemError
from service.tenants.spec import located_problems
from service.tenants.tenant import InstructionsVersion, Tenant

_INSTRUCTIONS = f"{PATH}/{{tenant_id}}/instructions"

NO_SUCH_VERSION = "The tenant never had such a version of its instructions."

_NOT_FOUND: Responses = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH_VERSION),
        "There is no such tenant, or no such version.",
        f"{PATH}/acme/instructions/9",
    )
}
_LISTED = {**shown(InstructionsList, "Some versions.", INSTRUCTIONS_LIST), **NOT_MODIFIED, **FOUND}
_SHOWN = {**shown(InstructionsWhole, "The version.", INSTRUCTIONS), **NOT_MODIFIED, **FOUND, **_NOT_FOUND}
_SET = {**shown(InstructionsWhole, "The version that is in force now.", INSTRUCTIONS), **WITH_BODY}
_RESTORED = {**shown(InstructionsWhole, "The version that is in force now.", INSTRUCTIONS), **CHANGED, **_NOT_FOUND}

_NEVER_SET = {"version": 0, "text": None, "created_at": None, "created_by": None}

_TEXT = TypeAdapter(InstructionsText)
_STATED = declared_body(InstructionsText, {"text": INSTRUCTIONS["text"]}, "What the agent is to be told.")


def tenants_instructions_router(changes: TenantChanges) -> APIRouter:
    """Return the routes under ``/api/v1/tenants/{tenant_id}/instructions``."""
    router = APIRouter(route_class=NamedRoute)
    router.include_router(_reading(changes))
    router.include_router(_writing(changes))
    return router


def _reading(changes: TenantChanges) -> APIRouter:
    router = APIRouter(prefix=_INSTRUCTIONS, route_class=NamedRoute)

    @router.get("", summary="Versions of the instructions", operation_id="tenantInstructions", responses=_LISTED)
    async def list_versions(
        tenant_id: TenantInPath, knowing: Knowing, limit: Limit = DEFAULT_LIMIT, cursor: EntryCursor = None
    ) -> Response:
        """List the versions, the newest first, with who set them and when, without their texts."""
        tenant = await changes.found(tenant_id)
        with tenant_problems():
            page = await changes.tenants.instructions_history(tenant_id, before=cursor, limit=limit)
        rows = tuple(InstructionsVersionRow.model_validate(entry, from_attributes=True) for entry in page.versions)
        content = InstructionsList(versions=rows, next_cursor=cursor_of(page.next_before))
        return versioned(content.model_dump(mode="json"), tag_of(tenant.version), knowing)

    @router.get("/{version}", summary="One version", operation_id="tenantInstructionsVersion", responses=_SHOWN)
    async def show_version(tenant_id: TenantInPath, version: VersionInPath, knowing: Knowing) -> Response:
        """Show what the instructions said in one version."""
        tenant = await changes.found(tenant_id)
        return _answered(await _version(changes, tenant_id, version), tenant, knowing)

    return router


def _writing(changes: TenantChanges) -> APIRouter:
    router = APIRouter(prefix=_INSTRUCTIONS, route_class=NamedRoute)

    @router.put(
        "", summary="Set the instructions", operation_id="setTenantInstructions", responses=_SET, openapi_extra=_STATED
    )
    async def set_instructions(tenant_id: TenantInPath, body: Body, demands: Demands, actor: Actor) -> Response:
        """Make a new version. It holds for calls that come in from now on; without a change there is no new version."""
        text = (await stated(_TEXT, body, located_problems)).text

        async def change(before: Tenant) -> Tenant:
            return await changes.tenants.set_instructions(tenant_id, text, actor=actor, expected_version=before.version)

        return await _in_force(changes, await changes.change(tenant_id, demands, change))

    @router.post(
        "/{version}/restore",
        summary="Go back to a version",
        operation_id="restoreTenantInstructions",
        responses=_RESTORED,
    )
    async def restore(tenant_id: TenantInPath, version: VersionInPath, demands: Demands, actor: Actor) -> Response:
        """Make a new version that says what an old one said; the versions between stay in the history."""

        async def change(before: Tenant) -> Tenant:
            old = await _version(changes, tenant_id, version)
            return await changes.tenants.set_instructions(
                tenant_id, old.text, actor=actor, expected_version=before.version
            )

        return await _in_force(changes, await changes.change(tenant_id, demands, change))

    return router


async def _in_force(changes: TenantChanges, tenant: Tenant) -> Response:
    if not tenant.instructions_version:
        return versioned(_NEVER_SET, tag_of(tenant.version))
    return _answered(await _version(changes, tenant.tenant_id, tenant.instructions_version), tenant)


async def _version(changes: TenantChanges, tenant_id: str, version: int) -> InstructionsVersion:
    with tenant_problems():
        found = await changes.tenants.instructions_at(tenant_id, version)
    if found is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH_VERSION)
    return found


def _answered(version: InstructionsVersion, tenant: Tenant, knowing: Conditions | None = None) -> Response:
    content = InstructionsWhole.model_validate(version, from_attributes=True).model_dump(mode="json")
    return versioned(content, tag_of(tenant.version), knowing)
