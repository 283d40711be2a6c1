"""Changes of tenants under the conditions of a request: one of two writers wins, a repeated request is harmless."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service.api.tenants.conditions import Conditions, tag_of
from service.api.tenants.problems import demand_needed, demands_another_version, no_such_tenant, tenant_problems
from service.tenants.edits import is_so
from service.tenants.errors import StaleVersionError, TenantExistsError
from service.tenants.repository import NEW, TenantRepository
from service.tenants.spec import TenantSpec
from service.tenants.tenant import Tenant

T = TypeVar("T")

Changed = Callable[[], Awaitable[None]]
"""Callback that lets a change hold in this process at once; other processes notice within seconds."""


@dataclass(frozen=True, slots=True)
class Put:
    """A tenant as it is after a put."""

    tenant: Tenant
    created: bool


class TenantChanges:
    """Reads and changes tenants; every refusal is a problem that says what to do."""

    __slots__ = ("_changed", "tenants")

    def __init__(self, tenants: TenantRepository, changed: Changed) -> None:
        self.tenants = tenants
        self._changed = changed

    async def found(self, tenant_id: str) -> Tenant:
        """Return the tenant; raise a 404 problem if there is none."""
        with tenant_problems():
            tenant = await self.tenants.by_id(tenant_id)
        if tenant is None:
            raise no_such_tenant()
        return tenant

    async def put(self, spec: TenantSpec, conditions: Conditions, actor: str) -> Put:
        """Make the tenant what ``spec`` states, whole.

        What is so already is answered as done, whatever version it was based on, unless the tenant had to be new: then
        the request was carried out before and its answer was lost (RFC 9110 §13.1.1).
        """
        with tenant_problems():
            return await _again_if_overtaken(lambda: self._put(spec, conditions, actor))

    async def change(
        self,
        tenant_id: str,
        conditions: Conditions,
        make: Callable[[Tenant], Awaitable[Tenant]],
        *,
        numbers_at: str = "body.numbers",
    ) -> Tenant:
        """Have ``make`` change a tenant that exists, expecting just the version it is given."""

        async def change() -> Tenant:
            before = await self.found(tenant_id)
            _demanded(before, conditions)
            return await make(before)

        with tenant_problems(numbers_at):
            after = await _again_if_overtaken(change)
        await self._changed()
        return after

    async def delete(self, tenant_id: str, conditions: Conditions, actor: str) -> None:
        """Remove the tenant."""

        async def delete() -> None:
            version = _demanded(await self.found(tenant_id), conditions)
            await self.tenants.delete(tenant_id, actor=actor, expected_version=version)

        with tenant_problems():
            await _again_if_overtaken(delete)
        await self._changed()

    async def _put(self, spec: TenantSpec, conditions: Conditions, actor: str) -> Put:
        before = await self.tenants.by_id(spec.tenant_id)
        if before is not None and conditions.if_none_match is None and is_so(before, spec):
            return Put(before, created=False)
        version = _demanded(before, conditions)
        after = await self.tenants.put(spec, actor=actor, expected_version=version)
        await self._changed()
        return Put(after, created=version == NEW)


async def _again_if_overtaken(change: Callable[[], Awaitable[T]]) -> T:
    """Try once more if another writer was faster, perhaps with this very request."""
    try:
        return await change()
    except (StaleVersionError, TenantExistsError):
        return await change()


def _demanded(tenant: Tenant | None, conditions: Conditions) -> int:
    """Return the version a change is based on; raise the problem that says what the conditions lack."""
    version = NEW if tenant is None else tenant.version
    if not conditions.allow(None if tenant is None else tag_of(version)):
        raise demands_another_version(version)
    if tenant is not None and conditions.if_match is None:
        raise demand_needed(version)
    return version
