"""Pages held against the answers of the API, field by field."""

import httpx2

from service.page.rendering import number, seconds, share
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import Page, shown


async def first_page_compared(harness: GatewayHarness, person: httpx2.AsyncClient) -> int:
    """Fail unless the first page says what the API says; return how many tenants it ranks."""
    page = await shown(person, "/")
    overview = await harness.get("/api/v1/overview")
    live = await harness.get("/api/v1/metrics/live")
    assert overview["live"] == live
    for name, value in live.items():
        assert page.text(data_field=name) == number(value), name
    strip = overview["strip"]
    said = page.text(id="strip")
    assert f"Calls running {strip['running']} of {strip['limit']}" in said
    assert f"Failed {share(strip['failed_share'])}" in said
    assert f"Answer p95 {seconds(strip['turn_p95_seconds'])}" in said
    assert f"Processes {strip['processes']['answering']} of {strip['processes']['known']}" in said
    for verdict in overview["verdicts"]:
        assert verdict["text"] in page.text(id=f"verdict-{verdict['name']}")
    ranked = await harness.get("/api/v1/metrics/tenants?sort=received&window=1h")
    rows = page.texts("tr", "tenants")[1:]
    for row, tenant in zip(rows, ranked["tenants"], strict=True):
        figures = tenant["summary"]
        expected = (tenant["tenant_id"], number(figures["received"]), number(figures["minutes"]))
        assert row.startswith(" ".join(map(str, expected))), row
        for value in (figures["error_rate"], figures["rejection_rate"]):
            assert value is None or str(share(value)) in row
    return len(rows)


async def tenants_page_compared(harness: GatewayHarness, person: httpx2.AsyncClient, tenant_id: str) -> Page:
    """Fail unless the counts on a tenant's page are those of the API; return the page."""
    page = await shown(person, f"/tenants/{tenant_id}")
    for name, value in (await harness.get(f"/api/v1/metrics/live/{tenant_id}")).items():
        assert page.text(data_field=name) == number(value), name
    return page
