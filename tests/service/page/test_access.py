"""Every route, with tokens of every kind, for a tenant of the token's and for another."""

from typing import Any, Final

import httpx2
import pytest

from service.http.tokens import HEADER
from service.simulator.script import CallScript
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import secret
from tests.support.server import TIMEOUT_SECONDS, TLS

ROLES: Final = ("all", "reads all", "one", "reads one")
OWN, OTHER = "tenant-001", "tenant-002"

PUBLIC: Final = {"health", "healthHead", "liveness", "livenessHead", "readiness", "readinessHead", "webhook"}
ALL_TENANTS: Final = {
    "liveMetrics", "metricsSummary", "rankedTenants", "capacityDebug", "tenants", "audit", "usageRoundings",
    "usageFreezes", "usageFreeze", "usageFreezeCalls",
}  # fmt: skip
BILLING: Final = {"freezeUsage", "settleUsageFreeze", "agreeUsageRounding", "withdrawUsageRounding"}
FILTERED: Final = {"listCalls", "callRecords", "usage", "reconcile", "overview"}
CALLS: Final = {"call", "callTimeline", "callOfTrace", "hangUp"}
ONE_TENANT: Final = {
    "liveMetricsOfTenant", "exemplars", "metricsSummaryOfTenant", "tenantRoundings", "tenant", "putTenant",
    "changeTenant", "deleteTenant", "tenantNumbers", "addTenantNumber", "removeTenantNumber", "tenantInstructions",
    "tenantInstructionsVersion", "setTenantInstructions", "restoreTenantInstructions", "tenantFeatures",
    "setTenantFeature", "unsetTenantFeature", "tenantAudit",
}  # fmt: skip

IN_PATHS: Final = {"freeze_id": "1", "number": "+18005550100", "feature": "x", "version": "1"}


async def operations(harness: GatewayHarness) -> list[tuple[str, str, str]]:
    """Name, method and path of every operation of the document."""
    document = await harness.get("/openapi.json")
    return [
        (operation["operationId"], method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def calls_of(harness: GatewayHarness) -> dict[str, dict[str, str]]:
    """What fills the paths of calls and traces: one of each tenant's."""
    found = {}
    for number, tenant in harness.carrier.numbers.items():
        report = await harness.call(CallScript("short"), number=number)
        record = harness.record(report.call_id)
        assert record.summary.tenant_id == tenant
        assert record.summary.trace_id is not None
        found[tenant] = {"call_id": report.call_id, "trace_id": record.summary.trace_id}
    return found


async def test_every_route_is_told_of_here(module_harness: GatewayHarness) -> None:
    """A route that is added needs its place in the lists above, and with it a decision who may use it."""
    told = PUBLIC | ALL_TENANTS | BILLING | FILTERED | CALLS | ONE_TENANT
    assert {name for name, _, _ in await operations(module_harness)} == told


def expected(name: str, role: str, tenant: str, *, reads: bool) -> set[int] | None:
    """The statuses of a refusal; None if the request passes the check."""
    if "reads" in role and not reads:
        return {403}
    if "one" not in role:
        return None
    if name in ALL_TENANTS | BILLING:
        return {403}
    if tenant == OWN:
        return None
    return {404} if name in CALLS else {403}


@pytest.mark.parametrize("role", ROLES)
async def test_a_token_opens_what_it_is_for_and_nothing_else(module_harness: GatewayHarness, role: str) -> None:
    """Full, reading, bound to a tenant, or both: each route, for the token's tenant and for another."""
    calls = await calls_of(module_harness)
    async with httpx2.AsyncClient(
        verify=TLS, base_url=module_harness.client.base_url, headers={HEADER: secret(role)}, timeout=TIMEOUT_SECONDS
    ) as client:
        for name, method, path in await operations(module_harness):
            if name in PUBLIC or name == "deleteTenant":  # whose passing is shown below, since it changes what follows
                continue
            for tenant in (OWN, OTHER):
                filled = path.format(tenant_id=tenant, **calls[tenant], **IN_PATHS)
                query: dict[str, Any] = {"tenant_id": tenant} if name in FILTERED else {}
                answer = await client.request(method, filled, params=query)
                refusal = expected(name, role, tenant, reads=method in ("get", "head"))
                seen = f"{role}: {method} {filled} {answer.status_code} {answer.text}"
                if refusal is None:
                    assert answer.status_code not in {401, 403}, seen
                    assert name not in CALLS or answer.status_code == (409 if name == "hangUp" else 200), seen
                else:
                    assert answer.status_code in refusal, seen


async def test_a_bound_token_must_name_its_tenant(module_harness: GatewayHarness) -> None:
    """A list that could be of all tenants is not answered without a tenant, rather than silently narrowed down."""
    async with httpx2.AsyncClient(
        verify=TLS, base_url=module_harness.client.base_url, headers={HEADER: "token-of-one"}, timeout=TIMEOUT_SECONDS
    ) as client:
        for name, method, path in await operations(module_harness):
            if name in FILTERED:
                answer = await client.request(method, path)
                assert (answer.status_code, "tenant_id" in answer.json()["detail"]) == (403, True), path


async def test_a_bound_token_does_not_learn_whose_a_number_is(module_harness: GatewayHarness) -> None:
    """A number of another tenant is refused without its owner's name; a token for all is told it."""
    taken = next(number for number, tenant in module_harness.carrier.numbers.items() if tenant == OTHER)
    said = {}
    for role in ("all", "one"):
        headers = {HEADER: secret(role), "If-Match": "*"}
        answer = await module_harness.client.put(f"/api/v1/tenants/{OWN}/numbers/{taken}", headers=headers)
        assert answer.status_code == 409
        said[role] = OTHER in answer.text
    assert said == {"all": True, "one": False}


@pytest.mark.parametrize(
    ("role", "tenant", "status"), [("reads one", OWN, 403), ("one", OTHER, 403), ("one", OWN, 204)]
)
async def test_a_bound_token_deletes_its_own_tenant_alone(
    harness: GatewayHarness, role: str, tenant: str, status: int
) -> None:
    """The one route that the walk above leaves out."""
    headers = {HEADER: secret(role), "If-Match": "*"}
    assert (await harness.client.delete(f"/api/v1/tenants/{tenant}", headers=headers)).status_code == status
