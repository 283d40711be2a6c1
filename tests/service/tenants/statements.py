"""Statements about tenants that tests of the repository make, and who makes them."""

from datetime import UTC, datetime

from service.e164 import E164
from service.tenants.repository import TenantRepository
from service.tenants.spec import TenantSpec, checked_spec
from service.tenants.tenant import Tenant
from telemetry.testing import FakeClock

OPS = "ops"
FIRST, SECOND, THIRD = E164("+18005550100"), E164("+18005550101"), E164("+4930123456")


def spec(tenant_id: str = "acme", **stated: object) -> TenantSpec:
    return TenantSpec.model_validate({"tenant_id": tenant_id, **stated})


def acme(**stated: object) -> TenantSpec:
    content: dict[str, object] = {
        "name": "Acme",
        "numbers": [FIRST],
        "max_concurrent_calls": 10,
        "instructions": "You are Ada.",
    }
    return spec("acme", **(content | stated))


def moment(clock: FakeClock) -> datetime:
    return datetime.fromtimestamp(clock.now().unix_nanos / 1e9, UTC)


async def set_limit(
    tenants: TenantRepository, tenant_id: str, limit: int | None, *, actor: str, expected_version: int | None = None
) -> Tenant:
    """Change the tenant's calls at once alone."""
    stated = checked_spec(tenant_id, {"max_concurrent_calls": limit})
    return await tenants.change(stated, actor=actor, expected_version=expected_version)
